"""A table of the simulated application, in the same database as its jobs.

Rows that a transaction of the queue writes become visible to others when it commits, in the same step as its
jobs; a rollback discards them. A transaction that locks a row waits until the one that holds it has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.memory.locks import Locks, Owner
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_queue.task.senders import Transaction

V = TypeVar("V")


class Table(Generic[V]):
    """Rows by key.

    Args:
        changed: called with each committed row, in the step of the commit.

    Attributes:
        rows: the committed rows.
    """

    def __init__(self, changed: Callable[[str, V], None]) -> None:
        self.rows: dict[str, V] = {}
        self._changed = changed
        self._locks = Locks(SystemClock())

    def within(self, transaction: Transaction) -> Rows[V]:
        """Return the table's view in an open transaction; call it once per transaction."""
        rows = Rows(self, self._locks)
        transaction.on_commit(rows.commit)
        transaction.on_rollback(rows.end)
        return rows

    def commit(self, key: str, value: V) -> None:
        """Commit a row, visible to all transactions."""
        self.rows[key] = value
        self._changed(key, value)


class Rows(Generic[V]):
    """A transaction's view of a table."""

    def __init__(self, table: Table[V], locks: Locks) -> None:
        self._table = table
        self._locks = locks
        self._owner = Owner()
        self._written: dict[str, V] = {}

    async def lock(self, key: str) -> V | None:
        """Lock a row until the transaction ends, and return it; None if there is no such row.

        Raises:
            StorageUnavailableError: the server has ended the transaction.
        """
        await self._locks.clear(lambda: (key,), self._owner)
        if self._owner.ended:
            raise StorageUnavailableError(f"{key}: the transaction is gone")
        self._locks.take(key, self._owner)
        return self._written[key] if key in self._written else self._table.rows.get(key)

    def put(self, key: str, value: V) -> None:
        """Write a locked row."""
        self._written[key] = value

    def commit(self) -> None:
        """Make the rows visible to others."""
        for key, value in self._written.items():
            self._table.commit(key, value)
        self.end()

    def end(self) -> None:
        """Release the rows."""
        self._locks.release(self._owner)
