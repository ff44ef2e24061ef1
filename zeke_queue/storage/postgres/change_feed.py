"""Watches of many jobs: a row per watched job, which statements that change the job read.

The rows of a watch are written, renewed and deleted by one statement each, however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.notifier import NotifiedFeed

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from zeke_queue.storage.postgres.connection_pool import ConnectionPool
    from zeke_queue.storage.postgres.listener import Listener
    from zeke_queue.system.clock import Clock

RENEW_SECONDS: Final = 20.0
"""Seconds between renewals of the rows; a row expires a minute after its renewal."""


class PostgresChangeFeed(NotifiedFeed):
    """``storage.inspect.ChangeFeed`` on Postgres, for one waiting task.

    Args:
        pool: writes the rows.
        listener: receives notifications.
        clock: times renewals and waits.
        identity: the owner of the rows.
    """

    def __init__(self, pool: ConnectionPool, listener: Listener, clock: Clock, identity: UUID) -> None:
        super().__init__(listener.notifier, clock)
        self._pool = pool
        self._listener = listener
        self._clock = clock
        self._identity = identity
        self._renew_at: float | None = None

    async def add(self, ids: Collection[UUID]) -> None:
        """Watch these jobs too; do nothing once the feed is closed."""
        await super().add(ids)
        if self._listener.enabled and ids and not self._ended:
            await self._register(ids)
            if self._renew_at is None:
                self._renew_at = self._clock.monotonic() + RENEW_SECONDS

    async def discard(self, ids: Collection[UUID]) -> None:
        """Stop watching these jobs."""
        await super().discard(ids)
        if self._listener.enabled and ids:
            await self._pool.run("unwatch", self._parameters(ids))

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the jobs that may have changed since the last call; none after ``timeout`` or sooner."""
        if self._renew_at is not None and self._clock.monotonic() >= self._renew_at:
            await self._register(self._ids)
            self._renew_at = self._clock.monotonic() + RENEW_SECONDS
        return await super().wait(min(timeout, RENEW_SECONDS))

    async def close(self) -> None:
        """Stop watching and delete the rows; if the database is unavailable, they expire after a minute."""
        self.end()
        try:
            await self.discard(list(self._ids))
        except StorageUnavailableError:
            return

    async def _register(self, ids: Collection[UUID]) -> None:
        if ids:
            await self._pool.run("watch", self._parameters(ids))

    def _parameters(self, ids: Collection[UUID]) -> dict[str, Any]:
        return {"ids": list(ids), "watcher": self._identity}
