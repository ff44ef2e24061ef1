"""A real Postgres under virtual time.

A virtual loop has no sockets, so the storage's methods run on a real loop in another thread, and block the
virtual loop, and with it the test, until they return. Statements receive the virtual time as an argument.
LISTEN/NOTIFY is not used: each change made through this bridge wakes the coroutines that wait on it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from psycopg import sql

from zeke_queue.storage.memory.notifier import Notifier
from zeke_queue.storage.postgres import PostgresStorage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
    from datetime import datetime

    from zeke_queue.storage.memory.notifier import MemoryChangeFeed
    from zeke_queue.storage.store import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.task.catalog import Catalog
    from zeke_sim.testing.servers import Databases

__tracebackhide__ = True  # pytest then shows the test's own lines

T = TypeVar("T")

SCHEMA: Final = "pgboss"

WORK: Final = frozenset(
    {
        "cancel",
        "declare_queues",
        "insert",
        "deregister",
        "pause_queue",
        "resume",
        "retry",
        "settle",
        "insert_child",
        "suspend",
        "resume_waiting",
    }
)
"""Storage methods after which more jobs may be claimable."""

NEWS: Final = frozenset({"claim", "append_events", "purge"})
"""Other storage methods after which a watched job may have changed."""

_DUE: Final = sql.SQL(
    "select min(startafter) from {}.job where state < 'active' and startafter > %s and name = any(%s)"
).format(sql.Identifier(SCHEMA))


class Thread:
    """A real event loop in its own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="zeke-sim-postgres", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, and block until it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Stop the loop and join the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


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
            thread = Thread()
            try:
                opened = PostgresStorage.open(dsn, schema=SCHEMA, listen=False, now=clock.now)
                storage = thread.run(opened.__aenter__())
                self._bridged = Bridged(storage, thread, clock)
                try:
                    yield cast("Storage", self._bridged)
                finally:
                    thread.run(opened.__aexit__(None, None, None))
            finally:
                thread.close()

    def next_due(self) -> datetime | None:
        """Return the next future time at which a job or a tick comes due, or None."""
        now = self._clock.now()
        if self._bridged.changed or self._next is None or self._next <= now:
            self._bridged.changed = False
            self._next = self._bridged.next_due(self._names, now)
        return self._next

    def ring(self) -> None:
        """Wake the worker."""
        self._bridged.ring()


class Bridged:
    """A proxy for a ``Storage`` on another loop, usable from any loop of this thread.

    Attributes:
        changed: whether a method was called since this was last set to False.
    """

    def __init__(self, storage: PostgresStorage, thread: Thread, clock: Clock) -> None:
        self._storage = storage
        self._thread = thread
        self._notifier = Notifier(clock)
        self._waiting: set[str] = set()
        self.changed = True

    def __getattr__(self, name: str) -> Any:
        return self._across(name, getattr(self._storage, name))

    def ring(self) -> None:
        """Wake all waiting workers and watchers."""
        for name in self._waiting:
            self._notifier.queue(name)
        self._notifier.all_jobs()

    def next_due(self, names: Sequence[str], now: datetime) -> datetime | None:
        """Return the first time after ``now`` at which a job of these queues or a tick comes due, or None."""
        return self._thread.run(self._next_due(names, now))

    async def _next_due(self, names: Sequence[str], now: datetime) -> datetime | None:
        schedules = await self._storage.schedules()
        times = [one.next_tick for one in schedules if not one.paused]
        async with self._storage.transaction() as transaction:
            cursor = await transaction.connection.execute(_DUE, [now, list(names)])
            times.append((await cursor.fetchone())[0])
        return min((time for time in times if time is not None and time > now), default=None)

    @asynccontextmanager
    async def transaction(self, connection: Any = None) -> AsyncGenerator[Any]:
        """Open a transaction, or join the caller's on the loop of its connection."""
        if connection is not None and not isinstance(connection, Across):
            async with self._storage.transaction(connection) as joined:
                yield joined
            self.changed = True
            self.ring()
            return
        given = None if connection is None else connection.across
        block = self._storage.transaction(given)
        opened = self._thread.run(block.__aenter__())
        try:
            yield Across(opened, self._thread, self)
        except BaseException as error:
            if not self._thread.run(block.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._thread.run(block.__aexit__(None, None, None))
        finally:
            self.changed = True
            self.ring()

    async def wait_for_jobs(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until a call may have made a job claimable, or until the timeout."""
        self._waiting.update(queues)
        return await self._notifier.sleep(queues, timeout)

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[MemoryChangeFeed]:
        """Watch jobs; every change is treated as one that may concern any job."""
        watch = self._notifier.watch()
        try:
            yield watch
        finally:
            watch.end()

    def _across(self, name: str, verb: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        @wraps(verb)
        async def across(*args: Any, **options: Any) -> Any:
            result = self._thread.run(verb(*args, **options))
            self.changed = True
            if name in WORK:
                self.ring()
            elif name in NEWS and result:
                self._notifier.all_jobs()
            return result

        return across


class Across:
    """A proxy for an object of the other loop, such as a connection, whose coroutines any loop can await.

    Attributes:
        across: the object itself.
    """

    def __init__(self, across: Any, thread: Thread, bridged: Bridged) -> None:
        self.across = across
        self._thread = thread
        self._bridged = bridged

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.across, name)
        if not inspect.iscoroutinefunction(attribute):
            return self._calling(attribute) if callable(attribute) else self._wrapped(attribute)

        @wraps(attribute)
        async def across(*args: Any, **options: Any) -> Any:
            return self._wrapped(self._thread.run(attribute(*args, **options)))

        return across

    async def __aenter__(self) -> Any:
        return self._wrapped(self._thread.run(self.across.__aenter__()))

    async def __aexit__(self, *error: object) -> Any:
        return self._thread.run(self.across.__aexit__(*error))

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return await _answered(self._thread, self.across)

    def _calling(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*args: Any, **options: Any) -> Any:
            return self._wrapped(plain(*args, **options))

        return calling

    def _wrapped(self, value: Any) -> Any:
        """Wrap objects that must be used on the other loop: connections, cursors, and context managers."""
        foreign = type(value).__module__.startswith("psycopg") or hasattr(value, "__aenter__")
        return Across(value, self._thread, self._bridged) if foreign else value


class _Over(Exception):
    """The iterator is exhausted."""


async def _answered(thread: Thread, rows: Any) -> Any:
    async def following() -> Any:
        try:
            return await anext(rows)
        except StopAsyncIteration:
            raise _Over from None

    try:
        return thread.run(following())
    except _Over:
        raise StopAsyncIteration from None
