"""An event loop with virtual time: deterministic, without sockets, threads or real waiting.

When no callback is ready, time jumps to the next timer. Every callback belongs to a *run queue*, one per node
of the simulated world, identified by a context variable. Within a run queue, callbacks run in the order that
asyncio guarantees; between run queues, ``choose`` decides, since processes have no guaranteed order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from contextvars import ContextVar, copy_context
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from zeke_queue.system.waiting import DETACHED
from zeke_sim.errors import Livelock, Outside, Stalled
from zeke_sim.loop.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence
    from contextvars import Context

T = TypeVar("T")

INSTANT_MAX: Final = 50_000
"""Number of callbacks at one instant that counts as a livelock."""

TASKS_KEPT: Final = 256
"""Number of tracked tasks above which finished tasks are dropped."""


class RunQueue:
    """The callbacks of one node, in order, which can be paused or dropped together."""

    __slots__ = ("dead", "name", "paused", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Any] = deque()
        self.paused = False
        self.dead = False

    def __repr__(self) -> str:
        return f"<RunQueue {self.name}>"


RUN_QUEUE: ContextVar[RunQueue | None] = ContextVar("zeke_sim_run_queue", default=None)
"""The run queue of the running code; None for the world's own run queue."""

HANDLER: ContextVar[Any] = ContextVar("zeke_sim_handler", default=None)
"""The handler of the running code, and of tasks that it created and did not detach; None for the runtime."""


