"""``playbook-run``: steps one after the other, outputs that flow on, and going on after whatever happened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from tests.cases import each
from tests.tasks.domain import Domain, memory_domain, there
from tests.tasks.jobs import CALM, Jobs, queue_of
from zeke_queue.errors import LeaseLostError
from zeke_queue.model import Failed, Job, JobQuery, QueueCapacity, RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.signals import Fail
from zeke_queue.worker import Worker
from zeke_tasks.context import Context
from zeke_tasks.playbooks import run as playbook_run
from zeke_tasks.playbooks.cancel import cancel_run, status_of
from zeke_tasks.store.playbooks import Playbook, PlaybookRun, PlaybookStatus, RunStatus, Step

TEAM = UUID(int=7)
PLAYBOOK = UUID(int=8)

COMPLETED, FAILED, CANCELLED = RowState.COMPLETED, RowState.FAILED, RowState.CANCELLED


class Numbers(BaseModel):
    numbers: list[int]


class Stage:
    """A queue whose catalog has ``playbook-run`` and some steps to run."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.broken = True
        self.ran: list[str] = []
        context = Jobs(domain).resources

        @asynccontextmanager
        async def resources() -> AsyncIterator[Context]:
            yield context

        catalog = Catalog(resources=resources)
        catalog.include(playbook_run.tasks)

        @catalog.task("sum")
        async def total(payload: Numbers) -> dict[str, int]:
            self.ran.append("sum")
            return {"sum": sum(payload.numbers)}

        @catalog.task("brittle", retry_limit=0)
        async def brittle(payload: Numbers) -> dict[str, list[int]]:
            self.ran.append("brittle")
            if self.broken:
                raise Fail("it broke")
            return {"numbers": [number * 10 for number in payload.numbers]}

        @catalog.task("nothing")
        async def nothing() -> None:
            self.ran.append("nothing")

        _ = total, brittle, nothing
        self.queue = queue_of(catalog, domain)

    async def put(self, *steps: Step, **about: Any) -> None:
        await self.domain.verbs.put_playbook(Playbook(PLAYBOOK, TEAM, "A playbook", steps, **about))

    async def start(self, **about: Any) -> UUID:
        payload = {"playbookId": PLAYBOOK, "teamId": TEAM, "triggerSource": "api", **about}
        job_id = (await self.queue.send("playbook-run", payload, retry_delay=0)).id
        assert job_id is not None
        return job_id

    async def played(self, *steps: Step, tasks: Sequence[str] | None = None, **about: Any) -> UUID:
        """Keep a playbook of these steps, start a run of it, and run due jobs."""
        await self.put(*steps)
        run_id = await self.start(**about)
        await self.drain(tasks=tasks)
        return run_id

    async def drain(self, **options: Any) -> None:
        await Worker(self.queue, **CALM, **options).drain()

    async def job(self, job_id: UUID) -> Job:
        return there(await self.queue.get(job_id))

    async def run(self, job_id: UUID) -> PlaybookRun:
        return there(await self.domain.verbs.run(job_id))

    async def events(self, job_id: UUID) -> list[str]:
        """Return what happened in a run, in words."""
        found = await self.domain.verbs.run_events(job_id)
        return [event.kind if event.step is None else f"{event.kind} {event.step}" for event in found]


@pytest.fixture
def stage(domain: Domain) -> Stage:
    return Stage(domain)


FIRST = Step("first", "sum", {"numbers": [1, 2]})
SECOND = Step("second", "sum", {"numbers": [{"$from": "steps.first.output.sum"}, 10]})


async def test_outputs_are_passed_to_later_steps_and_events_are_kept(stage: Stage) -> None:
    await stage.put(FIRST, SECOND)
    run_id = await stage.start(metadata={"why": "a test"}, triggeredBy=str(UUID(int=9)))
    await stage.drain(concurrency=1)
    job, run = await stage.job(run_id), await stage.run(run_id)
    assert (job.row_state, job.retry_count, job.history) == (COMPLETED, 0, ())
    assert job.output == {
        "runId": str(run_id),
        "playbookId": str(PLAYBOOK),
        "status": "succeeded",
        "outputs": {"first": {"sum": 3}, "second": {"sum": 13}},
    }
    assert (run.status, run.resumed, run.error) == (RunStatus.SUCCEEDED, 0, None)
    assert (run.metadata, run.triggered_by, run.trigger_source) == ({"why": "a test"}, UUID(int=9), "api")
    assert await stage.events(run_id) == [
        "run.created",
        "run.started",
        "step.started first",
        "step.completed first",
        "step.started second",
        "step.completed second",
        "run.completed",
    ]
    playbook = there(await stage.domain.verbs.playbook(PLAYBOOK, TEAM))
    assert playbook.status is PlaybookStatus.ACTIVE


