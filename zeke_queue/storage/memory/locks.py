"""Locks of open transactions: one per job, per hold and per schedule; there is no global lock.

In Postgres an insert that conflicts with an uncommitted row waits until that transaction ends, and so does a
statement that changes a row which another transaction has changed. This module does the same, for
``LOCK_SECONDS`` at most; only a statement in an application's transaction waits longer. Statements that only
read never wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from zeke_queue.core.timeouts import LOCK_SECONDS
from zeke_queue.errors import LockTimeoutError, StorageUnavailableError
from zeke_queue.storage.memory.uniqueness import Hold
from zeke_queue.system.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zeke_queue.system.clock import Clock

Lock = UUID | Hold | str
"""A job, the right that a uniqueness rule gives to one job only, a schedule by name, or ``queue_lock``."""


def queue_lock(name: str) -> str:
    """Return the lock of a queue's row; no schedule has such a name."""
    return f"queue\0{name}"


class Owner:
    """A transaction, as the owner of locks.

    Attributes:
        lock_seconds: how long it waits for a lock at most; None for as long as the other transaction lasts.
        ended: whether it has committed or rolled back.
        waiting: statements that wait for its end.
    """

    def __init__(self, lock_seconds: float | None = None) -> None:
        self.lock_seconds = lock_seconds
        self.ended = False
        self.waiting: dict[Waiter, None] = {}
        self.waits_for: Owner | None = None
        self.locks: dict[Lock, None] = {}


class Locks:
    """All locks held by open transactions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
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
        owner.ended = True
        for waiter in owner.waiting:
            waiter.notify()

    async def clear(self, wanted: Callable[[], Iterable[Lock]], owner: Owner | None = None) -> None:
        """Wait until no other owner holds any of the wanted locks.

        Args:
            wanted: called again after each wait, since the rows to lock may have changed.
            owner: the transaction that wants them; None for a single statement, which holds no locks
                meanwhile.

        Raises:
            LockTimeoutError: another transaction kept one of them for too long.
            StorageUnavailableError: a deadlock: the other transaction waits for this one.
        """
        began = self._clock.monotonic()
        while (other := self._other(wanted(), owner)) is not None:
            ahead: Owner | None = other
            while owner is not None and ahead is not None:
                if ahead is owner:
                    raise StorageUnavailableError(
                        "The transaction met a conflict; roll it back and repeat it: deadlock detected"
                    )
                ahead = ahead.waits_for
            await self._wait(other, owner, began)

    async def _wait(self, other: Owner, owner: Owner | None, began: float) -> None:
        """Wait for the end of another transaction."""
        waiter = Waiter()
        other.waiting[waiter] = None
        if owner is not None:
            owner.waits_for = other
        try:
            limit = LOCK_SECONDS if owner is None else owner.lock_seconds
            if limit is None:
                await waiter.wait()
                return
            left = began + limit - self._clock.monotonic()
            if not await waiter.wait_for(left, self._clock):
                raise LockTimeoutError.of(f"it was not unlocked within {limit:g} s")
        finally:
            del other.waiting[waiter]
            if owner is not None:
                owner.waits_for = None

    def _other(self, wanted: Iterable[Lock], owner: Owner | None) -> Owner | None:
        for lock in wanted:
            other = self._owners.get(lock)
            if other is not None and other is not owner:
                return other
        return None
