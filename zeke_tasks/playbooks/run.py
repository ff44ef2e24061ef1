"""``playbook-run``: run the steps of a playbook one after the other, each as a job of its own.

A step names a task and its input, in which it can refer to what earlier steps returned (see ``flow``). While
a step runs, the run holds no place of its queue: it waits, and goes on when the step has ended. What was done
is written down, so it goes on where it was, after a crash too; when a run that failed is retried, with the
step at which it stopped. The run has its job's id, so whoever cancels the job cancels the step that runs.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from zeke_queue.catalog import Catalog
from zeke_queue.context import JobContext
from zeke_queue.errors import Refused, UsageError
from zeke_queue.model import JobState
from zeke_queue.signals import Fail
from zeke_tasks.context import context_of
from zeke_tasks.payloads import PlaybookRun as Asked
from zeke_tasks.playbooks.flow import BadReference, fill
from zeke_tasks.store.playbooks import NewRun, PlaybookRun, PlaybookStatus, RunEvent, RunStatus, Step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from zeke_queue.model import Job
    from zeke_tasks.store.playbooks import Playbook
    from zeke_tasks.store.repository import Rows

tasks = Catalog()


@tasks.task("playbook-run", concurrency_limit=2)
async def playbook_run(payload: Asked, job: JobContext) -> dict[str, Any]:
    """Run the steps of a playbook one after the other, each as a job of its own."""
    playing = await _begin(payload, job)
    for number, step in enumerate(playing.steps):
        if step.name not in playing.run.outputs:
            await job.progress(number / len(playing.steps), step.name)
            playing = await _play(playing, step, job)
    return await _complete(playing, job)


@dataclass(frozen=True, slots=True)
class _Playing:
    """A run and the steps that it goes through: those of the playbook when it began, or was resumed."""

    run: PlaybookRun
    steps: tuple[Step, ...]

    def event(self, kind: str, step: Step | None = None, **data: Any) -> RunEvent:
        """Return something that happens now."""
        name = None if step is None else step.name
        return RunEvent(run_id=self.run.id, round=self.run.resumed, kind=kind, step=name, data=data)

    def known(self) -> dict[str, Any]:
        """Return what inputs can refer to."""
        run = self.run
        return {
            "steps": {name: {"output": output} for name, output in run.outputs.items()},
            "run": {
                "id": str(run.id),
                "teamId": str(run.team_id),
                "triggeredBy": None if run.triggered_by is None else str(run.triggered_by),
                "metadata": run.metadata,
            },
        }


async def _begin(payload: Asked, job: JobContext) -> _Playing:
    """Find the run of this job, or make it; take it up again if it had failed or was cancelled.

    Raises:
        Fail: the team has no such playbook, or it is archived.
    """
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        playbook = await rows.playbook(payload.playbook_id, payload.team_id)
        if playbook is None:
            raise Fail(f"Playbook {payload.playbook_id} not found for team {payload.team_id}")
        if playbook.status is PlaybookStatus.ARCHIVED:
            raise Fail(f"Playbook {playbook.id} is archived; make it active to run it")
        run, new = await rows.ensure_run(_new_run(payload, job))
        if new:
            await rows.put_run_event(_Playing(run, ()).event("run.created", **_told_steps(playbook)))
        if run.status is RunStatus.PENDING:
            await rows.activate_playbook(playbook.id)
            await rows.begin_run(run.id)
            await rows.put_run_event(_Playing(run, ()).event("run.started"))
        elif await rows.resume_run(run.id):
            run = replace(run, resumed=run.resumed + 1)
            await rows.put_run_event(_Playing(run, ()).event("run.resumed", **_told_steps(playbook)))
        return await _as_stored(rows, run)


def _new_run(payload: Asked, job: JobContext) -> NewRun:
    return NewRun(
        id=job.id,
        playbook_id=payload.playbook_id,
        team_id=payload.team_id,
        trigger_source=payload.trigger_source,
        triggered_by=payload.triggered_by,
        metadata=payload.metadata or {},
    )


def _told_steps(playbook: Playbook) -> dict[str, Any]:
    """Return the steps as an event keeps them: a run goes through these, whatever is edited meanwhile."""
    return {"steps": [{"name": s.name, "task": s.task, "input": dict(s.input)} for s in playbook.steps]}


async def _as_stored(rows: Rows, run: PlaybookRun) -> _Playing:
    stored = await rows.run(run.id)
    told = [event.data for event in await rows.run_events(run.id) if "steps" in event.data]
    return _Playing(stored or run, tuple(Step(**step) for step in told[-1]["steps"]))


async def _play(playing: _Playing, step: Step, job: JobContext) -> _Playing:
    """Run a step as a child, and keep what it returned.

    Raises:
        Wait: the child has not ended.
        Fail: it can't be run, or did not succeed; the run has failed.
    """
    async with _rows(job) as rows:
        await rows.put_run_event(playing.event("step.started", step, task=step.task))
    try:
        # The number of times that the run was resumed is part of the key: a step that failed is a new child.
        payload = fill(step.input, playing.known())
        child = await job.child(step.task, payload, key=f"{step.name}/{playing.run.resumed}")
    except (BadReference, Refused, UsageError) as error:
        raise await _failed(playing, step, job, str(error)) from error
    outcome = await job.outcome(child)
    if outcome.state is not JobState.COMPLETED:
        raise await _failed(playing, step, job, _why(outcome))
    async with _rows(job) as rows:
        await rows.put_output(playing.run.id, step.name, outcome.output)
        await rows.put_run_event(playing.event("step.completed", step, jobId=str(outcome.id)))
        run = await rows.run(playing.run.id)
    return replace(playing, run=run or playing.run)


async def _failed(playing: _Playing, step: Step, job: JobContext, why: str) -> Fail:
    """Write down that the run failed at a step; returns what to raise."""
    reason = f"Step {step.name!r} ({step.task}) failed: {why}"
    async with _rows(job) as rows:
        await rows.put_run_event(playing.event("step.failed", step, error=why))
        if await rows.end_run(playing.run.id, RunStatus.FAILED, reason):
            await rows.put_run_event(playing.event("run.failed", step, error=why))
    job.logger.warning("playbook run failed", runId=str(playing.run.id), step=step.name, error=why)
    return Fail(f"{reason}. Retry the job to go on with this step")


def _why(outcome: Job) -> str:
    if outcome.state is JobState.CANCELLED:
        return "its job was cancelled"
    match outcome.output:
        case {"message": str(message)}:
            return message
        case _:
            return f"its job {outcome.state}"


async def _complete(playing: _Playing, job: JobContext) -> dict[str, Any]:
    run = playing.run
    async with _rows(job) as rows:
        if await rows.end_run(run.id, RunStatus.SUCCEEDED):
            await rows.put_run_event(playing.event("run.completed"))
    job.logger.info("playbook run completed", runId=str(run.id), steps=len(playing.steps))
    return {"runId": run.id, "playbookId": run.playbook_id, "status": "succeeded", "outputs": run.outputs}


@asynccontextmanager
async def _rows(job: JobContext) -> AsyncGenerator[Rows]:
    async with job.transaction() as transaction:
        yield context_of(job).repository.within(transaction)
