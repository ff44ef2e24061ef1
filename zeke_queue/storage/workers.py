"""The protocol of worker processes: heartbeats, and waits for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.model import WorkerInfo


class HeartbeatStore(Protocol):
    """Sends heartbeats without the storage's other calls, on the event loop that uses it first."""

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Record that a worker is alive; see ``WorkerStore``."""
        ...

    async def close(self) -> None:
        """Close what it opened."""
        ...


class WorkerStore(Protocol):
    """The registered workers."""

    def heartbeat_connection(self) -> HeartbeatStore | None:
        """Return a connection for heartbeats alone, which another thread may use.

        None if there is none: where all calls belong to one event loop, or pass through one function.
        """
        ...

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Record that a worker is alive (the first heartbeat registers it); delete those dead for over a day.

        Returns:
            The attempt of each active job that the storage holds for this worker, so that the worker finds
            jobs that it lost, and jobs it was given without receiving the answer.
        """
        ...

    async def deregister(self, worker: UUID) -> None:
        """Deregister a worker that has settled or released everything.

        Jobs it still holds are overdue at once.
        """
        ...

    async def set_idle(self, worker: UUID, queues: Sequence[str] | None) -> None:
        """Record that the worker is about to sleep on these queues, or (None) that it is awake."""
        ...

    async def wait_for_jobs(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until one of the queues may have work, at most ``timeout`` seconds; return whether it may."""
        ...