async def test_metadata_is_passed_to_steps_and_step_without_output_runs_once(stage: Stage) -> None:
    run_id = await stage.played(
        Step("idle", "nothing"),
        Step("only", "sum", {"numbers": {"$from": "run.metadata.numbers"}}),
        metadata={"numbers": [4, 5]},
    )
    assert (await stage.job(run_id)).output["outputs"] == {"idle": None, "only": {"sum": 9}}
    assert stage.ran == ["nothing", "sum"]


@each("unknown", "another team's", "archived")
async def test_playbook_that_cannot_run_fails_job(case: str) -> None:
    stage = Stage(memory_domain())
    status = PlaybookStatus.ARCHIVED if case == "archived" else PlaybookStatus.DRAFT
    await stage.put(FIRST, status=status)
    team = UUID(int=6) if case == "another team's" else TEAM
    playbook = UUID(int=5) if case == "unknown" else PLAYBOOK
    job_id = await stage.start(playbookId=playbook, teamId=team)
    await stage.drain()
    job = await stage.job(job_id)
    assert (job.row_state, len(job.history)) == (FAILED, 1)
    if case == "archived":
        assert "archived" in job.output["message"]
    else:
        assert job.output["message"] == f"Playbook {playbook} not found for team {team}"
    assert await stage.domain.verbs.run(job_id) is None


async def test_failed_run_is_resumed_at_the_failed_step(stage: Stage) -> None:
    run_id = await stage.played(FIRST, Step("break", "brittle", {"numbers": [1]}), SECOND)
    job, run = await stage.job(run_id), await stage.run(run_id)
    said = "Step 'break' (brittle) failed: it broke"
    assert job.row_state is FAILED
    assert job.output["message"] == f"{said}. Retry the job to continue with this step"
    assert (run.status, run.error, run.outputs) == (RunStatus.FAILED, said, {"first": {"sum": 3}})
    stage.broken = False
    assert await stage.queue.retry(run_id)
    await stage.drain()
    run = await stage.run(run_id)
    assert (run.status, run.resumed, run.error) == (RunStatus.SUCCEEDED, 1, None)
    assert stage.ran == ["sum", "brittle", "brittle", "sum"]
    assert (await stage.events(run_id))[-6:] == [
        "run.resumed",
        "step.started break",
        "step.completed break",
        "step.started second",
        "step.completed second",
        "run.completed",
    ]


async def test_retried_run_uses_the_changed_playbook(stage: Stage) -> None:
    run_id = await stage.played(FIRST, Step("break", "brittle", {"numbers": [1]}))
    await stage.put(FIRST, SECOND)
    assert await stage.queue.retry(run_id)
    await stage.drain()
    assert (await stage.job(run_id)).output["outputs"] == {"first": {"sum": 3}, "second": {"sum": 13}}


async def test_running_run_ignores_change_and_archiving_of_its_playbook(stage: Stage) -> None:
    run_id = await stage.played(FIRST, SECOND, tasks=["playbook-run"])
    await stage.put(FIRST, status=PlaybookStatus.ARCHIVED)
    await stage.drain()
    assert list((await stage.job(run_id)).output["outputs"]) == ["first", "second"]
    assert (await stage.run(run_id)).status is RunStatus.SUCCEEDED


@each(
    (Step("x", "no-such-task"), "no-such-task"),
    (Step("x", "sum", {"numbers": "many"}), "numbers"),
    (Step("x", "sum", {"numbers": {"$from": "steps.later.output"}}), "names 'later', but steps has nothing"),
)
async def test_invalid_step_fails_run_with_reason(step: Step, said: str) -> None:
    stage = Stage(memory_domain())
    run_id = await stage.played(step)
    job, run = await stage.job(run_id), await stage.run(run_id)
    assert (job.row_state, run.status) == (FAILED, RunStatus.FAILED)
    assert said in job.output["message"]
    assert (await stage.events(run_id))[-3:] == ["step.started x", "step.failed x", "run.failed x"]


