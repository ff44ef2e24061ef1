"""Clocks of a simulated world: one per node, which may be wrong, and the database's, which may jump."""

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
"""Minimum sleep in seconds; a shorter one would be rounded away, and time would not advance."""


class VirtualClock:
    """A ``zeke_queue.system.clock.Clock`` on a virtual loop.

    Args:
        loop: the loop whose time it shows.
        epoch: the wall clock's time, aware, at the loop's time 0.

    Attributes:
        offset: seconds by which the wall clock is ahead of the true time.
        rate: the speed of the monotonic clock; 1.01 is one percent fast.
        suspended: seconds by which the monotonic clock is behind, before the rate is applied.
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
        """Return the monotonic clock's seconds."""
        return (self._loop.time() - self.suspended) * self.rate

    async def sleep(self, seconds: float) -> None:
        """Sleep in virtual time; zero or less only yields."""
        await self.wait(self._loop.create_future(), seconds)

    async def wait(self, waiter: asyncio.Future[None], seconds: float) -> None:
        """Wait for a future, and set it after ``seconds`` at the latest; zero or less only yields."""
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
