"""Private queues: only one process runs their jobs; once it has ended, all workers do.

A command sends its jobs to private queues (``Catalog(private_to=…)``), so that no worker runs them with other
settings. Its worker is registered before it sends, so the private queues of a living process are known.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from zeke_queue.core.names import owner_of, task_of
from zeke_queue.errors import StorageError
from zeke_queue.storage.inspect import Inspector
from zeke_queue.storage.maintenance import MaintenanceStore
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from zeke_queue.maintenance.outage_monitor import OutageMonitor
    from zeke_queue.system.clock import Clock

CLOCKS_DIFFER: Final = timedelta(hours=1)
"""How much the clock of a process may be ahead of the database's; jobs that ended before it began stay."""

_WITH_TIME: Final = 7
"""The version of UUIDs that begin with a time in milliseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PrivateStore(MaintenanceStore, Inspector, Protocol):
    """The storage whose jobs are moved."""

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel jobs; see ``JobStore``."""
        ...


async def leave(storage: PrivateStore, queues: Collection[str]) -> None:
    """Release the private queues of this process, which ends; maintenance releases them if this fails."""
    try:
        await release(storage, queues)
    except StorageError as error:
        get_logger().warning("private_queues_left", error=str(error))


async def release(storage: PrivateStore, queues: Collection[str]) -> int:
    """Move the jobs of private queues to the queues of their tasks; return how many.

    A job that has not ended is cancelled if another job there has its singleton key, since that one does the
    same work.
    """
    targets = {queue: task_of(queue) for queue in queues}
    if not targets:
        return 0
    since = min(_began(queue) for queue in queues) - CLOCKS_DIFFER
    moved, kept = await storage.move_jobs(targets, since)
    if kept:
        await storage.cancel(kept)
        moved += (await storage.move_jobs(targets, since)).moved
    return moved


async def release_abandoned(storage: PrivateStore, clock: Clock, monitor: OutageMonitor | None = None) -> int:
    """Release the private queues of processes that have ended; return how many jobs were moved.

    Args:
        storage: has the jobs.
        clock: measures how long the searches take.
        monitor: the time without an outage, within which a living process has renewed its lease; None if it
            does not matter.
    """
    began, uptime = clock.monotonic(), None if monitor is None else monitor.uptime()
    private = await storage.private_queues()
    if not private:
        return 0
    workers, now = await storage.workers(), await storage.now()
    if monitor is not None and clock.monotonic() - began > monitor.gap:
        return 0  # the outage may have been during these calls
    # A process need not serve all of its queues: the task of one may be paused.
    living = {
        owner_of(queue)
        for worker in workers
        if worker.is_alive(now) or (uptime is not None and worker.lease >= uptime)
        for queue in worker.queues
    }
    return await release(storage, [queue for queue in private if owner_of(queue) not in living])


def _began(queue: str) -> datetime:
    """Return when the process of a private queue began, by its id if that has a time."""
    owner = owner_of(queue)
    return _EPOCH + timedelta(milliseconds=owner.int >> 80 if owner and owner.version == _WITH_TIME else 0)
