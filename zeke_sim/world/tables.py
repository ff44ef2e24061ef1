"""A table of the simulated application's own, in the database that keeps its jobs.

What a transaction of the queue writes into it is seen by others once that commits, in the same step as its
jobs; a rollback leaves nothing. Who wants to write a row that an open transaction has written waits for its
end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.memory.locks import Locks, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_queue.client.transaction import QueueTransaction

V = TypeVar("V")


class Table(Generic[V]):
    """Rows by key.

    Args:
        changed: is told of each row that is committed, in the step of the commit.

    Attributes:
        rows: what is committed.
    """

    def __init__(self, changed: Callable[[str, V], None]) -> None:
        self.rows: dict[str, V] = {}
        self._changed = changed
        self._locks = Locks()

    def within(self, transaction: QueueTransaction) -> Rows[V]:
        """Return the table as part of an open transaction; to be asked for once in each."""
        rows = Rows(self, self._locks)
        transaction.on_commit(rows.commit)
        transaction.on_rollback(rows.end)
        return rows

    def commit(self, key: str, value: V) -> None:
        """Put a row where everybody sees it."""
        self.rows[key] = value
        self._changed(key, value)


class Rows(Generic[V]):
    """A table as one transaction sees it."""

    def __init__(self, table: Table[V], locks: Locks) -> None:
        self._table = table
        self._locks = locks
        self._owner = Owner()
        self._written: dict[str, V] = {}

    async def lock(self, key: str) -> V | None:
        """Return a row, which nobody else may write until this transaction ends; None if there is none.

        Raises:
            StorageUnavailableError: the transaction has ended, behind its owner's back.
        """
        await self._locks.clear(lambda: (key,), self._owner)
        if self._owner.ended.is_set():
            raise StorageUnavailableError(f"{key}: the transaction is gone")
        self._locks.take(key, self._owner)
        return self._written[key] if key in self._written else self._table.rows.get(key)

    def put(self, key: str, value: V) -> None:
        """Write a row that is locked."""
        self._written[key] = value

    def commit(self) -> None:
        """Make the rows visible to others."""
        for key, value in self._written.items():
            self._table.commit(key, value)
        self.end()

    def end(self) -> None:
        """Release the rows."""
        self._locks.release(self._owner)
