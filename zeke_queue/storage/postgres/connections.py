"""The pool and one spare connection, since the pool's own overhead exceeds that of a small statement."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from psycopg import Error, OperationalError
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg_pool import PoolTimeout

from zeke_queue.storage.postgres.rows import Cursor
from zeke_queue.storage.postgres.waiting import WaitingConnection
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from psycopg_pool import AsyncConnectionPool

KEPT_SECONDS: Final = 60.0
"""Seconds that a connection may stay out of the pool, which manages the age of its connections."""

_RESET: Final = "reset all; reset role"
CHECKS: Final = 8
"""Checks for unanswered statements per answer timeout, which a statement may so exceed by an eighth."""

RECONNECT_SECONDS: Final = 2.0
"""Seconds for which the pool tries to replace a lost connection, and after which a waiting caller asks again.

The pool doubles its pauses between tries, to minutes in a long outage; a new request restarts them.
"""


class Connection(WaitingConnection):
    """A connection with its own cursor.

    Attributes:
        small: a cursor for statements that return a row or two, since creating one costs as much. It keeps
            its last result, so do not use it for large ones.
        taken_at: when the connection left the pool, by the event loop's time.
        lent: whether the application has it, whose statements may take any time.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.small = Cursor(self)
        self.taken_at = 0.0
        self.lent = False


class Connections:
    """The connections of a pool.

    A returned connection is kept for the next caller, unless a caller waits for the pool. Callers are served
    in the order in which they came: at most as many as there are connections request one from the pool.

    Args:
        pool: an open pool.
        answer_timeout: seconds that a statement of this package waits for its answer at most.
    """

    def __init__(self, pool: AsyncConnectionPool[Connection], answer_timeout: float) -> None:
        self._pool = pool
        self.answer_timeout = answer_timeout
        self._taken: set[Connection] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._lendable = asyncio.Semaphore(max(1, pool.max_size - 1))
        self._places = asyncio.Semaphore(pool.max_size)
        self._kept: Connection | None = None
        self._waiting = 0
        self._closed = False
        self._returns: set[asyncio.Future[None]] = set()

    def at_hand(self) -> Connection | None:
        """Return the spare connection, if any; it belongs to the caller until returned."""
        if self._kept is None or not _is_open(self._kept):
            return None
        connection, self._kept = self._kept, None
        return connection

    async def take(self) -> Connection:
        """Return a connection, which belongs to the caller until returned."""
        while True:
            if self._kept is not None:
                connection, self._kept = self._kept, None
            else:
                connection = await self._from_pool()
            if _is_open(connection):
                return connection
            await self.give(connection)

    async def _from_pool(self) -> Connection:
        """Take a connection of the pool when it is this caller's turn."""
        until = asyncio.get_running_loop().time() + self._pool.timeout
        self._waiting += 1
        try:
            async with asyncio.timeout_at(until):
                await self._places.acquire()
            try:
                connection = await self._asked(until)
            except BaseException:
                self._places.release()
                raise
        except TimeoutError:
            raise PoolTimeout(f"all {self._pool.max_size} are in use") from None
        finally:
            self._waiting -= 1
        connection.taken_at = asyncio.get_running_loop().time()
        self._taken.add(connection)
        if self._watch is None:
            self._watch_on()
        return connection

    def end_waits(self, now: float) -> None:
        """Close the connections on which a statement has had no answer for too long.

        The server limits statements, but not if it hangs, nor a commit that waits for a standby. One timer
        checks all connections, since one for each statement would cost as much as sending it.
        """
        for connection in self._taken:
            if not connection.lent and connection.is_silent(now - self.answer_timeout):
                get_logger().warning(
                    "statement_unanswered",
                    seconds=round(now - connection.asked_at),
                    serverProcess=connection.info.backend_pid,
                    consequence="its connection is closed, and the call fails as in an outage",
                )
                connection.cut()

    def _watch_on(self) -> None:
        if self.answer_timeout < math.inf:
            loop = asyncio.get_running_loop()
            self.end_waits(loop.time())
            self._watch = loop.call_later(self.answer_timeout / CHECKS, self._watch_on)

    async def _asked(self, until: float) -> Connection:
        """Request a connection repeatedly, since an empty pool connects only on request."""
        time = asyncio.get_running_loop().time
        while True:
            try:
                return await self._pool.getconn(min(RECONNECT_SECONDS, max(0.0, until - time())))
            except PoolTimeout:
                if time() >= until:
                    waited = f"couldn't get a connection after {self._pool.timeout:g} s"
                    raise PoolTimeout(waited) from None

    def keep(self, connection: Connection) -> bool:
        """Keep a returned connection as the spare one, if allowed; return whether it was kept."""
        if (
            self._kept is None
            and not connection.lent
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
        """Return a connection, in any state, even if the caller is cancelled meanwhile."""
        if not self.keep(connection):
            if connection.pgconn.pipeline_status != PipelineStatus.OFF:
                # A caller cancelled on entering or leaving a pipeline may have left it open, which the pool
                # would not notice.
                await connection.close()
            # Shielded: cancelling putconn while it waits for its lock would lose the connection.
            returning = asyncio.ensure_future(self._put_back(connection))
            self._returns.add(returning)
            returning.add_done_callback(partial(self._returned, connection))
            await asyncio.shield(returning)

    async def _put_back(self, connection: Connection) -> None:
        if connection.lent:
            connection.lent = False
            if connection.pgconn.transaction_status == TransactionStatus.IDLE:
                # The application may have set what our statements rely on, for the session.
                with suppress(Error):
                    await connection.execute(_RESET, prepare=False)
        await self._pool.putconn(connection)

    def _returned(self, connection: Connection, returning: asyncio.Future[None]) -> None:
        self._taken.discard(connection)
        self._returns.discard(returning)
        self._places.release()

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
        """Take a connection for a block of the application, which may hold it for any time.

        One connection is never lent: otherwise a worker whose handlers hold long transactions could neither
        claim nor settle.

        Raises:
            PoolTimeout: all connections that may be lent are in use, and none was returned in time.
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
                connection.lent = True
                yield connection
        finally:
            self._lendable.release()

    async def close(self) -> None:
        """Close all connections; those in use are closed when returned."""
        self._closed = True
        if self._returns:
            await asyncio.wait(self._returns)
        if self._kept is not None:
            connection, self._kept = self._kept, None
            await self._pool.putconn(connection)
        await self._pool.close()
        if self._watch is not None:
            self._watch.cancel()


def _is_open(connection: Connection) -> bool:
    """Return whether a connection is still open on the server's side; a server closes it when it restarts.

    This reads from the socket, which takes less than a microsecond. The first read may find the server's last
    message, and only the second one the end.
    """
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except OperationalError:
        connection.forget_socket()
        return False
    return True
