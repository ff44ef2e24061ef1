"""Storage: the protocols, and the implementations in ``memory`` and ``postgres``; ``embedded`` runs a server.

``jobs`` has the life of jobs, ``workers`` the heartbeats, ``maintenance`` the batches of maintenance,
``inspect`` the reads, ``admin`` queues and schedules, ``access`` keys and rate limits. A component names the
protocol that it needs; ``Storage`` is all of them. ``forwarding`` passes every call through one function, and
``notifier`` wakes idle workers and watchers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zeke_queue.storage.admin import QueueAdmin
from zeke_queue.storage.inspect import Inspector
from zeke_queue.storage.jobs import JobStore
from zeke_queue.storage.maintenance import MaintenanceStore
from zeke_queue.storage.workers import WorkerStore

if TYPE_CHECKING:
    from zeke_queue.storage.access import Access


class Storage(JobStore, WorkerStore, MaintenanceStore, Inspector, QueueAdmin, Protocol):
    """All that a ``Queue`` is opened on.

    Attributes:
        access: keys, sessions and rate limits, on the same connections.
    """

    @property
    def access(self) -> Access:
        """Keys, sessions and rate limits."""
        ...

    async def close(self) -> None:
        """Return the connections; the storage can't be used afterwards."""
        ...


__all__ = ["Storage"]
