"""Two waiting primitives: a waiter for one coroutine, and a timer for the earliest of many deadlines."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_queue.system.clock import Clock


class Bell:
    """Wakes the one coroutine that waits for it; if notified before, the next wait returns at once."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def hush(self) -> None:
        """Clear a pending notification."""
        self._rung = False

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for a notification, or return at once if there was one since the last wait."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._rung = False


class Alarm:
    """Fires at the earliest of many deadlines, with a single sleeping task.

    A timer per job would cost more than many jobs do. Jobs with the same time limit have deadlines in order,
    so the sleeping task is rarely replaced.

    Args:
        clock: the clock of the deadlines, which also sleeps.
        goes_off: called with the time; returns the next deadline, or None.
    """

    def __init__(self, clock: Clock, goes_off: Callable[[float], float | None]) -> None:
        self._clock = clock
        self._goes_off = goes_off
        self._at = math.inf
        self._sleeper: asyncio.Task[None] | None = None

    def set(self, at: float) -> None:
        """Fire at this time, or earlier if an earlier time was set."""
        if at < self._at:
            self.cancel()
            self._at = at
            self._sleeper = asyncio.ensure_future(self._sleep())

    def cancel(self) -> None:
        """Cancel the timer."""
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._sleeper, self._at = None, math.inf

    async def _sleep(self) -> None:
        while self._at < math.inf:
            await self._clock.sleep(self._at - self._clock.monotonic())
            again = self._goes_off(self._clock.monotonic())
            self._at = math.inf if again is None else again
        self._sleeper = None
