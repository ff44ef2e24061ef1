"""A real Postgres under virtual time.

A virtual loop has no sockets, so the storage's methods run on a real loop in another thread, and block the
virtual loop, and with it the test, until they return. Statements receive the virtual time as an argument.
LISTEN/NOTIFY is not used: each change made through this bridge wakes the coroutines that wait on it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from zeke_queue.storage.forwarding import forward
from zeke_queue.storage.notifier import Notifier
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.loop_thread import LoopThread
from zeke_sim.testing.other_loop import Across

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from datetime import datetime

    from zeke_queue.storage import Storage
    from zeke_queue.storage.forwarding import Call
    from zeke_queue.system.clock import Clock
    from zeke_queue.task.catalog import Catalog
    from zeke_sim.testing.servers import Databases

__tracebackhide__ = True  # pytest then shows the test's own lines

SCHEMA: Final = "pgboss"

WORK: Final = frozenset({"cancel", "declare", "deregister", "insert", "insert_child", "pause_queue"}) | {
    *("resume", "resume_waiting", "retry", "settle", "settle_unlocked", "suspend", "commit", "rollback"),
    "move_jobs",
}
"""Storage methods after which more jobs may be claimable."""

BLOCK: Final = frozenset({"begin", "commit", "rollback"})
FEED: Final = frozenset({"add", "discard", "wait"})
CHANGES: Final = frozenset({"claim", "append_events", "purge", "delete_jobs"})
"""Other storage methods after which a watched job may have changed."""

_DUE: Final = sql.SQL(
    "select min(startafter) from {}.job where state < 'active' and startafter > %s and name = any(%s)"
).format(sql.Identifier(SCHEMA))


class Postgres:
    """A backend that keeps jobs in a Postgres database of the test's own.

    Args:
        databases: the factory of the database.

    Attributes:
        dsn: the database's connection string, once it is open.
    """

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self.dsn: str | None = None

    @contextmanager
    def open(self, clock: Clock, catalog: Catalog) -> Generator[Storage]:
        """Create a database and connect to it."""
        self._clock = clock
        self._names = list(catalog.served)
        self._next: datetime | None = None
        with self._databases.database() as dsn:
            self.dsn = dsn
            opened = PostgresStorage.open(dsn, schema=SCHEMA, listen=False, now=clock.now)
            thread = LoopThread("zeke-sim-postgres", opened)
            try:
                self._bridge = Bridge(thread.value, thread, clock)
                yield self._bridge.storage
            finally:
                thread.close()

    def next_due(self) -> datetime | None:
        """Return the next future time at which a job or a tick becomes due, or None."""
        now = self._clock.now()
        if self._bridge.changed or self._next is None or self._next <= now:
            self._bridge.changed = False
            self._next = self._bridge.next_due(self._names, now)
        return self._next

    def notify(self) -> None:
        """Wake the worker."""
        self._bridge.notify()


class Bridge:
    """Runs the calls of a storage on another loop, for any loop of this thread.

    Attributes:
        storage: the storage that is called.
        changed: whether a call was made since this was last set to False.
    """

    def __init__(self, real: PostgresStorage, thread: LoopThread[PostgresStorage], clock: Clock) -> None:
        self._real = real
        self._thread = thread
        self._notifier = Notifier(clock)
        self._joined: set[int | None] = set()
        self.changed = True
        self.storage = forward(real, self._invoke, rewrite={"begin": self._unwrapped})

    def notify(self) -> None:
        """Wake all waiting workers and watchers."""
        self._notifier.all_queues()
        self._notifier.all_jobs()

    def next_due(self, names: Sequence[str], now: datetime) -> datetime | None:
        """Return the first time after ``now`` when a job of these queues or a tick becomes due, or None."""
        return self._thread.run(self._next_due(names, now))

    async def _next_due(self, names: Sequence[str], now: datetime) -> datetime | None:
        schedules = await self._real.schedules()
        times = [one.next_tick for one in schedules if not one.paused]
        async with self._real.transaction() as transaction:
            cursor = await transaction.connection.execute(_DUE, [now, list(names)])
            times.append((await cursor.fetchone())[0])
        return min((time for time in times if time is not None and time > now), default=None)

    def _unwrapped(self, call: Call) -> Call:
        """Unwrap a connection of the other loop; one of the caller's loop is joined there."""
        connection = call.arguments["connection"]
        if isinstance(connection, Across):
            return call._replace(arguments={**call.arguments, "connection": connection.across})
        if connection is not None:
            self._joined.add(call.transaction)
        return call

    async def _invoke(self, call: Call, do: Callable[[], Any]) -> Any:
        verb = call.verb
        if verb == "subscribe":  # every change is treated as one that may concern any job
            return self._notifier.watch()
        if verb == "unsubscribe":
            return call.arguments["opened"].end()
        if verb == "wait_for_jobs":
            return await self._notifier.sleep(**call.arguments)
        if verb in FEED or (call.transaction is not None and verb not in BLOCK):
            return await do()  # of this loop, or of an ``Across``
        result = await do() if call.transaction in self._joined else self._thread.run(do())
        if verb == "begin":
            return result if call.transaction in self._joined else Across(result, self._thread)
        self.changed = True
        if verb in WORK:
            self.notify()
        elif verb in CHANGES and result:
            self._notifier.all_jobs()
        return result
