"""A storage opened from its public parts, for tests of its connections."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple

from tests.runtime.workers.place import PATIENCE
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.connection_pool import ConnectionPool
from zeke_queue.storage.postgres.listener import Listener
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

    from zeke_queue.storage.postgres.connections import Connection, Connections
    from zeke_queue.system.clock import Clock

END_ALL: Final = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
)
"""Ends the other connections to the database."""

WAITERS: Final[LiteralString] = (
    "select count(distinct pid) from pg_locks where not granted and pid in (select pid from pg_locks"
    " where database = (select oid from pg_database where datname = current_database()))"
)
"""Counts the sessions of the database that wait for a lock: now, unlike pg_stat_activity in a transaction."""


async def until_one_waits(connection: AsyncConnection[Any]) -> None:
    """Return once a session of the database waits for a lock."""
    async with asyncio.timeout(PATIENCE):
        while await (await connection.execute(WAITERS)).fetchone() == (0,):
            pass


class Opened(NamedTuple):
    storage: PostgresStorage
    statements: ConnectionPool
    listener: Listener
    connections: Connections
    pool: AsyncConnectionPool[Connection]

    def another(self, clock: Clock) -> PostgresStorage:
        """Return a second storage on the same connections, which hears of nothing that the first one does."""
        return PostgresStorage(self.statements, self.listener, clock)


@asynccontextmanager
async def opened(
    dsn: str, *, min_size: int = 1, max_size: int = 1, listen: bool = False, clock: Clock | None = None
) -> AsyncIterator[Opened]:
    """Open a storage, and close it at the end of the block.

    Args:
        clock: the time by which marks are trusted; None is the system's.
    """
    async with ConnectionPool.open(
        dsn, schema="pgboss", min_size=min_size, max_size=max_size, prepare=True, now=None
    ) as statements:
        listener = Listener(statements.conninfo, "pgboss", SystemClock(), enabled=listen)
        storage = PostgresStorage(statements, listener, clock or SystemClock())
        connections = statements._connections
        try:
            yield Opened(storage, statements, listener, connections, connections._pool)
        finally:
            await listener.stop()