async def test_cancelled_run_cancels_its_step_and_can_be_resumed(stage: Stage) -> None:
    run_id = await stage.played(FIRST, SECOND, tasks=["playbook-run"])
    (child,) = (await stage.domain.storage.find(JobQuery(parent=run_id))).jobs
    assert await cancel_run(stage.queue, stage.domain.repository, run_id)
    assert not await cancel_run(stage.queue, stage.domain.repository, run_id)
    assert (await stage.job(child.id)).row_state is CANCELLED
    assert (await stage.run(run_id)).status is RunStatus.CANCELLED
    await stage.drain()
    assert stage.ran == []
    assert await stage.queue.resume(run_id)
    await stage.drain()
    run = await stage.run(run_id)
    assert (run.status, run.resumed, stage.ran) == (RunStatus.SUCCEEDED, 1, ["sum", "sum"])
    assert "run.cancelled" in await stage.events(run_id)
    assert len((await stage.domain.storage.find(JobQuery(parent=run_id))).jobs) == 2


async def test_cancelled_step_fails_the_run(stage: Stage) -> None:
    run_id = await stage.played(FIRST, tasks=["playbook-run"])
    (child,) = (await stage.domain.storage.find(JobQuery(parent=run_id))).jobs
    assert await stage.queue.cancel(child.id)
    await stage.drain()
    assert (await stage.run(run_id)).error == "Step 'first' (sum) failed: its job was cancelled"


async def test_run_can_run_another_playbook_with_one_slot(stage: Stage) -> None:
    inner = UUID(int=80)
    await stage.domain.verbs.put_playbook(Playbook(inner, TEAM, "Inner", [FIRST]))
    given = {"playbookId": str(inner), "teamId": str(TEAM), "triggerSource": "system"}
    await stage.put(Step("inner", "playbook-run", given))
    run_id = await stage.start()
    await stage.drain(concurrency=1)
    outputs = (await stage.job(run_id)).output["outputs"]
    assert outputs["inner"]["outputs"] == {"first": {"sum": 3}}


async def test_recursive_playbook_fails_at_the_depth_limit(stage: Stage) -> None:
    given = {"playbookId": str(PLAYBOOK), "teamId": str(TEAM), "triggerSource": "system"}
    run_id = await stage.played(FIRST, Step("again", "playbook-run", given))
    assert stage.ran == ["sum"] * playbook_run.DEEPEST
    job = await stage.job(run_id)
    assert job.row_state is FAILED
    assert f"more than {playbook_run.DEEPEST} playbooks deep" in job.output["message"]
    jobs = (await stage.queue.find(JobQuery(names=("playbook-run",), limit=100))).jobs
    assert {(one.row_state, len(one.history)) for one in jobs} == {(FAILED, 1)}
    assert len(jobs) == playbook_run.DEEPEST + 1


async def test_independent_runs_do_not_count_towards_depth(stage: Stage) -> None:
    await stage.put(FIRST)
    runs = [await stage.start() for _ in range(playbook_run.DEEPEST + 2)]
    await stage.drain()
    assert {(await stage.job(run_id)).row_state for run_id in runs} == {COMPLETED}


@each({"playbookDepth": "deep"}, {"playbookDepth": -5}, {"playbookDepth": True}, {})
async def test_meta_of_run_is_passed_to_steps(meta: dict[str, Any]) -> None:
    stage = Stage(memory_domain())
    await stage.put(FIRST)
    payload = {"playbookId": PLAYBOOK, "teamId": TEAM, "triggerSource": "api"}
    run_id = (await stage.queue.send("playbook-run", payload, meta={"trace": "t", **meta})).id
    assert run_id is not None
    await stage.drain()
    (step,) = (await stage.queue.find(JobQuery(names=("sum",)))).jobs
    assert step.meta == {"trace": "t", "playbookDepth": 1, "teamId": str(TEAM)}


async def test_run_holds_no_slot_while_its_step_runs(stage: Stage) -> None:
    await stage.put(FIRST)
    runs = [await stage.start() for _ in range(5)]
    await stage.drain(tasks=["playbook-run"])
    waiting = [await stage.job(run_id) for run_id in runs]
    assert all(job.waits_for is not None for job in waiting)


