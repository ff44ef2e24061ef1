"""Who sleeps until a queue has work, and who watches a job.

Wake-ups are edges: one that nobody waits for is lost, as a notification is, and polling is the net.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from zeke_queue.clock import wait

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from zeke_queue.clock import Clock

K = TypeVar("K")
V = TypeVar("V")


class Bell:
    """Wakes one waiter, once for any number of rings since it last woke."""

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
        """Return True once it has rung since the last call, False after ``timeout`` seconds."""
        if not self._rung and timeout > 0:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await wait(self._clock, self._waiter, timeout)
            finally:
                self._waiter = None
        rung, self._rung = self._rung, False
        return rung


class Bells:
    """The bells of everyone who sleeps, by queue, and of everyone who watches, by job.

    A sleeper's bell rings once, and who rings it takes it down: the sleeper may be gone, as in a simulation
    whose processes die.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sleepers: dict[str, dict[Bell, tuple[str, ...]]] = {}
        self._watchers: dict[UUID, dict[Bell, None]] = {}

    @property
    def anyone(self) -> bool:
        """Tell whether there is anybody to be told anything."""
        return bool(self._sleepers or self._watchers)

    def queue(self, name: str) -> None:
        """Wake those who sleep on a queue."""
        for bell, names in self._sleepers.pop(name, {}).items():
            for other in names:
                _take_down(self._sleepers, other, bell)
            bell.ring()

    def job(self, job_id: UUID) -> None:
        """Tell those who watch a job."""
        for bell in self._watchers.get(job_id, ()):
            bell.ring()

    async def sleep(self, queues: Iterable[str], timeout: float) -> bool:
        """Sleep until one of the queues rings, at most ``timeout`` seconds."""
        bell = Bell(self._clock)
        names = tuple(queues)
        for name in names:
            _hang(self._sleepers, name, bell, names)
        try:
            return await bell.wait(timeout)
        finally:
            for name in names:
                _take_down(self._sleepers, name, bell)

    def watch(self, job_id: UUID) -> Bell:
        """Hang a bell that rings at each change of a job."""
        bell = Bell(self._clock)
        _hang(self._watchers, job_id, bell, None)
        return bell

    def unwatch(self, job_id: UUID, bell: Bell) -> None:
        """Take down a watcher's bell."""
        _take_down(self._watchers, job_id, bell)


def _hang(bells: dict[K, dict[Bell, V]], key: K, bell: Bell, value: V) -> None:
    bells.setdefault(key, {})[bell] = value


def _take_down(bells: dict[K, dict[Bell, V]], key: K, bell: Bell) -> None:
    hung = bells.get(key, {})
    hung.pop(bell, None)
    if not hung:
        bells.pop(key, None)
