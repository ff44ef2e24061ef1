"""Time, as everything else in the package may know it: the only module that reads a clock or sleeps."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Where time comes from. The simulator has one of its own, in which time jumps."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task; zero or less only yields."""
        ...


class SystemClock:
    """The machine's clocks and the running loop's sleep."""

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


async def wait(clock: Clock, waiter: asyncio.Future[None], seconds: float) -> None:
    """Wait for a future, which is done after so many seconds whoever else does it; zero or less only yields.

    A clock that has a ``wait`` of its own, as the simulator's has, needs no task that sleeps meanwhile.
    """
    own: Any = getattr(clock, "wait", None)
    if own is not None:
        await own(waiter, seconds)
        return
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    sleeper.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
    try:
        await waiter
        if sleeper.done():
            sleeper.result()  # a clock that fails is heard
    finally:
        sleeper.cancel()
