"""``playbook-run``: run the steps of a playbook one after another, each as a separate job.

A step names a task and its input, which can refer to the results of earlier steps (see ``flow``). While a
step runs, the run does not occupy a worker: it waits, and continues when the step has ended. Completed steps
are recorded, so the run continues after them, even after a crash; a failed run that is retried continues with
the step at which it stopped. The run has its job's id, and cancelling the job cancels the current step.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb
from zeke_queue.errors import JobConflictError, UsageError
from zeke_queue.model import JobStatus, RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail
from zeke_tasks.ai_calls import TEAM
from zeke_tasks.context import context_of
from zeke_tasks.payloads import PlaybookRun as Asked
from zeke_tasks.playbooks.flow import BadReference, fill, known_of
from zeke_tasks.store.model import MESSAGE_CHARACTERS
from zeke_tasks.store.playbooks import NewRun, PlaybookRun, PlaybookStatus, RunEvent, RunStatus, Step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from zeke_queue.model import Job
    from zeke_tasks.store.playbooks import Playbook
    from zeke_tasks.store.repository import Rows

tasks = Catalog()

OUTPUTS_CHARACTERS: Final = 2**19
"""Maximum characters of JSON of outputs that the job returns; larger outputs are only in the run's row."""


DEEPEST: Final = 8
"""Maximum nesting of runs: a waiting run does not occupy a worker, so nothing else limits recursion."""

DEPTH: Final = "playbookDepth"
"""The key in a job's ``meta`` with the number of runs around it; the jobs that it sends inherit it."""


@tasks.task("playbook-run", concurrency_limit=2, team_field="teamId")
async def playbook_run(payload: Asked, job: JobContext) -> dict[str, Any]:
    """Run the steps of a playbook one after another, each as a separate job."""
    _require_depth(payload, job)
    playing = await _begin(payload, job)
    for number, step in enumerate(playing.steps):
        if step.name not in playing.run.outputs:
            await job.progress(number / len(playing.steps), step.name)
            playing = await _play(playing, step, job)
    return await _complete(playing, job)


def _depth(job: JobContext) -> int:
    """Return the number of runs around a job; 0 if a client set an invalid value."""
    depth = job.meta.get(DEPTH)
    return depth if isinstance(depth, int) and not isinstance(depth, bool) and depth > 0 else 0


def _require_depth(payload: Asked, job: JobContext) -> None:
    """Check that a run is not nested too deeply.

    Raises:
        Fail: the run is nested too deeply.
    """
    if _depth(job) >= DEEPEST:
        raise Fail(
            f"Playbook {payload.playbook_id} is run more than {DEEPEST} playbooks deep; check whether a step"
            " runs a playbook that contains it"
        )


@dataclass(frozen=True, slots=True)
class _Playing:
    """A run and its steps.

    Attributes:
        steps: the playbook's steps at the time when the run began or was resumed.
        failures: the number of failures of each step, by name.
    """

    run: PlaybookRun
    steps: tuple[Step, ...]
    failures: Counter[str | None]

    def known(self) -> dict[str, Any]:
        """Return the values that inputs can refer to."""
        run = self.run
        return known_of(
            run.outputs,
            run_id=run.id,
            team_id=run.team_id,
            triggered_by=run.triggered_by,
            metadata=run.metadata,
        )


def _event(run: PlaybookRun, kind: str, step: Step | None = None, **data: Any) -> RunEvent:
    """Return an event of the run."""
    name = None if step is None else step.name
    return RunEvent(run_id=run.id, round=run.resumed, kind=kind, step=name, data=data)


async def _begin(payload: Asked, job: JobContext) -> _Playing:
    """Find or create the run of this job; resume it if it had failed or was cancelled.

    Raises:
        Fail: the team has no such playbook, or it is archived; or the run has failed and the job was not
            retried by a user since: its worker was lost before the job failed too.
    """
    by_hand = await _was_requeued(job)
    async with _rows(job) as rows:
        run = await rows.run(job.id)
        if run is not None and run.status is RunStatus.FAILED and not by_hand:
            raise Fail(_again(run.error))
        if run is None:
            told = _event_steps(await _playbook(rows, payload))
            run, _ = await rows.ensure_run(_new_run(payload, job))
            await rows.put_run_event(_event(run, "run.created", **told))
            await rows.activate_playbook(run.playbook_id)
            await rows.begin_run(run.id)
            await rows.put_run_event(_event(run, "run.started"))
        elif run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            told = _event_steps(await _playbook(rows, payload))
            await rows.resume_run(run.id)
            run = replace(run, resumed=run.resumed + 1)
            await rows.put_run_event(_event(run, "run.resumed", **told))
        return await _as_stored(rows, run)


