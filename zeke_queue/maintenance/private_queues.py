"""Private queues: their jobs are run by one process alone, and by all once this process has ended.

A command sends its jobs to private queues (``Catalog.private``), so that no worker runs them with other
settings. Its worker is registered before it sends, so the private queues of a living process are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from zeke_queue.core.names import owner_of, task_of
from zeke_queue.errors import StorageError
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.storage.inspect import Inspector
from zeke_queue.storage.maintenance import MaintenanceStore
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

_LIVING: Final = (JobStatus.QUEUED, JobStatus.EXECUTING)
_AT_ONCE: Final = 1000


class PrivateStore(MaintenanceStore, Inspector, Protocol):
    """The storage whose jobs are moved."""

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel jobs; see ``JobStore``."""
        ...


async def release(storage: PrivateStore, queues: Collection[str] | None = None) -> int:
    """Move the jobs of private queues to the queues of their tasks; return how many.

    If another job has the singleton key of a job that has not ended, it does the same work, so the latter is
    cancelled. Errors of the storage are logged: the next call moves what is left.

    Args:
        storage: has the jobs.
        queues: private queues that are no longer served; by default those of processes that have ended.
    """
    try:
        return await _release(storage, await _left(storage) if queues is None else queues)
    except StorageError as error:
        get_logger().warning("private_queues_left", error=str(error))
        return 0


async def _release(storage: PrivateStore, queues: Collection[str]) -> int:
    targets = {queue: task_of(queue) for queue in queues}
    if not targets:
        return 0
    moved = await storage.move_jobs(targets)
    query = JobQuery(names=tuple(targets), status=_LIVING, limit=_AT_ONCE)
    if left := (await storage.find(query)).jobs:
        await storage.cancel([job.id for job in left])
        moved += await storage.move_jobs(targets)
    return moved


async def _left(storage: PrivateStore) -> set[str]:
    """Return the private queues with jobs whose process has ended."""
    private = {stats.name for stats in await storage.queue_stats() if task_of(stats.name) != stats.name}
    if not private:
        return private
    now = await storage.now()
    # A process need not serve all of its queues: the task of one may be paused.
    living = {
        owner_of(queue)
        for worker in await storage.workers()
        if worker.is_alive(now)
        for queue in worker.queues
    }
    return {queue for queue in private if owner_of(queue) not in living}
