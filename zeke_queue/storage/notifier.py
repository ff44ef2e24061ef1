"""Notifications for idle workers, by queue, and for watchers, by job.

A wake-up is lost if there is no waiter, as a notification of Postgres is, and polling makes up for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from zeke_queue.system.waiting import ChangeBuffer, Waiter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from zeke_queue.system.clock import Clock

K = TypeVar("K")
W = TypeVar("W")
V = TypeVar("V")


class Notifier:
    """The waiters of all idle workers, by queue, and of all watchers, by job.

    A sleeper's waiter is notified once and unregistered by the notifying side, since the sleeper may be gone,
    as in a simulation whose processes die.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sleepers: dict[str, dict[Waiter, tuple[str, ...]]] = {}
        self._watchers: dict[UUID, dict[ChangeBuffer, None]] = {}

    @property
    def has_waiters(self) -> bool:
        """Return whether there is any waiter."""
        return bool(self._sleepers or self._watchers)

    def queue(self, name: str) -> None:
        """Wake the workers that sleep on a queue."""
        for waiter, names in self._sleepers.pop(name, {}).items():
            for other in names:
                drop(self._sleepers, other, waiter)
            waiter.notify()

    def job(self, job_id: UUID) -> None:
        """Notify the watchers of a job."""
        for changes in self._watchers.get(job_id, ()):
            changes.add(job_id)

    def all_queues(self) -> None:
        """Wake every sleeping worker."""
        for name in list(self._sleepers):
            self.queue(name)

    def all_jobs(self) -> None:
        """Notify every watcher about each of its jobs."""
        for job_id in self._watchers:
            self.job(job_id)

    async def sleep(self, queues: Iterable[str], timeout: float) -> bool:
        """Sleep until one of the queues is notified, at most ``timeout`` seconds."""
        waiter = Waiter()
        names = tuple(queues)
        for name in names:
            _register(self._sleepers, name, waiter, names)
        try:
            return await waiter.wait_for(timeout, self._clock)
        finally:
            for name in names:
                drop(self._sleepers, name, waiter)

    def watch(self) -> NotifiedFeed:
        """Return a feed without jobs."""
        return NotifiedFeed(self, self._clock)

    def register(self, changes: ChangeBuffer, ids: Iterable[UUID]) -> None:
        """Register a watch for changes of some jobs."""
        for job_id in ids:
            _register(self._watchers, job_id, changes, None)

    def unregister(self, changes: ChangeBuffer, ids: Iterable[UUID]) -> None:
        """Unregister a watch."""
        for job_id in ids:
            drop(self._watchers, job_id, changes)


class NotifiedFeed:
    """``storage.inspect.ChangeFeed`` that a notifier serves."""

    def __init__(self, notifier: Notifier, clock: Clock) -> None:
        self._notifier = notifier
        self._changes = ChangeBuffer(clock)
        self._ids: dict[UUID, None] = {}
        self._ended = False

    async def add(self, ids: Collection[UUID]) -> None:
        """Watch these jobs too; do nothing once the feed has ended, as its process may be gone."""
        if not self._ended:
            self._ids.update(dict.fromkeys(ids))
            self._notifier.register(self._changes, ids)

    async def discard(self, ids: Collection[UUID]) -> None:
        """Stop watching these jobs."""
        for job_id in ids:
            self._ids.pop(job_id, None)
        self._notifier.unregister(self._changes, ids)

    def wake(self) -> None:
        """End the current wait, or else the next one."""
        self._changes.wake()

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the jobs that may have changed since the last call; none after ``timeout`` seconds."""
        return await self._changes.wait(timeout)

    def end(self) -> None:
        """Stop watching all jobs."""
        self._ended = True
        self._notifier.unregister(self._changes, self._ids)


def _register(waiters: dict[K, dict[W, V]], key: K, waiter: W, value: V) -> None:
    waiters.setdefault(key, {})[waiter] = value


def drop(waiters: dict[K, dict[W, V]], key: K, waiter: W) -> None:
    """Drop an entry of a key, and the key with its last one."""
    registered = waiters.get(key, {})
    registered.pop(waiter, None)
    if not registered:
        waiters.pop(key, None)
