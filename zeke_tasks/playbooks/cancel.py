"""Cancelling a run of a playbook, with the step that runs; and how a run stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import FINAL, JobState
from zeke_tasks.store.playbooks import RunEvent, RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job
    from zeke_tasks.store.playbooks import PlaybookRun
    from zeke_tasks.store.repository import Repository, Rows

TASK: Final = "playbook-run"
TRIES: Final = 3

_BECAME: Final = {
    JobState.COMPLETED: RunStatus.SUCCEEDED,
    JobState.CANCELLED: RunStatus.CANCELLED,
    JobState.FAILED: RunStatus.FAILED,
    JobState.EXPIRED: RunStatus.FAILED,
}


def status_of(run: PlaybookRun, job: Job | None) -> RunStatus:
    """Return how a run stands.

    Its row says so, unless its job ended without its handler: it was cancelled as a job, or its worker was
    lost for good. Where not even the job is there any more, for it was purged, the run has failed: of one
    that succeeds, the row says so before the job does.
    """
    if run.status not in {RunStatus.PENDING, RunStatus.RUNNING}:
        return run.status
    if job is None:
        return RunStatus.FAILED
    return _BECAME[job.state] if job.state in FINAL else run.status


async def cancel_run(
    queue: Queue, repository: Repository, run_id: UUID, *, team_id: UUID | None = None
) -> bool:
    """Cancel a run that waits or runs, with the step that it waits for.

    Its job can be resumed (``Queue.resume``), and then goes on with the step at which it was cancelled.

    Args:
        queue: where its job is.
        repository: where its row is.
        run_id: the run's, which is its job's too.
        team_id: whose run it has to be; None for anybody's.

    Returns:
        False, and nothing is changed, if it had ended already, or there is no such run of the team.

    Raises:
        StorageUnavailableError: the database can't be reached, or others were in the way each time.
    """
    job = await queue.get(run_id)
    if job is None or queue.catalog.get(TASK).name != job.name:
        return False
    if team_id is not None and job.data.get("teamId") != str(team_id):
        return False
    for _ in range(TRIES - 1):
        try:
            return await _cancel(queue, repository, run_id)
        except StorageUnavailableError:
            continue  # it was undone for the sake of another transaction
    return await _cancel(queue, repository, run_id)


class _Ended(Exception):
    """The run has ended though its job has not yet; it is left alone."""


async def _cancel(queue: Queue, repository: Repository, run_id: UUID) -> bool:
    try:
        async with queue.storage.transaction() as transaction:
            rows = repository.within(transaction)
            if run_id not in await transaction.cancel([run_id]):
                return False
            run = await rows.lock_run(run_id)
            if run is not None:  # else it has not begun
                await _end(rows, run)
            return True
    except _Ended:
        return False


async def _end(rows: Rows, run: PlaybookRun) -> None:
    """Write down that a run is cancelled.

    Raises:
        _Ended: it has ended.
    """
    if not await rows.end_run(run.id, RunStatus.CANCELLED):
        raise _Ended
    await rows.put_run_event(RunEvent(run_id=run.id, round=run.resumed, kind="run.cancelled"))
