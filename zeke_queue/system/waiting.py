"""Waiting: wake-ups for one coroutine, timers that can be stopped, a limit on a rate, tasks.

A ``Waiter`` is what loops wait on; the other classes add a buffer, a deadline, a stop or a rate to it.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Final, TypeVar

from zeke_queue.system.clock import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any
    from uuid import UUID

    from zeke_queue.system.clock import Clock

T = TypeVar("T")

BACKOFF_MAX: Final = 30.0
"""Seconds that a loop waits at most after errors, unless its own interval is longer."""

OUTAGE_PAUSE_MAX: Final = 2.0
"""Maximum seconds that a loop waits while the storage is unavailable, unless its own interval is longer.

Each worker tries that often, so work resumes soon after an outage of any length.
"""

DETACHED: Final[ContextVar[bool]] = ContextVar("zeke_detached", default=False)
"""Whether the running task serves many callers, and so belongs to no handler in a simulation."""

_DOUBLINGS: Final = 10


def backoff(every: float, failures: int, longest: float = BACKOFF_MAX) -> float:
    """Return the pause after a round: the loop's interval, doubled with each failure in a row.

    Args:
        longest: the longest pause, unless the interval is longer.

    >>> [backoff(1.0, failures) for failures in range(7)]
    [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    """
    return max(every, min(longest, every * 2 ** min(failures, _DOUBLINGS)))


class Waiter:
    """Wakes the one coroutine that waits for it; a notification between two waits ends the next at once."""

    __slots__ = ("_notified", "_waiting")

    def __init__(self) -> None:
        self._notified = False
        self._waiting: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """Wake the waiting coroutine, now or at its next wait."""
        self._notified = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def clear(self) -> None:
        """Discard a pending notification."""
        self._notified = False

    async def wait(self) -> None:
        """Wait for a notification, or return at once if one is pending.

        A wait that is cancelled leaves the notification pending.
        """
        if not self._notified:
            waiting = self._begin()
            try:
                await waiting
            finally:
                self._waiting = None
        self._notified = False

    async def wait_for(self, seconds: float, clock: Clock) -> bool:
        """Wait like ``wait``, but at most ``seconds``; return whether there was a notification."""
        if not self._notified and seconds > 0:
            waiting = self._begin()
            try:
                await wait(clock, waiting, seconds)
            finally:
                self._waiting = None
        notified, self._notified = self._notified, False
        return notified

    def _begin(self) -> asyncio.Future[None]:
        if self._waiting is not None:
            raise RuntimeError(
                "a Waiter wakes one coroutine, and another one already waits; create one for each"
            )
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting


class ChangeBuffer:
    """The ids of jobs that may have changed between two waits, each once however often it was added."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids: dict[UUID, None] = {}
        self._waiter = Waiter()

    def add(self, job_id: UUID) -> None:
        """Record a change of a job, and end the current wait or the next one."""
        self._ids[job_id] = None
        self._waiter.notify()

    def wake(self) -> None:
        """End the current wait, or else the next one, at once."""
        self._waiter.notify()

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the ids recorded since the last call, in order; none after ``timeout`` seconds."""
        await self._waiter.wait_for(timeout, self._clock)
        ids, self._ids = list(self._ids), {}
        return ids


class DeadlineTimer:
    """Fires at the earliest of many deadlines, with a single sleeping task.

    A timer per job would cost more than many jobs do. Jobs with the same time limit have deadlines in order,
    so the sleeping task is rarely replaced.

    Args:
        clock: the clock of the deadlines, which also sleeps.
        on_deadline: called with the time; returns the next deadline, or None.
    """

    def __init__(self, clock: Clock, on_deadline: Callable[[float], float | None]) -> None:
        self._clock = clock
        self._on_deadline = on_deadline
        self._at = math.inf
        self._sleeper: asyncio.Task[None] | None = None

    def set(self, at: float) -> None:
        """Fire at this time, or earlier if an earlier time was set."""
        if at < self._at:
            self.cancel()
            self._at = at
            self._sleeper = start_detached(self._sleep())

    def cancel(self) -> None:
        """Cancel the timer."""
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._sleeper, self._at = None, math.inf

    async def _sleep(self) -> None:
        while self._at < math.inf:
            await self._clock.sleep(self._at - self._clock.monotonic())
            upcoming = self._on_deadline(self._clock.monotonic())
            self._at = math.inf if upcoming is None else upcoming
        self._sleeper = None


class StoppableTimer:
    """The pauses of a periodic loop, which end when the loop is stopped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopped = False
        self._waiter = Waiter()

    @property
    def stopped(self) -> bool:
        """Whether the loop was stopped."""
        return self._stopped

    def stop(self) -> None:
        """Stop the loop; a current pause ends at once."""
        self._stopped = True
        self._waiter.notify()

    async def pause(self, seconds: float) -> None:
        """Pause for ``seconds`` on the loop's clock, or until the loop is stopped.

        Zero or less only yields.
        """
        if self._stopped:
            return
        if seconds > 0:
            await self._waiter.wait_for(seconds, self._clock)
        else:
            await self._clock.sleep(0)


class RateBudget:
    """A limit on a rate in the long run, with a burst after an idle time.

    Args:
        rate: units per second.
        burst: size of the burst, at least 1.
    """

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._counted_at = clock.monotonic()

    def take(self) -> float:
        """Take one unit, and return the seconds until it is allowed; 0 if it is already."""
        now = self._clock.monotonic()
        grown = max(0.0, now - self._counted_at) * self._rate
        self._left, self._counted_at = min(self._burst, self._left + grown) - 1, now
        return max(0.0, -self._left / self._rate)


def start_detached(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task in an empty context, for work that many callers share and that outlives the first one.

    A copy of the first caller's context would keep that caller's context variables (such as a tracer's span)
    for all of them.
    """
    context = Context()
    context.run(DETACHED.set, True)  # noqa: FBT003 - the variable's value
    return asyncio.get_running_loop().create_task(coroutine, context=context)


async def first(*coroutines: Coroutine[Any, Any, T]) -> T:
    """Run coroutines until one has ended, and cancel the others.

    Returns:
        The result of the first one; of several that ended together, the leftmost.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        await end(*tasks)


async def end(*futures: asyncio.Future[Any]) -> None:
    """Cancel futures that are not done, wait until all are, and ignore their exceptions.

    ``asyncio.gather`` would suffice, but for completed futures it takes a step of the loop on some Python
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
