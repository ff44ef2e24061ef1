"""Clocks for tests: one that is stopped until a test moves it, and one that never waits."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

from zeke_queue.system.clock import SystemClock

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FrozenClock:
    """Time set by a test: ``now`` is constant, and ``advance`` wakes the sleepers that are due."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._now = start
        self._order = count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the time that the test set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return (self._now - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock so far; zero only yields."""
        if seconds <= 0:
            await SystemClock().sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        until = self._now + timedelta(seconds=seconds)
        heapq.heappush(self._sleepers, (until, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> datetime:
        """Move the time (forwards or back) and wake the sleepers that are due; return the new time."""
        self._now += timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
        return self._now


class RecordingClock:
    """A clock whose ``sleep`` returns at once and records the seconds in ``slept``."""

    def __init__(self, clock: FrozenClock) -> None:
        self.slept: list[float] = []
        self.now = clock.now
        self.monotonic = clock.monotonic

    async def sleep(self, seconds: float) -> None:
        """Record the seconds."""
        self.slept.append(seconds)
