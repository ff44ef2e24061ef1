"""Statements on the server: a pool of identically configured connections, and the handling of failed tries.

A single statement is its own transaction, in one round trip. Several in one transaction are sent as a
pipeline, also in one round trip. A transaction that the server rolled back because of another (deadlock,
serialization failure) is repeated, since it had no effect. So is one whose notifications do not fit into the
server's queue, without them; a statement in an open transaction sends none while the queue is nearly full.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar, cast

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import PipelineStatus
from psycopg_pool import AsyncConnectionPool

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.postgres.connections import RECONNECT_SECONDS, Connection, Connections
from zeke_queue.storage.postgres.error_mapping import (
    as_storage_error,
    is_worth_repeating,
    translated,
)
from zeke_queue.storage.postgres.notify_queue import NotifyQueue
from zeke_queue.storage.postgres.rows import Cursor
from zeke_queue.storage.postgres.session import (
    PLAN_FOR_VALUES,
    SET_LOCAL,
    find_session,
    local_parameters,
)
from zeke_queue.storage.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from datetime import datetime
    from typing import LiteralString, TypeAlias

    from zeke_queue.errors import StorageError
    from zeke_queue.storage.postgres.rows import Row
    from zeke_queue.storage.postgres.session import Session

    _Text: TypeAlias = tuple[LiteralString, dict[str, Any] | None]

T = TypeVar("T")

_TRIES: Final = 10
_CHECKOUT_SECONDS: Final = 15.0
_BEGIN: Final = "begin isolation level read committed"
_BEGIN_READ: Final = "begin isolation level repeatable read, read only"


class OpenTransaction:
    """An open transaction on one connection, which the application may use too.

    Args:
        now: the time by which statements decide; None for the server's.
        repeatable: whether a caller repeats the transaction and recognises a deadlock by the driver's error.
    """

    in_transaction: ClassVar[bool] = True
    """Whether more statements may follow before the commit."""

    def __init__(
        self, connection: object, schema: str, now: Callable[[], datetime] | None, *, repeatable: bool = True
    ) -> None:
        self.connection: Any = connection
        self.schema = schema
        self._now = now
        self._repeatable = repeatable

    async def run(
        self, name: str, parameters: dict[str, Any] | None = None, *, limit: int | None = None
    ) -> list[Row]:
        """Run a statement of this package and return its rows."""
        text = statement(name, self.schema, limit, "unless full")
        values = with_now(parameters, self._now)
        try:
            return await self._execute(text, values)
        except (psycopg.Error, OSError) as error:
            mine = as_storage_error(error) if self._repeatable else _as_final(error)
            if mine is None:
                raise
            raise mine from error

    async def run_small(self, name: str, parameters: dict[str, Any]) -> Row | None:
        """Run a statement of this package that returns at most one row."""
        found = await self.run(name, parameters)
        return found[0] if found else None

    async def run_all(self, *statements: Statement) -> list[list[Row]]:
        """Run statements of this package one after the other and return the rows of each."""
        return [await self.run(one.name, one.parameters, limit=one.limit) for one in statements]

    @asynccontextmanager
    async def atomic(self) -> AsyncGenerator[OpenTransaction]:
        """Open a savepoint."""
        with translated():
            # Nested savepoints may share a name: the innermost one is used.
            await self._execute("savepoint zeke")
            try:
                yield self
            except Exception:
                if not self.connection.closed:
                    await self._execute("rollback to savepoint zeke")
                    await self._execute("release savepoint zeke")
                raise
            await self._execute("release savepoint zeke")

    async def _execute(self, text: LiteralString, values: dict[str, Any] | None = None) -> list[Row]:
        cursor = Cursor(self.connection)
        # Planned each time: a kept plan needs the settings of this package's own connections. Binary results
        # do not depend on the application's DateStyle.
        if self.connection.info.pipeline_status == PipelineStatus.OFF:
            await cursor.execute(text, values, prepare=False, binary=True)
        else:
            # The application's pipeline would return results at a time of its choice.
            async with self.connection.pipeline() as pipeline:
                await cursor.execute(text, values, prepare=False, binary=True)
                await pipeline.sync()
        return await cursor.fetchall() if cursor.description else []


class Statement(NamedTuple):
    """A statement of a pipeline."""

    name: str
    parameters: dict[str, Any]
    limit: int | None = None


class ConnectionPool:
    """The storage's connections, on which it runs statements as transactions of their own."""

    in_transaction: ClassVar[bool] = False

    def __init__(
        self,
        connections: Connections,
        session: Session,
        schema: str,
        now: Callable[[], datetime] | None,
    ) -> None:
        self._connections = connections
        self.now = now
        self.session = session
        self.conninfo = session.conninfo
        self.schema = schema
        self._notify = NotifyQueue()
        # What a transaction sets: one of this package alone, and one that the application uses too.
        self._ours = None if session.kept else local_parameters(session.ours)
        self._elsewhere = local_parameters(session.elsewhere) if session.elsewhere else None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        *,
        schema: str,
        min_size: int,
        max_size: int,
        prepare: bool,
        now: Callable[[], datetime] | None,
    ) -> AsyncGenerator[ConnectionPool]:
        """Connect once, so that the server reports errors at once, and then open the pool."""
        session = await find_session(dsn, keep=prepare)

        async def configure(connection: Connection) -> None:
            connection.prepare_threshold = 0 if session.prepares else None
            await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)

        driver_pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            session.conninfo,
            connection_class=Connection,
            min_size=min_size,
            max_size=max_size,
            timeout=_CHECKOUT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            kwargs={"autocommit": True},
            configure=configure,
            open=False,
            name="zeke",
        )
        with translated():
            await driver_pool.open()
        pool = cls(Connections(driver_pool, session.timeout), session, schema, now)
        try:
            yield pool
        finally:
            await pool.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def run(
        self, name: str, parameters: dict[str, Any] | None = None, *, limit: int | None = None
    ) -> list[Row]:
        """Run one statement as its own transaction."""
        if self._ours is not None:
            return (await self.run_all(Statement(name, parameters or {}, limit)))[0]
        values = with_now(parameters, self.now)

        async def once() -> list[Row]:
            text = statement(name, self.schema, limit, self._notify.mode)
            connection = await self._connections.take()
            try:
                cursor = Cursor(connection)
                await cursor.execute(text, values)
                return await cursor.fetchall() if cursor.description else []
            finally:
                await self._connections.give(connection)

        return await self._repeated(once)

    async def run_small(self, name: str, parameters: dict[str, Any]) -> Row | None:
        """Run a statement that returns at most one row, at the least cost, as its own transaction."""
        if self._ours is not None:
            (found,) = await self.run_all(Statement(name, parameters))
            return found[0] if found else None
        parameters["now"] = None if self.now is None else self.now()

        async def once() -> Row | None:
            text = statement(name, self.schema, None, self._notify.mode)
            # The spare connection needs no coroutine.
            connection = self._connections.at_hand() or await self._connections.take()
            try:
                await connection.small.execute(text, parameters)
                return await connection.small.fetchone()
            finally:
                if not self._connections.keep(connection):
                    await self._connections.give(connection)

        return await self._repeated(once)

    async def run_all(
        self, *statements: Statement, plain: bool = False, seconds: float | None = None
    ) -> list[list[Row]]:
        """Run statements in one transaction and one round trip.

        Args:
            statements: those of the transaction, none of which needs another's result.
            plain: read from one snapshot, and plan for the actual values, for reads with varying filters.
            seconds: for each statement, at most; None for the session's limit.

        Returns:
            The rows of each statement.
        """
        opening: list[_Text] = [(_BEGIN_READ if plain else _BEGIN, None)]
        if self._ours is not None:
            opening.append((SET_LOCAL, self._ours))
        if plain:
            opening.extend((text, None) for text in PLAN_FOR_VALUES)
        if seconds is not None:
            limit = f"set local statement_timeout = {max(1, round(seconds * 1000))}"
            opening.append((cast("LiteralString", limit), None))
        parameters = [with_now(one.parameters, self.now) for one in statements]

        async def once() -> list[list[Row]]:
            mode = self._notify.mode
            wanted: list[LiteralString] = [
                statement(one.name, self.schema, one.limit, mode) for one in statements
            ]
            texts: list[_Text] = [*opening, *zip(wanted, parameters, strict=True), ("commit", None)]
            async with self._connections.one() as connection:
                cursors = [Cursor(connection) for _ in texts]
                try:
                    async with connection.pipeline():
                        for cursor, (text, values) in zip(cursors, texts, strict=True):
                            await cursor.execute(text, values, prepare=None if values else False)
                except (psycopg.Error, asyncio.CancelledError):
                    if not connection.closed:
                        await connection.rollback()
                    raise
                return [
                    await c.fetchall() if c.description else [] for c in cursors[-1 - len(statements) : -1]
                ]

        return await self._repeated(once)

    async def atomically(self, work: Callable[[OpenTransaction], Awaitable[T]]) -> T:
        """Run a function in a transaction, and repeat it as a whole if the server rolls it back."""

        async def once() -> T:
            async with self.atomic() as opened:
                return await work(opened)

        return await self._repeated(once)

    @asynccontextmanager
    async def atomic(self) -> AsyncGenerator[OpenTransaction]:
        """Open a transaction for statements of this package."""
        with translated():
            async with self._connections.one() as connection, connection.transaction():
                if self._ours is not None:
                    await connection.execute(SET_LOCAL, self._ours)
                yield OpenTransaction(connection, self.schema, self.now)

    @asynccontextmanager
    async def open_to_all(self, *, own: bool = False) -> AsyncGenerator[OpenTransaction]:
        """Open a transaction that the application can use too, with the server's default settings.

        Errors raised in the block belong to the application, and propagate unchanged.

        Args:
            own: only this package uses it, so it keeps the settings of this package.
        """
        raised: BaseException | None = None
        connections = self._connections.one() if own else self._connections.lent()
        settings = self._ours if own else self._elsewhere
        try:
            async with connections as connection, connection.transaction():
                if settings is not None:
                    await connection.execute(SET_LOCAL, settings, prepare=False)
                try:
                    yield OpenTransaction(connection, self.schema, self.now, repeatable=False)
                except BaseException as error:
                    raised = error
                    raise
        except Exception as error:
            self._notify.is_full(error)
            if error is raised or (mine := _as_final(error)) is None:
                raise
            raise mine from error

    async def _repeated(self, once: Callable[[], Awaitable[T]]) -> T:
        with translated():
            for _ in range(_TRIES - 1):
                try:
                    return await once()
                except psycopg.OperationalError as error:
                    if not (is_worth_repeating(error) or self._notify.is_full(error)):
                        raise
            try:
                return await once()
            except psycopg.OperationalError as error:
                if is_worth_repeating(error):
                    raise StorageUnavailableError(
                        f"The transaction met conflicts {_TRIES} times; repeat it later: {_first_line(error)}"
                    ) from error
                raise


def with_now(parameters: dict[str, Any] | None, now: Callable[[], datetime] | None) -> dict[str, Any]:
    """Add the time by which a statement decides; None for the server's."""
    return {**(parameters or {}), "now": None if now is None else now()}


def _as_final(error: Exception) -> StorageError | None:
    """Return the storage error for callers that do not repeat the transaction."""
    if is_worth_repeating(error):
        return StorageUnavailableError(
            f"The transaction was rolled back because of a conflict; repeat it: {_first_line(error)}"
        )
    return as_storage_error(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
