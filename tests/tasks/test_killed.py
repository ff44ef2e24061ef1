"""Every task, killed between any two statements and run again, or sent twice, leaves what one run leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.cases import check_each_async
from tests.tasks import beginnings
from tests.tasks.beginnings import web
from tests.tasks.domain import CHECKED, Domain, memory_domain
from tests.tasks.emptying import empty
from tests.tasks.fuse import BurningJobs, Fuse, Killed
from tests.tasks.jobs import Jobs
from tests.tasks.scripted import ScriptedAI
from zeke_queue.core import jsonb
from zeke_queue.model import Completed, JobQuery, NewJob, QueueCapacity, Released, RowState, Waiting
from zeke_queue.task.signals import Wait
from zeke_tasks.ai.answers import Analysis
from zeke_tasks.ai.client import Answer, M, Prompt
from zeke_tasks.catalog import build_catalog

Begin = Callable[[Domain], Awaitable[tuple[str, dict[str, Any]]]]
Rows = dict[str, list[Any]]

BEGINNINGS: Final[dict[str, Begin]] = {
    name: begin for name, begin in vars(beginnings).items() if name.startswith("begin_")
}
"""Where each task begins; the names label the cases."""

JOB: Final = UUID(int=0xB)
"""The job that is run: the same one again, as after a crash."""

WORKER: Final = UUID(int=0xA)

AFTERWARDS: Final = UUID(int=0xC)
"""Another job like it, which is sent later."""

DONE_ANEW: Final[dict[Begin, dict[str, tuple[str, ...]]]] = {
    # A person wants another analysis, or an analysis another brief, and gets it.
    beginnings.begin_analysis_anew: {"story_overlays": ("analysed_at", "analysed_by"), "ai_spending": ()},
    beginnings.begin_brief_anew: {"story_overlays": ("briefed_at", "briefed_by"), "ai_spending": ()},
    # Each job is a run of its own, whose steps change nothing.
    beginnings.begin_playbook: {"playbook_runs": (), "playbook_run_events": ()},
}
"""For tasks whose second job repeats its work: the changed columns by table, or the added rows."""

MADE_OF: Final = ("content_id", "title", "url")

POINTS_ON_POSTGRES: Final = 4
"""At how many points, at least, a job is killed there; in memory at each.

