"""Every task, sent twice, leaves what one job leaves."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.cases import check_each_async
from tests.tasks import beginnings
from tests.tasks.beginnings import web
from tests.tasks.crashes import BEGINNINGS, Begin, run_by
from tests.tasks.domain import CHECKED, Domain
from tests.tasks.emptying import empty
from tests.tasks.jobs import CALM, Jobs
from tests.tasks.scripted import ScriptedAI
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.worker import Worker

Rows = dict[str, list[dict[str, Any]]]

JOB: Final = UUID(int=0xB)

AFTERWARDS: Final = UUID(int=0xC)
"""Another job like it, which is sent later."""

DONE_ANEW: Final[dict[Begin, dict[str, tuple[str, ...]]]] = {
    # A user requests another analysis, or an analysis another brief.
    beginnings.begin_analysis_anew: {"story_overlays": ("analysed_at", "analysed_by"), "ai_spending": ()},
    beginnings.begin_brief_anew: {"story_overlays": ("briefed_at", "briefed_by"), "ai_spending": ()},
    beginnings.begin_brief_wanted: {"story_overlays": ("briefed_at", "briefed_by"), "ai_spending": ()},
    # Each job is a run of its own, whose steps change nothing.
    beginnings.begin_playbook: {"playbook_runs": (), "playbook_run_events": ()},
}
"""For tasks whose second job repeats its work: the changed columns by table, or the added rows."""


@pytest.mark.nightly
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
            queue = Jobs(on_postgres, web(), ScriptedAI()).worked()
            await queue.trigger(task, payload, id=job_id)
            await Worker(queue, tasks=run_by(task), **CALM).drain()
            job = await queue.get(job_id)
            assert job
            assert job.status is JobStatus.COMPLETED
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
