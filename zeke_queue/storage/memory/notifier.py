"""Notifications for idle workers, by queue, and for watchers, by job.

Like Postgres notifications, wake-ups are lost if there is no waiter, and polling makes up for them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from zeke_queue.storage.told import Told
from zeke_queue.system.clock import wait

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from zeke_queue.system.clock import Clock

K = TypeVar("K")
B = TypeVar("B")
V = TypeVar("V")


class Bell:
    """Wakes one waiter, once for any number of notifications since its last wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout: float) -> bool:
        """Return True once notified since the last call, False after ``timeout`` seconds."""
        if not self._rung and timeout > 0:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await wait(self._clock, self._waiter, timeout)
            finally:
                self._waiter = None
        rung, self._rung = self._rung, False
        return rung


class Bells:
    """The waiters of all idle workers, by queue, and of all watchers, by job.

    A sleeper's waiter is notified once and unregistered by the notifying side, since the sleeper may be gone,
    as in a simulation whose processes die.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sleepers: dict[str, dict[Bell, tuple[str, ...]]] = {}
        self._watchers: dict[UUID, dict[Told, None]] = {}

    @property
    def anyone(self) -> bool:
        """Return whether there is any waiter."""
        return bool(self._sleepers or self._watchers)

    def queue(self, name: str) -> None:
        """Wake the workers that sleep on a queue."""
        for bell, names in self._sleepers.pop(name, {}).items():
            for other in names:
                _take_down(self._sleepers, other, bell)
            bell.ring()

    def job(self, job_id: UUID) -> None:
        """Notify the watchers of a job."""
        for told in self._watchers.get(job_id, ()):
            told.ring(job_id)

    def all_jobs(self) -> None:
        """Notify every watcher about each of its jobs."""
        for job_id in self._watchers:
            self.job(job_id)

    async def sleep(self, queues: Iterable[str], timeout: float) -> bool:
        """Sleep until one of the queues is notified, at most ``timeout`` seconds."""
        bell = Bell(self._clock)
        names = tuple(queues)
        for name in names:
            _hang(self._sleepers, name, bell, names)
        try:
            return await bell.wait(timeout)
        finally:
            for name in names:
                _take_down(self._sleepers, name, bell)

    def watch(self) -> MemoryWatch:
        """Return a watch without jobs."""
        return MemoryWatch(self, Told(self._clock))

    def hang(self, told: Told, ids: Iterable[UUID]) -> None:
        """Register a watch for changes of some jobs."""
        for job_id in ids:
            _hang(self._watchers, job_id, told, None)

    def take_down(self, told: Told, ids: Iterable[UUID]) -> None:
        """Unregister a watch."""
        for job_id in ids:
            _take_down(self._watchers, job_id, told)


class MemoryWatch:
    """``storage.store.Watch`` in memory."""

    def __init__(self, bells: Bells, told: Told) -> None:
        self._bells = bells
        self._told = told
        self._ids: dict[UUID, None] = {}
        self._ended = False

    async def add(self, ids: Collection[UUID]) -> None:
        """Watch these jobs too; do nothing once the watch has ended, as its process may be gone."""
        if not self._ended:
            self._ids.update(dict.fromkeys(ids))
            self._bells.hang(self._told, ids)

    async def discard(self, ids: Collection[UUID]) -> None:
        """Stop watching these jobs."""
        for job_id in ids:
            self._ids.pop(job_id, None)
        self._bells.take_down(self._told, ids)

    def wake(self) -> None:
        """End the current wait, or else the next one."""
        self._told.wake()

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the jobs that may have changed since the last call; none after so many seconds."""
        return await self._told.wait(timeout)

    def end(self) -> None:
        """Stop watching all jobs."""
        self._ended = True
        self._bells.take_down(self._told, self._ids)


def _hang(bells: dict[K, dict[B, V]], key: K, bell: B, value: V) -> None:
    bells.setdefault(key, {})[bell] = value


def _take_down(bells: dict[K, dict[B, V]], key: K, bell: B) -> None:
    hung = bells.get(key, {})
    hung.pop(bell, None)
    if not hung:
        bells.pop(key, None)
