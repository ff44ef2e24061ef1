"""Storage backends of tests: in memory here, a real Postgres in ``bridge``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from zeke_queue.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from zeke_queue.storage import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.task.catalog import Catalog


class Backend(Protocol):
    """Provides a test with a storage.

    Attributes:
        dsn: the connection string of the database, once it is open; None in memory.
    """

    dsn: str | None

    def open(self, clock: Clock, catalog: Catalog) -> AbstractContextManager[Storage]:
        """Open an empty storage that uses this clock."""
        ...

    def next_due(self) -> datetime | None:
        """Return the next future time at which a job or a schedule's tick becomes due, or None."""
        ...

    def notify(self) -> None:
        """Wake workers that wait for work, since a job may have become due by the passing of time."""
        ...


class Memory:
    """A backend that keeps jobs in memory."""

    dsn: str | None = None

    @contextmanager
    def open(self, clock: Clock, catalog: Catalog) -> Generator[Storage]:
        """Create a memory storage."""
        self._clock = clock
        self._store = store = MemoryStorage(clock)
        self._names = tuple(catalog.served)
        yield store

    def next_due(self) -> datetime | None:
        """Return the next future time at which a job or a tick becomes due, or None."""
        now, store = self._clock.now(), self._store
        ticks = [plan.schedule.next_tick for plan in store.tables.plans.values() if not plan.schedule.paused]
        times = [store.next_due(self._names), *ticks]
        return min((time for time in times if time is not None and time > now), default=None)

    def notify(self) -> None:
        """Wake the worker if a job is due."""
        due = self._store.next_due(self._names)
        if due is not None and due <= self._clock.now():
            for name in self._names:
                self._store.notifier.queue(name)
