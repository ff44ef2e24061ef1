"""Pauses of a periodic loop, which end when the loop is stopped, and related helpers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from zeke_queue.system.clock import wait

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from zeke_queue.system.clock import Clock

T = TypeVar("T")

BACKOFF_MAX: Final = 30.0
"""Seconds that a loop waits at most after errors, unless its own interval is longer."""

_DOUBLINGS: Final = 10


def backoff(every: float, failures: int) -> float:
    """Return the pause after a round: the loop's interval, doubled with each failure in a row.

    >>> [backoff(1.0, failures) for failures in range(7)]
    [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    """
    return max(every, min(BACKOFF_MAX, every * 2 ** min(failures, _DOUBLINGS)))


class Pace:
    """Pauses and the stop of a loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopped = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def stopped(self) -> bool:
        """Whether the loop was stopped."""
        return self._stopped

    def stop(self) -> None:
        """Stop the loop; a current pause ends at once."""
        self._stopped = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def pause(self, seconds: float) -> None:
        """Pause for so long on the loop's clock, or until the loop is stopped."""
        if self._stopped:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await wait(self._clock, self._waiter, seconds)
        finally:
            self._waiter = None


class Allowance:
    """A limit on a rate in the long run, with a burst after an idle time.

    Args:
        clock: the clock of the rate.
        rate: units per second.
        most: size of the burst, at least 1.
    """

    def __init__(self, clock: Clock, rate: float, most: float) -> None:
        self._clock = clock
        self._rate = rate
        self._most = most
        self._left = most
        self._counted_at = clock.monotonic()

    def wanted(self) -> float:
        """Take one unit, and return the seconds until it is allowed; 0 if it is already."""
        now = self._clock.monotonic()
        grown = max(0.0, now - self._counted_at) * self._rate
        self._left, self._counted_at = min(self._most, self._left + grown) - 1, now
        return max(0.0, -self._left / self._rate)


async def first(*coroutines: Coroutine[Any, Any, T]) -> T:
    """Run coroutines until one has ended, and cancel the others.

    Returns:
        The result of the first one; of several that ended at once, the leftmost.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        await end(*tasks)


async def end(*futures: asyncio.Future[Any]) -> None:
    """Cancel futures that are not done, wait until all are, and ignore their exceptions.

    ``asyncio.gather`` would do, but for futures that are done it takes a step of the loop on some Python
    versions and none on others, and a simulation must run alike on all of them.
    """
    ending = [future for future in futures if not future.done()]
    for future in ending:
        future.cancel()
    if ending:
        await asyncio.wait(ending)
    for future in futures:
        if not future.cancelled():
            future.exception()  # retrieves it, so that asyncio does not report it
