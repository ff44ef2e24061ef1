"""The coroutine pool: long-lived tasks that run jobs from a queue one after another.

One asyncio task per job would cost a third of the throughput of small jobs, so each pool task serves many.
To keep this safe, a task with leftovers is not reused. If it was cancelled while its job ran, or the
handler left context variables changed, a new task takes its place for the next job and the old one ends.
So a late cancellation hits a task that has ended, and no handler sees another one's context variables.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from zeke_queue.system.waiting import Waiter
from zeke_queue.worker.held import RUNNING, SETTLING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from contextvars import Context

    from zeke_queue.system.clock import Clock
    from zeke_queue.worker.held import Held, Outcome, Reason

SLICE: Final = 0.004
"""Seconds for which pool tasks run jobs that never wait before claims and settlements get a turn."""

INSISTENCE: Final = 10.0
"""Seconds after which a handler that ignores its cancellation is reported and cancelled again."""


class Lane:
    """A slot for one job at a time, with the task that runs it."""

    __slots__ = ("held", "task", "waiter")

    def __init__(self) -> None:
        self.held: Held | None = None
        self.task: asyncio.Task[None] | None = None
        self.waiter = Waiter()


class Lanes:
    """The pool tasks of a worker, and the jobs that wait for one.

    Args:
        size: how many jobs run at once.
        clock: measures how long jobs take.
        ended: called with every outcome; None means that there is none to store.

    Attributes:
        ready: waiting jobs, in order.
        running: how many jobs run.
    """

    def __init__(
        self,
        size: int,
        clock: Clock,
        ended: Callable[[Held, Outcome | None], None],
    ) -> None:
        self.size = size
        self.ready: deque[Held] = deque()
        self.running = 0
        self._clock = clock
        self._attempt: Callable[[Held], Awaitable[Outcome | None]] | None = None
        self._ended = ended
        self._lanes = [Lane() for _ in range(size)]
        self._idle: deque[Lane] = deque()
        self._yielding = 0
        self._in_turn = False
        self._turn_ends = 0.0
        self._looking = False
        self._scouted = False
        self._closing = False
        self._failed = Waiter()
        self._error: BaseException | None = None
        self._context: Context = copy_context()

    def open(self, attempt: Callable[[Held], Awaitable[Outcome | None]]) -> None:
        """Start the pool tasks on the running loop.

        Args:
            attempt: runs a job; never raises an exception of the handler.
        """
        self._attempt = attempt
        self._context = copy_context()
        for lane in self._lanes:
            self._renew(lane)

    def put(self, jobs: Iterable[Held], *, first: bool = False) -> None:
        """Queue jobs for a free pool task, at the end or (``first``) ahead of the others."""
        if first:
            self.ready.extendleft(reversed(list(jobs)))
        else:
            self.ready.extend(jobs)
        self._look_soon()

    def in_lanes(self) -> Iterator[Held]:
        """Yield the running jobs; may be called from any thread."""
        return (held for lane in self._lanes if (held := lane.held) is not None)

    def job_of(self, task: asyncio.Task[object] | None) -> Held | None:
        """Return the job that a task runs, if it is a pool task; may be called from any thread."""
        return next((lane.held for lane in self._lanes if task is not None and lane.task is task), None)

    def interrupt(self, held: Held, reason: Reason) -> None:
        """Ask a running job's handler to stop; the first reason is kept, except that "lost" overrides it."""
        if held.stage != RUNNING or held.lane is None or held.lane.task is None:
            return
        first = held.reason is None
        if first or reason == "lost":
            held.reason = reason
        if held.context is not None:
            held.context.cancelled = True
        now = self._clock.monotonic()
        if first or now - held.interrupted >= INSISTENCE:
            held.interrupted = now
            # A thread can't be cancelled: it keeps its slot until the handler checks `job.cancelled`.
            if held.served.task.kind != "thread":
                held.lane.task.cancel()

    def abandon(self, held: Held) -> None:
        """Stop waiting for a handler that does not end, and discard its outcome."""
        held.reason = "lost"
        if held.lane is not None and held.lane.task is not None:
            held.lane.task.cancel()

    async def failure(self) -> None:
        """Wait until a pool task fails for another reason than an exception of a handler, and raise that."""
        await self._failed.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """End all idle pool tasks; those whose handlers do not end are left alone."""
        self._closing = True
        ending = [lane.task for lane in self._lanes if lane.held is None and lane.task is not None]
        while self._idle:
            self._wake()
        if ending:
            await asyncio.wait(ending)

    def disband(self) -> None:
        """Cancel the remaining pool tasks without waiting."""
        self._closing = True
        for lane in self._lanes:
            if lane.task is not None:
                lane.task.cancel()

    def _renew(self, lane: Lane) -> None:
        lane.task = asyncio.get_running_loop().create_task(self._serve(lane), context=self._context.copy())

    async def _serve(self, lane: Lane) -> None:
        try:
            await self._take_turns(lane)
        except asyncio.CancelledError:
            # This package never cancels a pool task between jobs, so something left behind by a handler did.
            if self._closing:
                raise
            self._renew(lane)
        except BaseException as error:
            # `attempt` turns exceptions of handlers into outcomes, so this is a bug in the worker.
            self._error = error
            self._failed.notify()
            raise

    async def _take_turns(self, lane: Lane) -> None:
        ready, now_on, attempt, ended = self.ready, self._clock.monotonic, self._attempt, self._ended
        task = asyncio.current_task()
        if task is None or attempt is None:
            raise RuntimeError("a lane is started by open()")
        untouched = copy_context()
        self._begin_turn()
        while True:
            if not ready:
                if self._closing:
                    return
                await self._sleep(lane)
                self._begin_turn()
                continue
            held = ready.popleft()
            if ready and not self._looking:
                self._look_soon()
            held.stage, held.lane, lane.held = RUNNING, lane, held
            started = held.started = now_on()
            self.running += 1
            outcome = await attempt(held)
            self.running -= 1
            held.stage, held.lane, lane.held = SETTLING, None, None
            now = now_on()
            held.took = took = now - started
            if held.began:
                held.served.measure(took)
            ended(held, outcome)
            if task.cancelling() or _differ(untouched, copy_context()):
                self._renew(lane)
                return
            if now >= self._turn_ends:
                await self._let_others()
                self._begin_turn()

    def _begin_turn(self) -> None:
        """Begin a turn of the loop, which all pool tasks share, unless one has begun."""
        if not self._in_turn:
            self._in_turn = True
            self._turn_ends = self._clock.monotonic() + SLICE
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._in_turn = False

    async def _sleep(self, lane: Lane) -> None:
        # A task that was cancelled as it was woken leaves the notification to its successor.
        lane.waiter.clear()
        self._idle.append(lane)
        try:
            await lane.waiter.wait()
        except asyncio.CancelledError:
            if lane in self._idle:
                self._idle.remove(lane)
            raise

    async def _let_others(self) -> None:
        self._yielding += 1
        try:
            await self._clock.sleep(0)
        finally:
            self._yielding -= 1

    def _wake(self) -> None:
        self._idle.popleft().waiter.notify()

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Wake one pool task, and the others once its job turns out to wait.

        Jobs that never wait run best in one task, one after another; it yields to the loop by itself.
        """
        self._looking = False
        scouted, self._scouted = self._scouted, False
        if not self.ready or not self._idle or self._yielding:
            return
        if scouted:
            for _ in range(min(len(self.ready), len(self._idle))):
                self._wake()
        else:
            self._scouted = True
            self._wake()
            self._look_soon()


def _differ(before: Context, after: Context) -> bool:
    """Return whether context variables were set; when none was, this only compares two pointers."""
    try:
        return before != after
    except Exception:  # noqa: BLE001 - foreign values may fail to compare; then they count as different
        return True
