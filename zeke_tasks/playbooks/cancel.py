"""Cancelling a run of a playbook: its job, the step that runs, and the run's own row, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_tasks.store.playbooks import RunEvent, RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.queue import Queue
    from zeke_tasks.store.repository import Repository


async def cancel_run(queue: Queue, repository: Repository, run_id: UUID) -> bool:
    """Cancel a run, with the step that it waits for.

    The job can be resumed (``Queue.resume``), and then goes on with the step at which it was cancelled. To
    cancel the job alone stops the run as well, but its row then says that it is running.

    Args:
        queue: where its job is.
        repository: where its row is.
        run_id: the run's, which is its job's too.

    Returns:
        False if it had ended already, or there is no such run.
    """
    async with queue.storage.transaction() as transaction:
        rows = repository.within(transaction)
        await transaction.cancel([run_id])
        run = await rows.lock_run(run_id)
        if run is None or not await rows.end_run(run_id, RunStatus.CANCELLED):
            return False
        await rows.put_run_event(RunEvent(run_id=run_id, round=run.resumed, kind="run.cancelled"))
        return True