async def _was_requeued(job: JobContext) -> bool:
    """Return whether the job had ended and was retried or resumed."""
    if job.attempt == 1:
        return False
    history = (await job.stored()).history
    return bool(history) and history[-1].row_state is not RowState.RETRY


async def _playbook(rows: Rows, payload: Asked) -> Playbook:
    """Return the playbook if it can be run.

    Raises:
        Fail: it can't be run.
    """
    playbook = await rows.playbook(payload.playbook_id, payload.team_id)
    if playbook is None:
        raise Fail(f"Playbook {payload.playbook_id} not found for team {payload.team_id}")
    if playbook.status is PlaybookStatus.ARCHIVED:
        raise Fail(f"Playbook {playbook.id} is archived; make it active to run it")
    return playbook


def _new_run(payload: Asked, job: JobContext) -> NewRun:
    return NewRun(
        id=job.id,
        playbook_id=payload.playbook_id,
        team_id=payload.team_id,
        trigger_source=payload.trigger_source,
        triggered_by=payload.triggered_by,
        metadata=payload.metadata or {},
    )


def _event_steps(playbook: Playbook) -> dict[str, Any]:
    """Return the steps for an event: the run uses these even if the playbook is edited meanwhile."""
    return {"steps": [{"name": s.name, "task": s.task, "input": dict(s.input)} for s in playbook.steps]}


async def _as_stored(rows: Rows, run: PlaybookRun) -> _Playing:
    events = await rows.run_events(run.id)
    told = [event.data for event in events if "steps" in event.data]
    failures = Counter(event.step for event in events if event.kind == "step.failed")
    return _Playing(await rows.run(run.id) or run, tuple(Step(**one) for one in told[-1]["steps"]), failures)


async def _play(playing: _Playing, step: Step, job: JobContext) -> _Playing:
    """Run a step as a child job, and store its result.

    Raises:
        Wait: the child has not ended.
        Fail: the step can't be run or did not succeed, so the run has failed.
    """
    async with _rows(job) as rows:
        await rows.put_run_event(_event(playing.run, "step.started", step, task=step.task))
    meta = {**job.meta, DEPTH: _depth(job) + 1, TEAM: str(playing.run.team_id)}
    try:
        # A failed step gets a new child; a child that was cancelled with the run is resumed with it.
        payload = fill(step.input, playing.known())
        key = f"{step.name}/{playing.failures[step.name]}"
        child = await job.start_child(step.task, payload, key=key, meta=meta)
    except (BadReference, JobConflictError, UsageError) as error:
        raise await _failed(playing, step, job, str(error)) from error
    outcome = await job.wait_for(child)
    if outcome.status is not JobStatus.COMPLETED:
        raise await _failed(playing, step, job, _why(outcome))
    async with _rows(job) as rows:
        await rows.put_output(playing.run.id, step.name, outcome.output)
        await rows.put_run_event(_event(playing.run, "step.completed", step, jobId=str(outcome.id)))
        run = await rows.run(playing.run.id)
    return replace(playing, run=run or playing.run)


async def _failed(playing: _Playing, step: Step, job: JobContext, said: str) -> Fail:
    """Record that the run failed at a step; returns the signal to raise."""
    why = said[:MESSAGE_CHARACTERS]
    reason = f"Step {step.name!r} ({step.task}) failed: {why}"
    async with _rows(job) as rows:
        await rows.put_run_event(_event(playing.run, "step.failed", step, error=why))
        if await rows.end_run(playing.run.id, RunStatus.FAILED, reason):
            await rows.put_run_event(_event(playing.run, "run.failed", step, error=why))
    job.logger.warning("playbook run failed", runId=str(playing.run.id), step=step.name, error=why)
    return Fail(_again(reason))


def _again(reason: str | None) -> str:
    return f"{reason}. Retry the job to continue with this step"


def _why(outcome: Job) -> str:
    if outcome.status is JobStatus.CANCELLED:
        return "its job was cancelled"
    match outcome.output:
        case {"message": str(message)}:
            return message
        case _:
            return f"its job ended {outcome.status}"


async def _complete(playing: _Playing, job: JobContext) -> dict[str, Any]:
    run = playing.run
    async with _rows(job) as rows:
        if await rows.end_run(run.id, RunStatus.SUCCEEDED):
            await rows.put_run_event(_event(run, "run.completed"))
    job.logger.info("playbook run completed", runId=str(run.id), steps=len(playing.steps))
    fits = len(jsonb.dumps(run.outputs)) <= OUTPUTS_CHARACTERS
    return {
        "runId": run.id,
        "playbookId": run.playbook_id,
        "status": "succeeded",
        "outputs": run.outputs if fits else None,
    }


@asynccontextmanager
async def _rows(job: JobContext) -> AsyncGenerator[Rows]:
    """Open a transaction of the job, which no later attempt can write in concurrently."""
    async with job.transaction() as transaction:
        yield context_of(job).repository.within(transaction)