async def test_run_with_cancelled_and_resumed_job_goes_on(stage: Stage) -> None:
    run_id = await stage.played(FIRST, SECOND, tasks=["playbook-run"])
    assert await stage.queue.cancel(run_id)
    await stage.drain()
    run, job = await stage.run(run_id), await stage.job(run_id)
    assert (run.status, status_of(run, job)) == (RunStatus.RUNNING, RunStatus.CANCELLED)
    assert status_of(run, None) is RunStatus.FAILED
    assert await stage.queue.resume(run_id)
    await stage.drain()
    run = await stage.run(run_id)
    assert (run.status, run.resumed, stage.ran) == (RunStatus.SUCCEEDED, 0, ["sum", "sum"])
    assert status_of(run, await stage.job(run_id)) is RunStatus.SUCCEEDED
    assert status_of(run, None) is RunStatus.SUCCEEDED


async def test_only_existing_runs_of_the_team_are_cancelled(stage: Stage) -> None:
    await stage.put(FIRST)
    assert not await cancel_run(stage.queue, stage.domain.repository, UUID(int=1))
    other = (await stage.queue.send("nothing")).id
    assert other is not None
    assert not await cancel_run(stage.queue, stage.domain.repository, other)
    assert (await stage.job(other)).row_state is RowState.CREATED
    run_id = await stage.start()
    assert not await cancel_run(stage.queue, stage.domain.repository, run_id, team_id=UUID(int=6))
    assert (await stage.job(run_id)).row_state is RowState.CREATED
    assert await cancel_run(stage.queue, stage.domain.repository, run_id, team_id=TEAM)
    assert (await stage.job(run_id)).row_state is CANCELLED


async def test_ended_run_with_active_job_is_not_cancelled(stage: Stage) -> None:
    await stage.put()
    run_id = await stage.start()
    (claimed,) = await stage.domain.storage.claim(UUID(int=1), [QueueCapacity("playbook-run", 1)], 1)
    context = Jobs(stage.domain)
    await context.run("playbook-run", _payload(), job_id=run_id, attempt=claimed.attempt)
    assert not await cancel_run(stage.queue, stage.domain.repository, run_id)
    assert (await stage.job(run_id)).row_state is RowState.ACTIVE
    assert (await stage.run(run_id)).status is RunStatus.SUCCEEDED


async def test_attempt_that_lost_its_lease_writes_nothing(stage: Stage) -> None:
    run_id = await stage.played(FIRST, tasks=["playbook-run"])
    assert await cancel_run(stage.queue, stage.domain.repository, run_id)
    before = await stage.domain.everything()
    with pytest.raises(LeaseLostError):
        await Jobs(stage.domain).run("playbook-run", _payload(), job_id=run_id, attempt=1)
    assert await stage.domain.everything() == before


async def test_failed_run_stays_failed_when_its_worker_is_lost(stage: Stage) -> None:
    run_id = await stage.played(Step("break", "brittle", {"numbers": [1]}), tasks=["playbook-run"])
    await stage.drain(tasks=["brittle"])
    (claimed,) = await stage.domain.storage.claim(UUID(int=1), [QueueCapacity("playbook-run", 1)], 1)
    jobs = Jobs(stage.domain)
    with pytest.raises(Fail):
        await jobs.run("playbook-run", _payload(), job_id=run_id, attempt=claimed.attempt)
    lost = Failed(run_id, claimed.attempt, 0.0, '{"type": "WorkerLost", "message": "it was lost"}')
    assert await stage.domain.storage.settle(failed=[lost]) == {run_id}
    stage.broken = False
    await stage.drain()
    assert ((await stage.run(run_id)).status, stage.ran) == (RunStatus.FAILED, ["brittle"])
    assert await stage.queue.retry(run_id)
    await stage.drain()
    assert ((await stage.run(run_id)).status, stage.ran) == (RunStatus.SUCCEEDED, ["brittle", "brittle"])


async def test_outputs_too_large_for_job_are_kept_in_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playbook_run, "OUTPUTS_CHARACTERS", 20)
    run_id = await stage.played(FIRST, SECOND)
    job, run = await stage.job(run_id), await stage.run(run_id)
    assert (job.row_state, job.output["outputs"]) == (COMPLETED, None)
    assert run.outputs == {"first": {"sum": 3}, "second": {"sum": 13}}


def _payload() -> dict[str, Any]:
    return {"playbookId": PLAYBOOK, "teamId": TEAM, "triggerSource": "api"}
