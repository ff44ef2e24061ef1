"""Cancellation of playbook runs with their current step, and the status of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.client.parts import parts_of
from zeke_queue.core.names import task_of
from zeke_queue.model import JobStatus
from zeke_tasks.store.conflicts import repeated
from zeke_tasks.store.playbooks import RunEvent, RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job
    from zeke_tasks.store.playbooks import PlaybookRun
    from zeke_tasks.store.repository import Repository, Rows

TASK: Final = "playbook-run"

_BECAME: Final = {
    JobStatus.COMPLETED: RunStatus.SUCCEEDED,
    JobStatus.CANCELLED: RunStatus.CANCELLED,
    JobStatus.FAILED: RunStatus.FAILED,
}


def status_of(run: PlaybookRun, job: Job | None) -> RunStatus:
    """Return the status of a run.

    The row has it, unless the job ended without its handler: it was cancelled, or its worker was lost for the
    last time. If the job was purged, an unfinished run has failed, since success is written to the row before
    the job completes.
    """
    if run.status not in {RunStatus.PENDING, RunStatus.RUNNING}:
        return run.status
    if job is None:
        return RunStatus.FAILED
    return _BECAME.get(job.status, run.status)


async def cancel_run(
    queue: Queue, repository: Repository, run_id: UUID, *, team_id: UUID | None = None
) -> bool:
    """Cancel a waiting or running run, with its current step.

    Its job can be resumed (``Queue.resume``), and then continues with the step at which it was cancelled.

    Args:
        queue: has its job.
        repository: has its row.
        run_id: the id of the run and of its job.
        team_id: the team that the run must belong to; None for any team.

    Returns:
        False, without any change, if the run has ended already or the team has no such run.

    Raises:
        StorageUnavailableError: the database can't be reached, or every attempt conflicted with other
            transactions.
    """
    job = await queue.get(run_id)
    if job is None or queue.catalog.get(TASK).name != task_of(job.name):
        return False
    if team_id is not None and job.data.get("teamId") != str(team_id):
        return False
    return await repeated(lambda: _cancel(queue, repository, run_id))


class _Ended(Exception):
    """The run has ended although its job has not yet; nothing is cancelled."""


async def _cancel(queue: Queue, repository: Repository, run_id: UUID) -> bool:
    try:
        async with parts_of(queue).storage.transaction() as transaction:
            rows = repository.within(transaction)
            if run_id not in await transaction.cancel([run_id]):
                return False
            run = await rows.lock_run(run_id)
            if run is not None:  # else the run has not begun
                await _end(rows, run)
            return True
    except _Ended:
        return False


async def _end(rows: Rows, run: PlaybookRun) -> None:
    """Record that a run is cancelled.

    Raises:
        _Ended: the run has ended.
    """
    if not await rows.end_run(run.id, RunStatus.CANCELLED):
        raise _Ended
    await rows.put_run_event(RunEvent(run_id=run.id, round=run.resumed, kind="run.cancelled"))
