"""The memory store, and the combined methods of one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.storage.memory.locks import Locks
from zeke_tasks.store.memory.analysis import MemoryAnalysis
from zeke_tasks.store.memory.budgets import MemoryBudgets
from zeke_tasks.store.memory.deletion import MemoryDeletions
from zeke_tasks.store.memory.highlights import MemoryHighlights
from zeke_tasks.store.memory.items import MemoryItems
from zeke_tasks.store.memory.playbooks import MemoryPlaybooks
from zeke_tasks.store.memory.sources import MemorySources
from zeke_tasks.store.memory.stories import MemoryStories
from zeke_tasks.store.memory.tables import Tables
from zeke_tasks.store.memory.teams import MemoryTeams

if TYPE_CHECKING:
    from zeke_queue.system.clock import Clock
    from zeke_tasks.store.repository import OpenTransaction


class MemoryRows(
    MemorySources,
    MemoryItems,
    MemoryStories,
    MemoryAnalysis,
    MemoryBudgets,
    MemoryHighlights,
    MemoryTeams,
    MemoryPlaybooks,
    MemoryDeletions,
):
    """The methods on one transaction's layers, documented in ``Rows``."""


class MemoryRepository:
    """The store; its rows last as long as the object."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tables: Final = Tables()
        self._locks = Locks(clock)
        # The transaction is kept in the value, so that its id() is not reused while the entry exists.
        self._open: dict[int, tuple[OpenTransaction, MemoryRows]] = {}

    def within(self, transaction: OpenTransaction) -> MemoryRows:
        """Return the methods within a transaction; the same object for each call with that transaction."""
        key = id(transaction)
        if key not in self._open:
            rows = MemoryRows(self._tables, self._locks, self._clock)

            def commit() -> None:
                del self._open[key]
                rows.commit()

            def roll_back() -> None:
                del self._open[key]
                rows.roll_back()

            transaction.on_commit(commit)
            transaction.on_rollback(roll_back)
            self._open[key] = transaction, rows
        return self._open[key][1]
