"""Locks of open transactions: one per job, per hold and per schedule; there is no global lock.

In Postgres an insert that conflicts with an uncommitted row waits until that transaction ends, and so does a
statement that changes a row which another transaction has changed. This module does the same; statements
that only read never wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.memory.uniqueness import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Lock = UUID | Hold | str
"""A job, the right that a uniqueness rule gives to one job only, or a schedule by name."""


class Owner:
    """A transaction, as the owner of locks."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.waits_for: Owner | None = None
        self.locks: dict[Lock, None] = {}


class Locks:
    """All locks held by open transactions."""

    def __init__(self) -> None:
        self._owners: dict[Lock, Owner] = {}

    @property
    def any(self) -> bool:
        """Return whether anything is locked."""
        return bool(self._owners)

    def taken(self, lock: Lock, owner: Owner | None = None) -> bool:
        """Return whether another owner holds a lock."""
        return self._owners.get(lock, owner) is not owner

    def take(self, lock: Lock, owner: Owner) -> None:
        """Take a lock that no other owner holds, until the owner ends."""
        self._owners[lock] = owner
        owner.locks[lock] = None

    def release(self, owner: Owner) -> None:
        """Release all locks of an owner, and wake the waiters."""
        for lock in owner.locks:
            del self._owners[lock]
        owner.locks.clear()
        owner.ended.set()

    async def clear(self, wanted: Callable[[], Iterable[Lock]], owner: Owner | None = None) -> None:
        """Wait until no other owner holds any of the wanted locks.

        Args:
            wanted: called again after each wait, since the rows to lock may have changed.
            owner: the transaction that wants them; None for a single statement, which holds no locks
                meanwhile.

        Raises:
            StorageUnavailableError: a deadlock: the other transaction waits for this one.
        """
        while (other := self._other(wanted(), owner)) is not None:
            if owner is None:
                await other.ended.wait()
                continue
            ahead: Owner | None = other
            while ahead is not None:
                if ahead is owner:
                    raise StorageUnavailableError(
                        "The transaction met a conflict; roll it back and repeat it: deadlock detected"
                    )
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
