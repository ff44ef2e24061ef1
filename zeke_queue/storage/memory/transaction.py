"""An open transaction in memory: its rows are invisible until it commits, and a rollback undoes everything.

It locks every row that it changed and what each row holds or held (a singleton key, a slot). Statements that
need one of these wait for its end, and claims and sweeps skip its rows. Transactions without common rows
never wait for each other: there is no global lock.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from zeke_queue.errors import UsageError
from zeke_queue.storage.memory.locks import Owner
from zeke_queue.storage.memory.unit_of_work import Pending
from zeke_queue.storage.memory.verbs import MemoryVerbs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime

    from zeke_queue.storage.memory.locks import Locks
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.storage.memory.unit_of_work import Direct
    from zeke_queue.system.clock import Clock


class MemoryTransaction(MemoryVerbs):
    """``storage.store.Transaction`` in memory; one task at a time may use it."""

    connection: None = None

    def __init__(self, tables: Tables, locks: Locks, clock: Clock) -> None:
        self._owner = Owner()
        self._pending = Pending(tables, locks, self._owner)
        self._applied: list[Callable[[], None]] = []
        self._undone: list[Callable[[], None]] = []
        super().__init__(tables, self._pending, locks, clock)

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Call ``apply`` in the step that commits, after the rows; in the order of registration."""
        self._applied.append(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if the transaction rolls back; the last one registered is called first."""
        self._undone.append(undo)

    def _begin(self) -> datetime:
        if self._owner.ended.is_set():
            raise UsageError("The transaction has ended; open another one")
        return super()._begin()

    def commit(self, direct: Direct) -> None:
        """Make the changes visible."""
        self._pending.apply(direct)
        self._locks.release(self._owner)
        for apply in self._applied:
            apply()

    def rollback(self, direct: Direct) -> None:
        """Discard the changes."""
        self._locks.release(self._owner)
        self._pending.discard(direct)
        for undo in reversed(self._undone):
            undo()


@asynccontextmanager
async def transaction(
    tables: Tables, direct: Direct, locks: Locks, clock: Clock
) -> AsyncGenerator[MemoryTransaction]:
    """Open a transaction that commits at the end of the block, or rolls back if the block raises."""
    opened = MemoryTransaction(tables, locks, clock)
    try:
        yield opened
    except BaseException:
        opened.rollback(direct)
        raise
    opened.commit(direct)
