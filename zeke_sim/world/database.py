"""The database server: open transactions, and statements that wait for locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.memory.locks import queue_lock
from zeke_sim.history.events import Place

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context
    from uuid import UUID

    from zeke_queue.storage.memory import MemoryStorage
    from zeke_queue.storage.memory.locks import Lock
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.storage.memory.transaction import MemoryTransaction
    from zeke_sim.history.recorder import Recorder
    from zeke_sim.loop.event_loop import VirtualLoop


class _RolledBack(Exception):
    """Raised inside a transaction to roll it back."""


class Server:
    """The state of the database server.

    Args:
        rolled_back: called with the number of each transaction of a process that is rolled back.

    Attributes:
        down: whether it is unavailable.
        restarts: how often it has ended all connections.
        notifies: whether it delivers notifications.
        transactions: the open transactions by number.
    """

    def __init__(
        self, store: MemoryStorage, loop: VirtualLoop, context: Context, rolled_back: Callable[[int], None]
    ) -> None:
        self.down = False
        self._store = store
        self._loop = loop
        self._context = context
        self._rolled_back = rolled_back
        self.restarts = 0
        self.notifies = True
        self._down_until = 0.0
        self._full_until = 0.0
        self._numbers = 0
        self._waiting: dict[asyncio.Task[None], None] = {}
        self.transactions: dict[int, OpenTransaction] = {}

    def open(self, owner: object, *, own: bool) -> tuple[int, OpenTransaction]:
        """Open a transaction and return its number and itself."""
        self._numbers += 1
        opened = OpenTransaction(self, owner, self._numbers, self._store, own=own)
        self.transactions[self._numbers] = opened
        return self._numbers, opened

    def go_on(self, statement: Stepper, transaction: int | None) -> asyncio.Task[None]:
        """Start a task that continues a statement when it gets its lock."""
        task = self._loop.create_task(statement.run(), context=self._context)
        if transaction is not None and (opened := self.transactions.get(transaction)) is not None:
            opened.statement = task
        self._waiting[task] = None
        task.add_done_callback(self._over, context=self._context)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._waiting.pop(task, None)

    def end(self, number: int, after: float) -> None:
        """Roll a transaction back ``after`` seconds, when the server notices that its client is gone."""
        if (opened := self.transactions.get(number)) is not None:
            self.later(max(after, opened.busy_until - self._loop.time()), self._roll_back, number)

    def end_of(self, owner: object) -> None:
        """Roll back the open transactions of a dead process."""
        for number, opened in list(self.transactions.items()):
            if opened.owner is owner:
                self.end(number, 0.0)

    def go_down(self, seconds: float) -> None:
        """Break all connections, and answer again in ``seconds``."""
        self.down = True
        self.restart()
        self._down_until = max(self._down_until, self._loop.time() + seconds)
        self.later(seconds, self._come_up)

    def _come_up(self) -> None:
        if self._loop.time() >= self._down_until:
            self.down = False

    def fill_notifications(self, seconds: float) -> None:
        """Deliver no notification for a number of seconds."""
        self.notifies = False
        self._full_until = max(self._full_until, self._loop.time() + seconds)
        self.later(seconds, self._empty_notifications)

    def _empty_notifications(self) -> None:
        if self._loop.time() >= self._full_until:
            self.notifies = True

    def lock(self, which: float, seconds: float, *, shared: bool) -> UUID | str | Place | None:
        """Lock a row for a number of seconds, as another program's session does.

        Args:
            which: its place among the candidates, from 0 to 1: jobs that run, or else those that wait, or
                else those that have ended.
            shared: lock what several jobs need instead, if there is any: the row of a queue with a limit, or
                a key that no job has now, as an uncommitted send of another program does.

        Returns:
            The job, the queue's name, or the key; None if there is none, or it is locked.
        """
        rows = _lockable(self._store.tables, shared=shared)
        if not rows:
            return None
        lock, row = rows[min(int(which * len(rows)), len(rows) - 1)]
        number, opened = self.open(self, own=False)
        if opened.opened.lock(lock):
            self.later(seconds, self._roll_back, number)
            return row
        opened.roll_back()
        return None

    def heal(self) -> None:
        """End all faults."""
        self.down, self.notifies = False, True
        self.end_of(self)

    def restart(self) -> None:
        """Roll back all open transactions and drop all waiting statements."""
        self.restarts += 1
        for task in list(self._waiting):
            task.cancel()
        for number in list(self.transactions):
            self._roll_back(number)

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Schedule a callback of the server."""
        self._loop.call_at(self._loop.time() + seconds, callback, *args, context=self._context)

    def _roll_back(self, number: int) -> None:
        opened = self.transactions.get(number)
        if opened is not None:
            opened.roll_back()

    def forget(self, number: int, opened: OpenTransaction) -> bool:
        """Remove a transaction that is rolled back, and record that; return False if it has ended."""
        if self.transactions.pop(number, None) is None:
            return False
        if opened.owner is not self:
            self._rolled_back(number)
        return True