class _Handle(asyncio.Handle):
    """A handle that skips the check of the loop's debug mode, which costs more than the handle itself."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: VirtualLoop, context: Context
    ) -> None:
        self._context = context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Task(asyncio.Task[T]):
    """A task with the same place in a set in each run: a ``TaskGroup`` cancels its tasks in a set's order."""

    def __init__(
        self,
        number: int,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        self._number = number  # first, since asyncio puts a new task into a set
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class _Timer(asyncio.TimerHandle):
    """A timer of a run queue; ``own`` is False if a handler created it."""

    __slots__ = ("own", "run_queue")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: VirtualLoop,
        context: Context,
    ) -> None:
        self._context = context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = True
        self.run_queue = context.get(RUN_QUEUE) or loop.current
        self.own = context.get(HANDLER) is None

    def cancel(self) -> None:
        """Cancel the timer; it stays in the heap and is dropped at its time."""
        self._cancelled = True
        self._callback: Any = None
        self._args: Any = ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop with virtual time and run queues.

    Attributes:
        root: the run queue of the world itself.
        choose: called with two or more runnable run queues in turn order; returns the index of the next one.
            With None, they take turns.
        jump: called when no callback is ready, before time jumps; it may move timers.
        ticks: number of callbacks that ran.
        refused: called with the error of each refused access to the outside, even if the error is caught.
        whence: returns a description of the line that reached outside.
        leaving: whether the world has ended and its tasks are being cancelled.
        breakable: whether ``break_off`` may be called in a callback of a node.
    """

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.root = RunQueue("world")
        self.choose: Callable[[Sequence[RunQueue]], int] | None = None
        self.jump: Callable[[], None] | None = None
        self.ticks = 0
        self.leaving = False
        self.breakable = False
        self._breaker = Breaker(self._run_handle)
        self.refused: Callable[[Outside], None] | None = None
        self.whence: Callable[[], str] = str
        self._now = start
        self._timers: list[tuple[float, int, _Timer]] = []
        self._sequence = 0
        self._runnable: list[RunQueue] = []
        self._current = self.root
        self._run_queues: dict[RunQueue, None] = {self.root: None}  # in order of creation
        self._instant_began = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_limit = TASKS_KEPT
        self.set_debug(enabled=False)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    @property
    def current(self) -> RunQueue:
        """The run queue whose callback runs; the world's between callbacks."""
        return self._current

    # The interface of asyncio loops.

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback in its run queue's next turn."""
        if context is None:
            context = copy_context()
        handle = _Handle(callback, args, self, context)
        run_queue = self.root if self.leaving else context.get(RUN_QUEUE) or self.root
        ready = run_queue.ready
        if not ready and not run_queue.paused and not run_queue.dead:
            self._runnable.append(run_queue)
        ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        timer = _Timer(when, callback, args, self, copy_context() if context is None else context)
        self._sequence += 1
        heappush(self._timers, (when, self._sequence, timer))
        return timer

    def create_task(
        self, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any
    ) -> asyncio.Task[T]:
        """Create a task and keep a reference to it until it is done.

        A task of a process stays in it. In a context that belongs to no run queue of this loop, it gets a
        copy of the context, which belongs to its creator's run queue, and to its handler unless detached.
        """
        options.pop("eager_start", None)
        context: Context | None = options.get("context")
        run_queue = RUN_QUEUE.get() if context is None else context.get(RUN_QUEUE)
        lost = run_queue is None or run_queue not in self._run_queues
        if lost and self._current is not self.root:
            handler = HANDLER.get()
            context = copy_context() if context is None else context.copy()
            context.run(RUN_QUEUE.set, self._current)
            if not context.get(DETACHED):
                context.run(HANDLER.set, handler)
            options["context"] = context
        self._sequence += 1
        task = _Task(self._sequence, coro, self, **options)
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._tasks_limit:
            self._tasks = [one for one in tasks if not one.done()]
            self._tasks_limit = max(TASKS_KEPT, 2 * len(self._tasks))
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run a function inline, where a real loop would use a thread."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - passed to the future
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        try:
            self._run_callbacks()
        finally:
            self._current = self.root

    def _run_callbacks(self) -> None:
        runnable = self._runnable
        while not self._stopping:
            if not runnable:
                self._current = self.root
                self._advance()
                continue
            place = 0 if len(runnable) == 1 or self.choose is None else self.choose(runnable)
            run_queue = self._current = runnable[place]
            ready = run_queue.ready
            handle = ready.popleft()
            if not ready:
                del runnable[place]
            elif len(runnable) > 1:
                del runnable[place]
                runnable.append(run_queue)
            if handle._cancelled:
                continue
            self.ticks += 1
            if self.ticks - self._instant_began > INSTANT_MAX:
                self._instant_began = self.ticks
                raise Livelock(run_queue.name, self._now, INSTANT_MAX, _ran(handle))
            if self.breakable and (self.leaving or run_queue is not self.root):
                self._breaker.run(handle)
            else:
                self._run_handle(handle)

    def _run_handle(self, handle: asyncio.Handle) -> None:
        try:
            handle._context.run(handle._callback, *handle._args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - an error in a callback must not end the loop
            message = f"Exception in callback {handle!r}"  # as asyncio's handles report it
            self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    # Control of run queues and time.

    def context(self, run_queue: RunQueue) -> Context:
        """Return a context that assigns callbacks to a run queue."""
        self._run_queues[run_queue] = None
        context = copy_context()
        context.run(RUN_QUEUE.set, run_queue)
        return context

    def kill(self, run_queue: RunQueue) -> None:
        """Drop all present and future callbacks of a run queue."""
        run_queue.dead = True
        if run_queue in self._runnable:
            self._runnable.remove(run_queue)

    def break_off(self) -> None:
        """Leave the running callback for good: nothing of it is executed after this call.

        The run queue must be dead. When the world has ended, the callback's frames are unwound by
        ``CancelledError``, which has no effect.
        """
        self._breaker.leave(self)

    def abandon(self) -> None:
        """Leave the running callback for good while the loop is being left."""
        self._breaker.abandon(self)

    def pause(self, run_queue: RunQueue) -> None:
        """Pause a run queue until it is resumed."""
        run_queue.paused = True
        if run_queue in self._runnable:
            self._runnable.remove(run_queue)

    def resume(self, run_queue: RunQueue) -> None:
        """Resume a paused run queue and run the callbacks that became ready meanwhile."""
        run_queue.paused = False
        if run_queue.ready and not run_queue.dead and run_queue not in self._runnable:
            self._runnable.append(run_queue)

    def shift(self, run_queues: set[RunQueue], seconds: float) -> None:
        """Delay all timers of these run queues by ``seconds``, except those of handlers."""
        moved: list[tuple[float, int, _Timer]] = []
        for when, sequence, timer in self._timers:
            if _is_idle(timer):
                continue
            if timer.run_queue in run_queues and timer.own:
                moved.append((when + seconds, sequence, timer))
            else:
                moved.append((when, sequence, timer))
        heapify(moved)
        self._timers = moved

    def soonest(self) -> dict[RunQueue, float]:
        """Return the time of each run queue's next timer; timers of handlers count as the world's."""
        found: dict[RunQueue, float] = {}
        for when, _, timer in self._timers:
            if not _is_idle(timer):
                run_queue = timer.run_queue if timer.own else self.root
                if when < found.get(run_queue, inf):
                    found[run_queue] = when
        return found

    def leave(self) -> None:
        """Cancel every task, including those of dead nodes, in the order of creation.

        Effects of their ``finally`` blocks are not observed.
        """
        self.leaving = True
        self._stopping = False  # a stop may have been requested while the loop was not running
        self._breaker.unwind(self)
        # A task whose wake-up was dropped with its node cannot be cancelled before it gets the wake-up.
        self._runnable.clear()
        for run_queue in self._run_queues:
            left = list(run_queue.ready)
            run_queue.ready.clear()
            for handle in left:
                self._put(self.root, handle)
        for _ in range(20):
            pending = [task for task in self._tasks if not task.done()]
            if not pending:
                break
            for task in pending:
                task.cancel()
            self._instant_began = self.ticks
            with suppress(Livelock):  # a task that still loops is abandoned
                self.run_until_complete(self._settle())
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
            elif not task.cancelled():
                task.exception()
        self._tasks.clear()
        self._timers.clear()
        self._breaker.close()

    async def _settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
            if not self._runnable:
                return

    def _put(self, run_queue: RunQueue, handle: asyncio.Handle) -> None:
        if self.leaving:
            run_queue = self.root
        ready = run_queue.ready
        if not ready and not run_queue.paused and not run_queue.dead:
            self._runnable.append(run_queue)
        ready.append(handle)

    def _advance(self) -> None:
        """Advance time to the next timer, and make all due timers ready."""
        if self.jump is not None:
            self.jump()
        timers = self._timers
        while timers and _is_idle(timers[0][2]):
            heappop(timers)
        if not timers:
            raise Stalled(self._now)
        if timers[0][0] > self._now:
            self._now = timers[0][0]
            self._instant_began = self.ticks
        now = self._now
        while timers and timers[0][0] <= now:
            timer = heappop(timers)[2]
            if not timer._cancelled:
                self._put(timer.run_queue, timer)


def _is_idle(timer: _Timer) -> bool:
    """Return whether a timer has no effect because it was cancelled or its run queue is dead."""
    return timer._cancelled or timer.run_queue.dead


def _ran(handle: asyncio.Handle) -> str:
    """Return the name of a handle's callback; for a task, of its coroutine."""
    callback: Any = handle._callback
    task: Any = getattr(callback, "__self__", None)
    ran = task.get_coro() if isinstance(task, asyncio.Task) else callback
    return getattr(ran, "__qualname__", type(ran).__name__)


def _outside(name: str) -> Callable[..., NoReturn]:
    def refuse(loop: VirtualLoop, *_args: Any, **_kwargs: Any) -> NoReturn:
        kind = "subprocess" if name.startswith("subprocess") else "socket"
        error = Outside(f"loop.{name}(){loop.whence()}", kind)
        if loop.refused is not None:
            loop.refused(error)
        raise error

    return refuse


_OUTSIDE: Final = (
    *("add_", "connect_", "create_connection", "create_datagram_endpoint", "create_server", "create_unix_"),
    *("getaddrinfo", "getnameinfo", "sock_", "subprocess_"),
)
"""How the names of a loop's methods begin that reach outside."""

for _name in vars(asyncio.AbstractEventLoop):
    if _name.startswith(_OUTSIDE):
        setattr(VirtualLoop, _name, _outside(_name))

# Every future calls this on creation; a built-in is faster than a Python function, and bool() is False.
setattr(VirtualLoop, "get_debug", bool)  # noqa: B010