What a transaction leaves, tests/tasks/store asks of both storages.
"""


async def everything(domain: Domain) -> dict[str, list[Any]]:
    """Return every row of the domain, and every job by name and payload.

    Which of two items with one text its story is made of, and called after, chance decides; and what the AI
    cost, it costs each time.
    """
    found = await domain.everything(times=False)
    del found["ai_spending"]
    stories = [{name: row[name] for name in row if name not in MADE_OF} for row in found["stories"]]
    jobs = (await domain.storage.find(JobQuery(limit=1000))).jobs
    return {**found, "stories": stories, "jobs": sorted((job.name, str(job.data)) for job in jobs)}


async def finish(jobs: Jobs, task: str, payload: dict[str, Any], job_id: UUID) -> None:
    """Run a job until it has ended, as its worker does; run the jobs that it waits for, and resume it."""
    storage = jobs.domain.storage
    data = jsonb.dumps(jobs.queue.catalog.get(task).validate(payload).model_dump(mode="json", by_alias=True))
    await storage.insert([NewJob(job_id, task, data)])
    while True:
        (claimed,) = [
            job for job in await storage.claim(WORKER, [QueueCapacity(task, 100)], 100) if job.id == job_id
        ]
        try:
            output = await jobs.run(task, payload, job_id=job_id, attempt=claimed.attempt)
        except Wait as wait:
            await storage.suspend([Waiting(job_id, claimed.attempt, wait.child)])
            await _run_child(Jobs(jobs.domain, web(), ScriptedAI()), wait.child)
        except BaseException:
            # The process has ended; maintenance notices that, and releases the job.
            await storage.settle(released=[Released(job_id, claimed.attempt)])
            raise
        else:
            await storage.settle([Completed(job_id, claimed.attempt, jsonb.dumps(output))])
            return


async def _run_child(jobs: Jobs, child_id: UUID) -> None:
    storage = jobs.domain.storage
    name = (await storage.get([child_id]))[child_id].name
    claimed = {job.id: job for job in await storage.claim(WORKER, [QueueCapacity(name, 100)], 100)}
    job = claimed[child_id]
    output = await jobs.run(name, jsonb.loads(job.data or b"null"), job_id=child_id, attempt=job.attempt)
    assert await storage.settle([Completed(child_id, job.attempt, jsonb.dumps(output))]) == {child_id}


async def run(domain: Domain, begin: Begin, *fuses: Fuse) -> dict[str, list[Any]]:
    """Run the job once for each fuse, of which only the last one holds, and return the rows."""
    task, payload = await begin(domain)
    # One web and one AI for all runs: answers to the killed run are used up.
    pages, ai = web(), ScriptedAI()
    for fuse in fuses[:-1]:
        with pytest.raises((Killed, BaseExceptionGroup)):
            await finish(BurningJobs(domain, pages, fuse, ai), task, payload, JOB)
    await finish(BurningJobs(domain, pages, fuses[-1], ai), task, payload, JOB)
    return await everything(domain)


async def test_every_task_is_among_the_beginnings() -> None:
    tasks = build_catalog().tasks
    assert {(await begin(memory_domain()))[0] for begin in BEGINNINGS.values()} == tasks.keys()
    assert len(tasks) == 17


async def test_task_killed_at_any_point_in_memory_leaves_what_one_run_leaves() -> None:
    async def check(begin: Begin) -> None:
        whole = Fuse()
        once = await run(memory_domain(), begin, whole)
        assert whole.passed > 3
        for point in range(whole.passed):
            assert await run(memory_domain(), begin, Fuse(point), Fuse()) == once, point
        for point in range(0, whole.passed // 2, 3):
            twice = await run(memory_domain(), begin, Fuse(point), Fuse(point // 2), Fuse())
            assert twice == once, (point, point // 2)

    await check_each_async(BEGINNINGS, check)


async def test_task_killed_on_postgres_leaves_what_one_run_leaves(
    on_postgres: Domain, domain_dsn: str
) -> None:
    def emptied() -> Domain:
        empty(domain_dsn)
        return Domain(on_postgres.storage, on_postgres.repository, on_postgres.clock)

    async def check(begin: Begin) -> None:
        whole = Fuse()
        once = await run(emptied(), begin, whole)
        step = max(1, whole.passed // POINTS_ON_POSTGRES)
        # After the last point all is committed, and the job runs again nevertheless.
        for point in {*range(0, whole.passed, step), whole.passed - 1}:
            assert await run(emptied(), begin, Fuse(point), Fuse()) == once, point

    await check_each_async(BEGINNINGS, check)


async def test_playbook_killed_between_sending_a_step_and_waiting_for_it_is_resumed() -> None:
    begin = beginnings.begin_playbook
    whole, alone = Fuse(), 0
    once = await run(memory_domain(), begin, whole)
    for point in range(whole.passed):
        domain = memory_domain()
        task, payload = await begin(domain)
        with pytest.raises((Killed, BaseExceptionGroup)):
            await finish(BurningJobs(domain, web(), Fuse(point)), task, payload, JOB)
        children = (await domain.storage.find(JobQuery(parent=JOB))).jobs
        if all(child.row_state is not RowState.CREATED for child in children):
            continue
        alone += 1
        await finish(BurningJobs(domain, web(), Fuse()), task, payload, JOB)
        assert await everything(domain) == once, point
    # Two steps, each killed right after its send, and before and after it is read.
    assert alone == 6


async def test_task_sent_twice_on_postgres_leaves_what_one_leaves(
    on_postgres: Domain, domain_dsn: str
) -> None:
    """Compare every column, also those that no task reads, after a job and an equal one an hour later."""

    async def check(begin: Begin) -> None:
        empty(domain_dsn)
        task, payload = await begin(on_postgres)
        kept: list[Rows] = []
        sent: list[set[tuple[str, str]]] = []
        for job_id in (JOB, AFTERWARDS):
            await finish(Jobs(on_postgres, web(), ScriptedAI()), task, payload, job_id)
            kept.append(_without_checks(dump(domain_dsn)))
            jobs = (await on_postgres.storage.find(JobQuery(limit=1000))).jobs
            sent.append({(job.name, str(job.data)) for job in jobs if job.id not in (JOB, AFTERWARDS)})
            on_postgres.clock.advance(3600)
        once, twice = kept
        changed = {table for table in once if once[table] != twice[table]}
        assert changed == DONE_ANEW.get(begin, {}).keys()
        for table, columns in DONE_ANEW.get(begin, {}).items():
            if columns:
                first, second = ([_less(columns, row) for row in of[table]] for of in kept)
                assert second == first
            else:
                assert [row for row in twice[table] if row in once[table]] == once[table]
        assert sent[1] == sent[0]

    await check_each_async(BEGINNINGS, check)


def dump(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each of the domain's tables, sorted by their content."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = 'zeke' and tablename not like '%migration%'"
            " order by tablename"
        ).fetchall()
        return {name: [row for (row,) in connection.execute(_rows_of(name))] for (name,) in tables}


def _rows_of(table: str) -> sql.Composed:
    return sql.SQL("select to_jsonb(t) from zeke.{} as t order by to_jsonb(t)::text").format(
        sql.Identifier(table)
    )


def _without_checks(rows: Rows) -> Rows:
    return {**rows, "source_health": [_less(CHECKED, row) for row in rows["source_health"]]}


def _less(columns: Collection[str], row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in columns}


class Fickle(ScriptedAI):
    """An AI that answers with different words each time, so that answers can be distinguished."""

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        answered = await super().ask(prompt, text, answer)
        said: Any = answered.value
        words = f"Call {len(self.asked)}."
        if isinstance(said, Analysis):
            said = said.model_copy(update={"why_it_matters": [words]})
        else:
            said = said.model_copy(update={"one_liner": words})
        return Answer(said, answered.usage, stub=False)


async def test_stored_answer_of_ai_is_not_requested_again() -> None:
    """Also if a user requested it: otherwise overlay and briefs could contradict each other permanently."""

    async def check(begin: Begin, reason: dict[str, str]) -> None:
        whole, kept_at = Fuse(), 0
        await run(memory_domain(), begin, whole)
        for point in range(whole.passed):
            domain, ai = memory_domain(), Fickle()
            task, payload = await begin(domain)
            begun = await _thought_and_sent(domain)
            with pytest.raises((Killed, BaseExceptionGroup)):
                await finish(BurningJobs(domain, web(), Fuse(point), ai), task, {**payload, **reason}, JOB)
            killed = await _thought_and_sent(domain)
            asked = len(ai.asked)
            await finish(BurningJobs(domain, web(), Fuse(), ai), task, {**payload, **reason}, JOB)
            if killed != begun:
                kept_at += 1
                assert (await _thought_and_sent(domain), len(ai.asked)) == (killed, asked), point
        assert kept_at > 0

    cases = {
        "analysis": (beginnings.begin_analysis, {}),
        "analysis anew": (beginnings.begin_analysis_anew, {}),
        "brief": (beginnings.begin_brief, {}),
        "brief anew": (beginnings.begin_brief_anew, {}),
        "brief a user wants": (beginnings.begin_brief_anew, {"reason": "manual"}),
    }
    await check_each_async(cases, check)


async def _thought_and_sent(domain: Domain) -> tuple[list[Any], set[UUID]]:
    """Return the overlays, and the jobs except the running one."""
    sent = {job.id for job in (await domain.storage.find(JobQuery(limit=1000))).jobs} - {JOB}
    return (await domain.everything())["story_overlays"], sent