class OpenTransaction:
    """The server's side of an open transaction.

    Attributes:
        statement: the statement that waits for a lock, if any.
        idle_timeout: seconds without a statement after which the server rolls it back; None for no limit.
        busy_until: when the server has finished a statement whose client has left.
    """

    def __init__(
        self, server: Server, owner: object, number: int, store: MemoryStorage, *, own: bool
    ) -> None:
        self._server = server
        self._number = number
        self._steps = 0
        self.idle_timeout: float | None = None
        self.busy_until = 0.0
        self._block = store.transaction(own=own)
        self.owner = owner
        self.statement: asyncio.Task[Any] | None = None
        self.opened: MemoryTransaction = step(self._block.__aenter__())

    def statement_begins(self) -> None:
        """Record that the transaction is not idle."""
        self._steps += 1

    def statement_ends(self) -> None:
        """Roll the transaction back after ``idle_timeout`` seconds without another statement."""
        self._steps += 1
        if self.idle_timeout is not None:
            self._server.later(self.idle_timeout, self._expire, self._steps)

    def _expire(self, steps: int) -> None:
        if steps == self._steps:
            self.roll_back()

    async def commit(self) -> None:
        """Commit all changes at once."""
        if self._server.transactions.pop(self._number, None) is None:
            raise StorageUnavailableError("commit: the transaction is gone")
        await self._block.__aexit__(None, None, None)

    def roll_back(self) -> None:
        """Undo all changes."""
        if not self._server.forget(self._number, self):
            return
        if self.statement is not None:
            self.statement.cancel()
        error = _RolledBack()
        try:
            step(self._block.__aexit__(_RolledBack, error, None))
        except _RolledBack:
            return


def _lockable(tables: Tables, *, shared: bool) -> list[tuple[Lock, UUID | str | Place]]:
    """Return the locks of which another program may take one, and what each is on."""
    rows: list[tuple[Lock, UUID | str | Place]] = []
    if shared:
        limited = [name for name, one in tables.queues.items() if one.concurrency_limit is not None]
        holds = dict.fromkeys(row.hold for row in tables.jobs.values() if row.hold and row.hold.slot is None)
        rows += [(queue_lock(name), name) for name in limited]
        rows += [(hold, Place(hold.name, None, hold.key)) for hold in holds if hold not in tables.held]
    if not rows:
        waiting = [row.id for row in tables.jobs.values() if row.waits]
        rows += [(job, job) for job in tables.active or waiting or tables.jobs]
    return rows


def step(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")


class Stepper:
    """Runs a statement that may wait, and attributes each of its steps to its call.

    Attributes:
        ended: whether the statement has ended, with a ``result`` or an ``error``.
    """

    __slots__ = ("_call", "_coroutine", "_recorder", "_waits_for", "ended", "error", "result")

    def __init__(self, recorder: Recorder, call: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._recorder = recorder
        self._call = call
        self._coroutine = coroutine
        self._waits_for: Any = None
        self.ended = False
        self.error: BaseException | None = None
        self.result: Any = None

    def begin(self) -> None:
        """Run the first step, in which most statements end."""
        self._step(None)

    async def run(self) -> None:
        """Run the remaining steps of a statement that waits."""
        await self

    def close(self) -> None:
        """Drop a statement that was not continued."""
        self._coroutine.close()

    def _step(self, thrown: BaseException | None) -> None:
        recorder, coroutine = self._recorder, self._coroutine
        recorder.call = self._call
        recorder.commit += 1
        try:
            self._waits_for = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
        except StopIteration as done:
            self.ended, self.result = True, done.value
        except Exception as error:  # noqa: BLE001 - stored for the caller
            self.ended, self.error = True, error
        finally:
            recorder.call = None

    def __await__(self) -> Generator[Any, Any, None]:
        while not self.ended:
            thrown: BaseException | None = None
            try:
                yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - passed on to the statement
                thrown = error
            self._step(thrown)
