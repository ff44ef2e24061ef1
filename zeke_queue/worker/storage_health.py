"""Whether the storage answers a worker, logged once per change, and the pauses between retries.

Statements that the database gave up, because of a lock or their time, are logged once per verb and minute.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import StorageError, StorageUnavailableError, TimeLimitError
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import OUTAGE_PAUSE_MAX, first

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from zeke_queue.storage.forwarding import Call
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = OUTAGE_PAUSE_MAX

REPORT_INTERVAL: Final = 60.0
"""Seconds between log lines about the same calls that fail again and again."""

_LOGGED_BY_CALLER: Final = frozenset({"settle", "settle_unlocked", "suspend"})
"""Calls whose callers repeat them without some of the jobs, and log the failures."""


class StorageHealth:
    """Watches the calls of one worker, for which its storage is ``forward(storage, health.observe)``."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._random = entropy.stream("link")
        self._lost_at: float | None = None
        self._log_from: dict[str, float] = {}

    @property
    def unavailable(self) -> bool:
        """Whether there was no answer since an outage was logged."""
        return self._lost_at is not None

    async def observe(self, call: Call, proceed: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call, and log whether the storage is unavailable since then, or back."""
        try:
            answer = await proceed()
        except TimeLimitError as error:
            self._answered()
            if call.verb not in _LOGGED_BY_CALLER:
                self.log_given_up(call.verb, error)
            raise
        except StorageUnavailableError as error:
            if self._lost_at is None:
                self._lost_at = self._clock.monotonic()
                log.get_logger().warning("storage_unavailable", during=call.verb, error=str(error))
            raise
        # The end of a wait is no answer: it may have been its timeout.
        if call.verb != "wait_for_jobs":
            self._answered()
        return answer

    def log_given_up(self, verb: str, error: StorageUnavailableError) -> None:
        """Log that a statement was given up, once per verb and minute: it is repeated until it succeeds."""
        now = self._clock.monotonic()
        if now >= self._log_from.get(verb, -math.inf):
            self._log_from[verb] = now + REPORT_INTERVAL
            log.get_logger().warning("statement_given_up", during=verb, error=str(error))

    def _answered(self) -> None:
        if self._lost_at is not None:
            away = self._clock.monotonic() - self._lost_at
            self._lost_at = None
            log.get_logger().info("storage_back", awayMs=round(away * 1000))

    async def retry(
        self,
        during: str,
        call: Callable[[int], Awaitable[object]],
        ending: asyncio.Event | None = None,
        on: type[StorageError] = StorageError,
    ) -> None:
        """Repeat a call, which gets the number of failures before, until it does not raise ``on``."""
        failures = 0
        while True:
            try:
                await call(failures)
            except on as error:
                log_refusal(during, error)
                await self.pause(failures, ending)
                failures += 1
            else:
                return

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


def log_refusal(during: str, error: Exception) -> None:
    """Log an error that a repetition would not change.

    ``StorageHealth`` logs outages, and statements that were given up because of a lock or their time.
    """
    if not isinstance(error, StorageUnavailableError):
        log.get_logger().error("storage_error", during=during, error=str(error))
