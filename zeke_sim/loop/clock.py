"""Clocks of a simulated world: each node's own, which may be wrong, and the database's, which may jump."""

from __future__ import annotations

import asyncio
import types
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime

    from zeke_sim.loop.event_loop import VirtualLoop


TICK: Final = 1e-6
"""Seconds that a sleep lasts at least: a shorter one would be lost in rounding, and time would not pass."""


class VirtualClock:
    """A ``zeke_queue.system.clock.Clock`` on a virtual loop.

    Args:
        loop: whose time it shows.
        epoch: the wall clock's time, aware, at the loop's time 0.

    Attributes:
        offset: seconds that the wall clock is ahead of the true time.
        rate: how fast the monotonic clock goes; 1.01 gains a hundredth.
        suspended: seconds that the monotonic clock is behind, before its rate counts.
    """

    __slots__ = ("_epoch", "_loop", "offset", "rate", "suspended")

    def __init__(self, loop: VirtualLoop, epoch: datetime) -> None:
        self._loop = loop
        self._epoch = epoch
        self.offset = 0.0
        self.rate = 1.0
        self.suspended = 0.0

    def set_rate(self, rate: float) -> None:
        """Set the rate of the monotonic clock from now on, without going back."""
        shown = self.monotonic()
        self.rate = rate
        self.suspended = self._loop.time() - shown / rate

    def now(self) -> datetime:
        """Return the wall clock's time."""
        return self._epoch + timedelta(seconds=self._loop.time() + self.offset)

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return (self._loop.time() - self.suspended) * self.rate

    async def sleep(self, seconds: float) -> None:
        """Sleep in virtual time; zero or less only yields."""
        if seconds <= 0:
            await _yield()
            return
        await self.wait(self._loop.create_future(), seconds)

    async def wait(self, waiter: asyncio.Future[None], seconds: float) -> None:
        """Wait for a future, which is done after so many seconds at the latest; zero or less only yields."""
        if seconds <= 0:
            await _yield()
            return
        loop = self._loop
        if loop.leaving:
            raise asyncio.CancelledError
        timer = loop.call_at(loop.time() + max(seconds / self.rate, TICK), _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


@types.coroutine
def _yield() -> Generator[None, Any, None]:
    yield


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
