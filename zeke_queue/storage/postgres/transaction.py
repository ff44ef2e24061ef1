"""An open transaction: one of the storage's own, or a joined one of the caller."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from zeke_queue.core.leases import UPTIME_MAX
from zeke_queue.core.timeouts import TICK_LOCK_SECONDS
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import UsageError
from zeke_queue.model import ExpiredJob
from zeke_queue.storage.maintenance import PGBOSS_SILENCE
from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.connection_pool import OpenTransaction
from zeke_queue.storage.postgres.sqlalchemy_connection import is_alchemy, join_async
from zeke_queue.storage.postgres.verbs import PostgresVerbs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import Schedule
    from zeke_queue.storage.postgres.connection_pool import Connection, ConnectionPool


class PostgresTransaction(PostgresVerbs):
    """``storage.jobs.Transaction`` on Postgres; one task at a time may use it.

    ``lock_attempt`` may be called beside it: psycopg queues the statements of one connection. During a COPY
    it waits for its end.

    There is no signal for the end of a joined transaction, since the caller ends it. There, ``on_commit`` and
    ``on_rollback`` act at the end of the block, so end the block right before the commit.

    Attributes:
        connection: psycopg's connection, for the application's own statements; SQLAlchemy's in a joined
            transaction of SQLAlchemy.
    """

    def __init__(self, opened: OpenTransaction) -> None:
        super().__init__(opened)
        self.connection: Any = opened.connection
        self._applied: list[Callable[[], None]] = []
        self._undone: list[Callable[[], None]] = []
        self._usual_wait: str | None = None

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Call ``apply`` once the transaction has committed, in the order of registration."""
        self._applied.append(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if the transaction rolls back; the last one registered is called first."""
        self._undone.append(undo)

    async def lock_expired(self, limit: int, uptime: float = math.inf) -> list[ExpiredJob]:
        """Find active jobs past their deadline or held by a dead worker, and lock them."""
        parameters = {"uptime": rows.microseconds(min(uptime, UPTIME_MAX))}
        found = await self._runner.run("lock_expired", parameters, limit=check_limit(limit))
        return [ExpiredJob._make(row) for row in found]

    async def lock_due_schedules(
        self, limit: int, *, only: str | None = None, without: Sequence[str] = ()
    ) -> tuple[datetime, list[Schedule]]:
        """Lock schedules whose next tick is due or unknown."""
        parameters = {"limit": check_limit(limit), "silence": PGBOSS_SILENCE, "single": only}
        found = await self._runner.run("lock_due_schedules", parameters | {"without": list(without)})
        usual = await self._limit_waits(TICK_LOCK_SECONDS)
        self._usual_wait = self._usual_wait or usual
        now = found[0][-1] if found else (await self._runner.run("now"))[0][0]
        return now, [rows.schedule(row[:-1]) for row in found]

    async def record_tick(self, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
        """Record the last decided occurrence, and the next one."""
        await self._runner.run("record_tick", {"name": name, "last_tick": last_tick, "next_tick": next_tick})

    async def lock_attempt(self, job_id: UUID, attempt: int, idle_timeout: float | None = None) -> bool:
        """Lock an active job until the transaction ends."""
        return await self._lock_attempt(job_id, attempt, idle_timeout)

    async def ending(self) -> None:
        """Restore the time limit of lock waits for the commit, which waits for others' if it notifies."""
        if self._usual_wait is not None:
            await self._limit_waits(self._usual_wait)

    def committed(self) -> None:
        """Call the commit callbacks."""
        for apply in self._applied:
            apply()

    def rolled_back(self) -> None:
        """Call the rollback callbacks."""
        for undo in reversed(self._undone):
            undo()


@asynccontextmanager
async def transaction(
    pool: ConnectionPool, connection: Any, changed: Callable[[], None], *, own: bool
) -> AsyncGenerator[PostgresTransaction]:
    """Open a transaction that ends with the block, or join the caller's, which continues after it.

    Args:
        pool: where the storage's own transaction is opened.
        connection: the caller's, or None.
        own: whether only this package uses it.
        changed: called after the block, since jobs inserted earlier may become visible only now.
    """
    opened: PostgresTransaction | None = None
    try:
        if connection is None:
            async with pool.open_to_all(own=own) as inner:
                opened = PostgresTransaction(inner)
                yield opened
                await opened.ending()
        else:
            opened = PostgresTransaction(await _joined(pool, connection))
            yield opened
    except BaseException:
        if opened is not None:
            opened.rolled_back()
        raise
    changed()
    opened.committed()


async def _joined(pool: ConnectionPool, connection: Any) -> OpenTransaction:
    """Return the caller's transaction, if it can be joined."""
    if is_alchemy(connection):
        return await join_async(connection, pool.schema, pool.now)
    if not isinstance(connection, AsyncConnection):
        raise UsageError(
            "connection: must be psycopg's AsyncConnection, or SQLAlchemy's AsyncConnection or AsyncSession, "
            f"got {type(connection).__module__}.{type(connection).__qualname__}"
        )
    joinable = cast("Connection", connection)
    if joinable.autocommit and joinable.info.transaction_status == TransactionStatus.IDLE:
        raise UsageError(
            "connection: it is in autocommit mode and no transaction is open, so there is nothing to join; "
            "open one with `async with connection.transaction()`"
        )
    return OpenTransaction(joinable, pool.schema, pool.now)
