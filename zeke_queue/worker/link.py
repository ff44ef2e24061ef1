"""Availability of the storage, logged once per change, and the pauses between retries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.system import logging as log
from zeke_queue.system.waiting import first

if TYPE_CHECKING:
    import asyncio

    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0


class Link:
    """The state of the connection to the storage, shared by all loops of one worker."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._random = entropy.stream("link")
        self._lost_at: float | None = None

    def lost(self, during: str, error: Exception) -> None:
        """Record that a call had no answer."""
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            log.get_logger().warning("storage_unavailable", during=during, error=str(error))

    def found(self) -> None:
        """Record that a call was answered."""
        if self._lost_at is not None:
            away = self._clock.monotonic() - self._lost_at
            self._lost_at = None
            log.get_logger().info("storage_back", awayMs=round(away * 1000))

    async def pause(self, failures: int, ending: asyncio.Event | None = None) -> None:
        """Wait before the next try, longer with each failure in a row, with jitter to spread workers out.

        Once ``ending`` is set pauses are short, and one under way ends.
        """
        if ending is not None and not ending.is_set():
            await first(self._rest(failures), ending.wait())
        else:
            await self._rest(0 if ending is not None else failures)

    async def _rest(self, failures: int) -> None:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
        await self._clock.sleep(longest * (0.5 + self._random.random() / 2))

    def refused(self, during: str, error: Exception) -> None:
        """Log a call that was answered with an error, which a repetition would not change."""
        log.get_logger().error("storage_refused", during=during, error=str(error))
