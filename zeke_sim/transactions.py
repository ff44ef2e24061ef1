"""Transactions as the server holds them: until they commit, or it notices that their client is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.errors import StorageUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Generator

    from zeke_queue.storage.memory import MemoryStorage
    from zeke_queue.storage.memory.transaction import MemoryTransaction
    from zeke_sim.node import Node
    from zeke_sim.recorder import Recorder
    from zeke_sim.world import World


class _RolledBack(Exception):
    """Ends a transaction."""


class OpenTransaction:
    """One transaction on the server.

    Attributes:
        opened: the memory store's.
        node: who opened it.
        statement: what is waiting for a lock in it, if something is.
    """

    def __init__(self, world: World, node: Node, number: int, store: MemoryStorage) -> None:
        self._world = world
        self._number = number
        self._block = store.transaction()
        self.node = node
        self.statement: asyncio.Task[Any] | None = None
        self.opened: MemoryTransaction = step(self._block.__aenter__())

    async def commit(self) -> None:
        """Make all of it visible at once."""
        if self._world.transactions.pop(self._number, None) is None:
            raise StorageUnavailable("commit: the transaction is gone")
        await self._block.__aexit__(None, None, None)

    def roll_back(self) -> None:
        """Leave no trace."""
        if self._world.transactions.pop(self._number, None) is None:
            return
        if self.statement is not None:
            self.statement.cancel()
        error = _RolledBack()
        try:
            step(self._block.__aexit__(_RolledBack, error, None))
        except _RolledBack:
            return


def step(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing, and return what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")


class Stepper:
    """Runs a statement that may wait, and says at each of its steps whose it is."""

    def __init__(self, recorder: Recorder, call: int, do: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._recorder = recorder
        self._call = call
        self._do = do

    async def run(self) -> Any:
        """Run it to its end."""
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        recorder, coroutine = self._recorder, self._do()
        error: BaseException | None = None
        while True:
            recorder.call = self._call
            recorder.commit += 1
            try:
                waits_for = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as done:
                return done.value
            finally:
                recorder.call = None
            error = None
            try:
                yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - it is passed on to the statement
                error = thrown
