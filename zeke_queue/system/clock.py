"""Clocks: the only module of the package that reads the time or sleeps."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Protocol


class Clock(Protocol):
    """The source of time. The simulator has its own, in which time jumps."""

    def now(self) -> datetime:
        """Return the wall clock's time, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences are meaningful."""
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
    """Wait for a future, which is resolved after ``seconds`` at the latest; zero or less only yields.

    A clock with a ``wait`` method of its own, such as the simulator's, needs no sleeping task.
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
            sleeper.result()  # raises the error of a failed clock
    finally:
        sleeper.cancel()
