"""Who has what locked, and waiting for it: one lock a job, a hold and a schedule, and none over everything.

In Postgres an insert that conflicts with an uncommitted row waits until that transaction ends, and so does a
statement that wants to change a row which another transaction has changed. Here too; what merely looks is
never kept waiting.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from zeke_queue.errors import StorageError
from zeke_queue.storage.memory.uniqueness import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Lock = UUID | Hold | str
"""A job, what a uniqueness rule lets one job have, or a schedule by name."""


class Owner:
    """A transaction as the locks see it."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.waits_for: Owner | None = None
        self.locks: dict[Lock, None] = {}


class Locks:
    """Every lock that an open transaction holds."""

    def __init__(self) -> None:
        self._owners: dict[Lock, Owner] = {}

    @property
    def any(self) -> bool:
        """Return whether anything is locked."""
        return bool(self._owners)

    def taken(self, lock: Lock, owner: Owner | None = None) -> bool:
        """Return whether somebody else holds a lock."""
        return self._owners.get(lock, owner) is not owner

    def take(self, lock: Lock, owner: Owner) -> None:
        """Hold a lock that nobody else holds, until the owner ends."""
        self._owners[lock] = owner
        owner.locks[lock] = None

    def release(self, owner: Owner) -> None:
        """Give back everything, and let those who wait look again."""
        for lock in owner.locks:
            del self._owners[lock]
        owner.locks.clear()
        owner.ended.set()

    async def clear(self, wanted: Callable[[], Iterable[Lock]], owner: Owner | None = None) -> None:
        """Wait until nobody else holds any of the wanted locks.

        Args:
            wanted: asked again after each wait, since what is there to lock may have changed.
            owner: the transaction that wants them; None for a statement of its own, which holds nothing
                meanwhile.

        Raises:
            StorageError: waiting would never end, because the other transaction waits for this one.
        """
        while (other := self._other(wanted(), owner)) is not None:
            if owner is None:
                await other.ended.wait()
                continue
            ahead: Owner | None = other
            while ahead is not None:
                if ahead is owner:
                    raise StorageError("Deadlock: two transactions wait for each other; try again")
                ahead = ahead.waits_for
            owner.waits_for = other
            try:
                await other.ended.wait()
            finally:
                owner.waits_for = None

    def _other(self, wanted: Iterable[Lock], owner: Owner | None) -> Owner | None:
        for lock in wanted:
            other = self._owners.get(lock)
            if other is not None and other is not owner:
                return other
        return None
