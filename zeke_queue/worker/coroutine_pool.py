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

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from zeke_queue.system.clock import Clock
    from zeke_queue.worker.leased_job import LeasedJob, Outcome
    from zeke_queue.worker.state import WorkerState

TIME_SLICE: Final = 0.004
"""Seconds for which pool tasks run jobs that never wait before claims and settlements get a turn."""


class PoolTask:
    """A slot for one job at a time, with the task that runs it."""

    __slots__ = ("task", "waiter")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.waiter = Waiter()

    def cancel(self) -> None:
        """Cancel what runs in the slot."""
        if self.task is not None:
            self.task.cancel()


class CoroutinePool:
    """The pool tasks of a worker, which run the jobs that are ready.

    Args:
        state: holds the jobs, and is notified when one is taken and when one ends.
        settle_soon: called when there is an outcome to store.
        wake_claims: notified when there may be room for jobs.

    Attributes:
        quiet: notified when no job runs.
    """

    def __init__(
        self,
        size: int,
        state: WorkerState,
        clock: Clock,
        *,
        settle_soon: Callable[[], None],
        wake_claims: Waiter,
    ) -> None:
        self.quiet = Waiter()
        self._state = state
        self._clock = clock
        self._settle_soon = settle_soon
        self._wake_claims = wake_claims
        self._attempt: Callable[[LeasedJob], Awaitable[Outcome | None]] | None = None
        self._slots = [PoolTask() for _ in range(size)]
        self._idle: deque[PoolTask] = deque()
        self._yielding = 0
        self._in_turn = False
        self._turn_ends = 0.0
        self._looking = False
        self._one_awake = False
        self._closing = False
        self._failed = Waiter()
        self._error: BaseException | None = None
        self._context: Context = copy_context()

    def open(self, attempt: Callable[[LeasedJob], Awaitable[Outcome | None]]) -> None:
        """Start the pool tasks on the running loop.

        Args:
            attempt: runs a job; never raises an exception of the handler.
        """
        self._attempt = attempt
        self._context = copy_context()
        for slot in self._slots:
            self._renew(slot)

    def start_soon(self) -> None:
        """Give jobs that became ready to free pool tasks, at the next turn of the loop."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    async def failure(self) -> None:
        """Wait until a pool task fails for another reason than an exception of a handler, and raise that."""
        await self._failed.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """End all idle pool tasks; those whose handlers do not end are not touched."""
        self._closing = True
        busy = set(self._state.running.values())
        ending = [slot.task for slot in self._slots if slot.task is not None and slot not in busy]
        while self._idle:
            self._wake()
        if ending:
            await asyncio.wait(ending)

    def disband(self) -> None:
        """Cancel the remaining pool tasks without waiting."""
        self._closing = True
        for slot in self._slots:
            slot.cancel()

    def _renew(self, slot: PoolTask) -> None:
        slot.task = asyncio.get_running_loop().create_task(self._serve(slot), context=self._context.copy())

    async def _serve(self, slot: PoolTask) -> None:
        try:
            await self._take_turns(slot)
        except asyncio.CancelledError:
            # This package never cancels a pool task between jobs, so something left behind by a handler did.
            if self._closing:
                raise
            self._renew(slot)
        except GeneratorExit:  # the loop is gone, so nothing can be notified
            raise
        except BaseException as error:
            # `attempt` turns exceptions of handlers into outcomes, so this is a bug in the worker.
            self._error = error
            self._failed.notify()
            raise

    async def _take_turns(self, slot: PoolTask) -> None:
        now_on, attempt, take, ready = (
            self._clock.monotonic,
            self._attempt,
            self._state.take,
            self._state.ready,
        )
        task = asyncio.current_task()
        if task is None or attempt is None:
            raise RuntimeError("a pool task is started by open()")
        untouched = copy_context()
        self._begin_turn()
        while True:
            if not ready:
                if self._closing:
                    return
                await self._sleep(slot)
                self._begin_turn()
                continue
            job = take(slot)
            if ready and not self._looking:
                self.start_soon()
            started = job.started = now_on()
            outcome = await attempt(job)
            now = now_on()
            job.took = took = now - started
            if job.began:
                job.queue.measure(took)
            self._ended(job, outcome)
            if task.cancelling() or _differ(untouched, copy_context()):
                self._renew(slot)
                return
            if now >= self._turn_ends:
                await self._let_others()
                self._begin_turn()

    def _ended(self, job: LeasedJob, outcome: Outcome | None) -> None:
        state = self._state
        if state.ended(job, outcome):
            self._settle_soon()
        elif state.drop(job):
            self._wake_claims.notify()
        if not state.running:
            self.quiet.notify()
        if state.claims.has_room(len(state.ready), state.payload_bytes):
            self._wake_claims.notify()

    def _begin_turn(self) -> None:
        """Begin a turn of the loop, which all pool tasks share, unless one has begun."""
        if not self._in_turn:
            self._in_turn = True
            self._turn_ends = self._clock.monotonic() + TIME_SLICE
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._in_turn = False

    async def _sleep(self, slot: PoolTask) -> None:
        # A task that was cancelled as it was woken leaves the notification to its successor.
        slot.waiter.clear()
        self._idle.append(slot)
        try:
            await slot.waiter.wait()
        except asyncio.CancelledError:
            if slot in self._idle:
                self._idle.remove(slot)
            raise

    async def _let_others(self) -> None:
        self._yielding += 1
        try:
            await self._clock.sleep(0)
        finally:
            self._yielding -= 1

    def _wake(self) -> None:
        self._idle.popleft().waiter.notify()

    def _look(self) -> None:
        """Wake one pool task, and the others once its job turns out to wait.

        Jobs that never wait run best in one task, one after another; it yields to the loop itself. If all
        free tasks were woken at once, a worker with 50 would do 6 % fewer of them in a second.
        """
        self._looking = False
        one_awake, self._one_awake = self._one_awake, False
        if not self._state.ready or not self._idle or self._yielding:
            return
        if one_awake:
            for _ in range(min(len(self._state.ready), len(self._idle))):
                self._wake()
        else:
            self._one_awake = True
            self._wake()
            self.start_soon()


def _differ(before: Context, after: Context) -> bool:
    """Return whether context variables were set; when none was, this only compares two pointers."""
    try:
        return before != after
    except Exception:  # noqa: BLE001 - foreign values may fail to compare; then they count as different
        return True
