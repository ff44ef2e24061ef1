"""When to send heartbeats: at each interval, and in an outage as often as the lease requires.

A heartbeat without an answer may be on a dead connection, so the next one follows on another connection, and
either answer counts. Of several without an answer the oldest is kept for longest, since a new connection may
take longer than the pauses between them. After an error the pauses are short, since the lease runs out.
Thousands of workers may reconnect at once, so the pauses differ.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from zeke_queue.core.leases import reconnect_time
from zeke_queue.errors import StorageError
from zeke_queue.system.waiting import Waiter, end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy

UNANSWERED_MAX: Final = 4
"""Maximum concurrent unanswered heartbeats; to send another one, the second oldest is abandoned."""

KEPT_SECONDS: Final = 15.0
"""Seconds until an unanswered heartbeat is abandoned: enough to connect past several hosts that are down."""

PAUSE_MIN: Final = 0.1
"""Maximum seconds to the next heartbeat after a first failure; doubled with each further failure."""

PAUSE_MAX: Final = 1.0
"""Maximum seconds to the next heartbeat after any failure; a third of the time to reconnect, if shorter."""


def answer_timeout(interval: float) -> float:
    """Return the seconds without an answer after which another heartbeat is sent.

    It leaves a third of the time to reconnect for connecting and the statement.
    """
    return reconnect_time(interval) * 2 / 3


class HeartbeatSender:
    """Sends heartbeats; it uses no other part of the worker, so it may run in a thread of its own.

    Args:
        send: sends one heartbeat, and returns when it was answered, or False at once if none may be sent now;
            cancelled if that is no longer needed.
        failed: called with the error of a heartbeat.
        interval: seconds from one heartbeat to the next.
        entropy: the source of the jitter.
    """

    def __init__(
        self,
        send: Callable[[], Awaitable[bool | None]],
        failed: Callable[[StorageError], object],
        interval: float,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._send = send
        self._failed = failed
        self._interval = interval
        self._clock = clock
        self._draws = entropy.stream("heartbeat")
        self._answers = 0
        self._answered_at = -math.inf
        self._ended = Waiter()

    async def run(self) -> None:
        """Send heartbeats until cancelled; the caller has sent the first one."""
        failures = 0
        unanswered: dict[asyncio.Task[bool], float] = {}
        abandoned: set[asyncio.Task[bool]] = set()
        await self._clock.sleep(self._interval)
        try:
            while True:
                for one in [one for one in unanswered if one.done()]:
                    del unanswered[one]
                    one.result()  # raises what is a bug
                sent_at, answers = self._clock.monotonic(), self._answers
                late = [one for one, since in unanswered.items() if sent_at - since >= KEPT_SECONDS]
                if len(unanswered) == UNANSWERED_MAX and not late:
                    late = [*unanswered][1:2]
                for one in late:
                    del unanswered[one]
                    one.cancel()
                    abandoned.add(one)
                    one.add_done_callback(abandoned.discard)
                newest = asyncio.ensure_future(self._is_answered(sent_at))
                unanswered[newest] = sent_at
                await self._wait(newest, sent_at + answer_timeout(self._interval))
                if self._answers > answers:
                    failures = 0
                    await self._clock.sleep(sent_at + self._interval - self._clock.monotonic())
                elif newest.done():
                    await self._clock.sleep(self._pause(failures))
                    failures += 1
        finally:
            await end(*unanswered, *abandoned)

    async def _wait(self, newest: asyncio.Task[bool], until: float) -> None:
        """Wait until a heartbeat is answered or the newest one fails, at most until this time."""
        answers = self._answers
        while self._answers == answers and not newest.done():
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            await self._ended.wait_for(left, self._clock)

    async def _is_answered(self, sent_at: float) -> bool:
        """Send a heartbeat; return whether it was answered.

        An error that arrives after the answer to a later heartbeat is ignored.
        """
        try:
            if await self._send() is False:
                return False
        except StorageError as error:
            if sent_at > self._answered_at:
                self._failed(error)
            return False
        else:
            self._answers += 1
            self._answered_at = max(self._answered_at, sent_at)
            return True
        finally:
            self._ended.notify()

    def _pause(self, failures: int) -> float:
        longest = min(PAUSE_MAX, reconnect_time(self._interval) / 3)
        return min(longest, PAUSE_MIN * 2 ** min(failures, 10)) * (0.5 + self._draws.random() / 2)
