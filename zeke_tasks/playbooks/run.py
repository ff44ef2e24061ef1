"""``playbook-run``: run the steps of a playbook one after the other, each as a job of its own.

A step names a task and its input, in which it can refer to what earlier steps returned (see ``flow``). While
a step runs, the run holds no place of its queue: it waits, and goes on when the step has ended. What was done
is written down, so it goes on where it was, after a crash too; when a run that failed is retried, with the
step at which it stopped. The run has its job's id, so whoever cancels the job cancels the step that runs.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb
from zeke_queue.errors import JobConflictError, UsageError
from zeke_queue.model import JobState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail
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
"""Up to how many characters of JSON the job returns what the steps did; more is in the run's row alone."""


DEEPEST: Final = 8
"""How many runs can be inside of each other: a run that waits holds no place, so nothing else stops them."""

DEPTH: Final = "playbookDepth"
"""Under which key the ``meta`` of a job says how many runs it is inside of; whatever it sends says it on."""


@tasks.task("playbook-run", concurrency_limit=2)
async def playbook_run(payload: Asked, job: JobContext) -> dict[str, Any]:
    """Run the steps of a playbook one after the other, each as a job of its own."""
    _require_depth(payload, job)
    playing = await _begin(payload, job)
    for number, step in enumerate(playing.steps):
        if step.name not in playing.run.outputs:
            await job.progress(number / len(playing.steps), step.name)
            playing = await _play(playing, step, job)
    return await _complete(playing, job)


def _depth(job: JobContext) -> int:
    """Return how many runs a job is inside of; what a stranger wrote there that is no count is 0."""
    depth = job.meta.get(DEPTH)
    return depth if isinstance(depth, int) and not isinstance(depth, bool) and depth > 0 else 0


def _require_depth(payload: Asked, job: JobContext) -> None:
    """Check that a run is not nested too deeply.

    Raises:
        Fail: it is.
    """
    if _depth(job) >= DEEPEST:
        raise Fail(
            f"Playbook {payload.playbook_id} is run more than {DEEPEST} playbooks deep; see whether a step"
            " runs a playbook that it is part of"
        )


@dataclass(frozen=True, slots=True)
class _Playing:
    """A run and what it goes through.

    Attributes:
        steps: those of the playbook when the run began, or was resumed.
        failures: how often each step failed, by its name.
    """

    run: PlaybookRun
    steps: tuple[Step, ...]
    failures: Counter[str | None]

    def known(self) -> dict[str, Any]:
        """Return what inputs can refer to."""
        run = self.run
        return known_of(
            run.outputs,
            run_id=run.id,
            team_id=run.team_id,
            triggered_by=run.triggered_by,
            metadata=run.metadata,
        )


def _event(run: PlaybookRun, kind: str, step: Step | None = None, **data: Any) -> RunEvent:
    """Return something that happens now."""
    name = None if step is None else step.name
    return RunEvent(run_id=run.id, round=run.resumed, kind=kind, step=name, data=data)


async def _begin(payload: Asked, job: JobContext) -> _Playing:
    """Find the run of this job, or make it; take it up again if it had failed or was cancelled.

    Raises:
        Fail: the team has no such playbook, or it is archived; or the run has failed, and nobody had the job
            tried again since: its worker was lost before that was known.
    """
    by_hand = await _was_brought_back(job)
    async with _rows(job) as rows:
        run = await rows.run(job.id)
        if run is not None and run.status is RunStatus.FAILED and not by_hand:
            raise Fail(_again(run.error))
        if run is None:
            told = _told_steps(await _playbook(rows, payload))
            run, _ = await rows.ensure_run(_new_run(payload, job))
            await rows.put_run_event(_event(run, "run.created", **told))
            await rows.activate_playbook(run.playbook_id)
            await rows.begin_run(run.id)
            await rows.put_run_event(_event(run, "run.started"))
        elif run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            told = _told_steps(await _playbook(rows, payload))
            await rows.resume_run(run.id)
            run = replace(run, resumed=run.resumed + 1)
            await rows.put_run_event(_event(run, "run.resumed", **told))
        return await _as_stored(rows, run)


async def _was_brought_back(job: JobContext) -> bool:
    """Return whether the job had ended, and somebody had it run again."""
    if job.attempt == 1:
        return False
    history = (await job.stored()).history
    return bool(history) and history[-1].state is not JobState.RETRY


async def _playbook(rows: Rows, payload: Asked) -> Playbook:
    """Return the playbook, which can be run.

    Raises:
        Fail: it can't.
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


def _told_steps(playbook: Playbook) -> dict[str, Any]:
    """Return the steps as an event keeps them: a run goes through these, whatever is edited meanwhile."""
    return {"steps": [{"name": s.name, "task": s.task, "input": dict(s.input)} for s in playbook.steps]}


async def _as_stored(rows: Rows, run: PlaybookRun) -> _Playing:
    events = await rows.run_events(run.id)
    told = [event.data for event in events if "steps" in event.data]
    failures = Counter(event.step for event in events if event.kind == "step.failed")
    return _Playing(await rows.run(run.id) or run, tuple(Step(**one) for one in told[-1]["steps"]), failures)


async def _play(playing: _Playing, step: Step, job: JobContext) -> _Playing:
    """Run a step as a child, and keep what it returned.

    Raises:
        Wait: the child has not ended.
        Fail: it can't be run, or did not succeed; the run has failed.
    """
    async with _rows(job) as rows:
        await rows.put_run_event(_event(playing.run, "step.started", step, task=step.task))
    try:
        # A step that failed is done by a new child; one that was cancelled along comes back with the run.
        payload = fill(step.input, playing.known())
        key = f"{step.name}/{playing.failures[step.name]}"
        child = await job.child(step.task, payload, key=key, meta={**job.meta, DEPTH: _depth(job) + 1})
    except (BadReference, JobConflictError, UsageError) as error:
        raise await _failed(playing, step, job, str(error)) from error
    outcome = await job.outcome(child)
    if outcome.state is not JobState.COMPLETED:
        raise await _failed(playing, step, job, _why(outcome))
    async with _rows(job) as rows:
        await rows.put_output(playing.run.id, step.name, outcome.output)
        await rows.put_run_event(_event(playing.run, "step.completed", step, jobId=str(outcome.id)))
        run = await rows.run(playing.run.id)
    return replace(playing, run=run or playing.run)


async def _failed(playing: _Playing, step: Step, job: JobContext, said: str) -> Fail:
    """Write down that the run failed at a step; returns what to raise."""
    why = said[:MESSAGE_CHARACTERS]
    reason = f"Step {step.name!r} ({step.task}) failed: {why}"
    async with _rows(job) as rows:
        await rows.put_run_event(_event(playing.run, "step.failed", step, error=why))
        if await rows.end_run(playing.run.id, RunStatus.FAILED, reason):
            await rows.put_run_event(_event(playing.run, "run.failed", step, error=why))
    job.logger.warning("playbook run failed", runId=str(playing.run.id), step=step.name, error=why)
    return Fail(_again(reason))


def _again(reason: str | None) -> str:
    return f"{reason}. Retry the job to go on with this step"


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
    """Open a transaction in which the job stays this attempt's, for what another one writes would count."""
    async with job.transaction() as transaction:
        await transaction.hold(job.id, job.attempt)
        yield context_of(job).repository.within(transaction)
