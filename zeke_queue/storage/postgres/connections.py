"""The pool, and one connection kept at hand: a way through the pool costs more than a small statement."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from psycopg import OperationalError
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg_pool import PoolTimeout

from zeke_queue.storage.postgres.rows import Cursor
from zeke_queue.storage.postgres.waiting import WaitingConnection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from psycopg_pool import AsyncConnectionPool

KEPT_SECONDS: Final = 60.0
"""How long a connection stays out of the pool at most, which looks after the age of those it has."""


class Connection(WaitingConnection):
    """A connection with a cursor of its own.

    Attributes:
        small: a cursor for statements that answer with a row or two, since making one costs as much. It holds
            its last answer, so large ones are not for it.
        taken_at: when it left the pool, by the event loop's time.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.small = Cursor(self)
        self.taken_at = 0.0


class Connections:
    """Connections of a pool.

    One that is given back is kept for who comes next, unless somebody waits for the pool to have one.

    Args:
        pool: open already.
    """

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool
        self._lendable = asyncio.Semaphore(max(1, pool.max_size - 1))
        self._kept: Connection | None = None
        self._waiting = 0
        self._closed = False
        self._returns: set[asyncio.Future[None]] = set()

    def at_hand(self) -> Connection | None:
        """Return the connection that is kept, if there is one: the caller's until it is given back."""
        if self._kept is None or not _is_open(self._kept):
            return None
        connection, self._kept = self._kept, None
        return connection

    async def take(self) -> Connection:
        """Return a connection that is the caller's until it is given back."""
        while True:
            if self._kept is not None:
                connection, self._kept = self._kept, None
            else:
                connection = await self._from_pool()
            if _is_open(connection):
                return connection
            await self.give(connection)

    async def _from_pool(self) -> Connection:
        self._waiting += 1
        try:
            connection = await self._pool.getconn()
        finally:
            self._waiting -= 1
        connection.taken_at = asyncio.get_running_loop().time()
        return connection

    def keep(self, connection: Connection) -> bool:
        """Keep a connection that is given back at hand, if it may be; tells whether it was."""
        if (
            self._kept is None
            and not self._waiting
            and not self._closed
            and connection.pgconn.transaction_status == TransactionStatus.IDLE
            and connection.pgconn.pipeline_status == PipelineStatus.OFF
            and asyncio.get_running_loop().time() - connection.taken_at < KEPT_SECONDS
        ):
            self._kept = connection
            return True
        return False

    async def give(self, connection: Connection) -> None:
        """Give a connection back, in whatever state it is, and even if one is cancelled meanwhile."""
        if not self.keep(connection):
            if connection.pgconn.pipeline_status != PipelineStatus.OFF:
                # Who was cancelled as he entered or left a pipeline may have left it open, and the pool
                # would not see that.
                await connection.close()
            # The pool never again counts on one whose return was broken off while it waited for its own lock.
            returning = asyncio.ensure_future(self._pool.putconn(connection))
            self._returns.add(returning)
            returning.add_done_callback(self._returns.discard)
            await asyncio.shield(returning)

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Connection]:
        """Take a connection for a block."""
        connection = await self.take()
        try:
            yield connection
        finally:
            await self.give(connection)

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[Connection]:
        """Take a connection for a block of the application's, which may hold it for as long as it likes.

        All but one can be lent: were none left for heartbeats, a worker whose handlers are long in their
        transactions would lose its lease.

        Raises:
            PoolTimeout: those that can be are lent out, and none came back in time.
        """
        try:
            async with asyncio.timeout(self._pool.timeout):
                await self._lendable.acquire()
        except TimeoutError:
            raise PoolTimeout(
                f"{self._pool.max_size} at most, and all that transactions may hold are in use"
            ) from None
        try:
            async with self.one() as connection:
                yield connection
        finally:
            self._lendable.release()

    async def close(self) -> None:
        """Close all connections; those that are in use, once they are given back."""
        self._closed = True
        if self._returns:
            await asyncio.wait(self._returns)
        if self._kept is not None:
            connection, self._kept = self._kept, None
            await self._pool.putconn(connection)
        await self._pool.close()


def _is_open(connection: Connection) -> bool:
    """Return whether the server has not closed a connection meanwhile, as it does when it restarts.

    That is read from the socket, and costs less than a microsecond. The first look may find what the server
    said as it went, and only the second one that it is gone.
    """
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except OperationalError:
        connection.forget_socket()
        return False
    return True
