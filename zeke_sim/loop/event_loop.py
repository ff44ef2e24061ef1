"""An event loop in which time is a number: deterministic, without sockets, threads or waiting.

When nothing is ready, time jumps to the next timer. Every callback belongs to a *lane*, which is a node of
the simulated world, told by a context variable. Inside a lane callbacks run in the order in which asyncio
promises them; between lanes whoever drives the loop chooses, since processes promise each other nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from contextvars import ContextVar, copy_context
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from zeke_sim.errors import Livelock, Outside, Stalled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence
    from contextvars import Context

T = TypeVar("T")

INSTANT_MAX: Final = 50_000
"""Callbacks at one instant after which something must be going round in circles."""

TASKS_KEPT: Final = 256
"""Tasks that are remembered before those that are done are forgotten."""


class Lane:
    """The callbacks of one node: in order, and all of them paused or dropped at once."""

    __slots__ = ("dead", "name", "paused", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Any] = deque()
        self.paused = False
        self.dead = False

    def __repr__(self) -> str:
        return f"<Lane {self.name}>"


LANE: ContextVar[Lane | None] = ContextVar("zeke_sim_lane", default=None)
"""The lane that running code belongs to; None is the world's own."""


HANDLER: ContextVar[Any] = ContextVar("zeke_sim_handler", default=None)
"""The handler that running code belongs to, be it a task that the handler made; None is the runtime's own."""


class _Handle(asyncio.Handle):
    """A handle that asks no loop whether it is being debugged, which costs more than it does."""

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


class _Timer(asyncio.TimerHandle):
    """A timer of a lane; its ``own``, or one that a handler left there."""

    __slots__ = ("lane", "own")

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
        self.lane = context.get(LANE) or loop.root
        self.own = context.get(HANDLER) is None

    def cancel(self) -> None:
        """Cancel the timer; it stays in the heap and is dropped when its time comes."""
        self._cancelled = True
        self._callback: Any = None
        self._args: Any = ()


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop.

    Attributes:
        root: the lane of the world itself.
        choose: given two lanes or more that have something to run, in the order of their turns, returns the
            place of the one that runs next. None takes turns.
        jump: is told when nothing is ready, before time jumps; it may move timers.
        ticks: callbacks that were run.
        refused: is told of each reach outside, whatever becomes of the error.
        whence: says which line reached outside.
        leaving: whether the world has ended, and only its tasks are left to be cancelled.
    """

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.root = Lane("world")
        self.choose: Callable[[Sequence[Lane]], int] | None = None
        self.jump: Callable[[], None] | None = None
        self.ticks = 0
        self.leaving = False
        self.refused: Callable[[Outside], None] | None = None
        self.whence: Callable[[], str] = str
        self._now = start
        self._timers: list[tuple[float, int, _Timer]] = []
        self._sequence = 0
        self._runnable: list[Lane] = []
        self._lanes = [self.root]
        self._instant_began = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_limit = TASKS_KEPT
        self.set_debug(enabled=False)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    # What asyncio asks of a loop.

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback in its lane's next turn."""
        if context is None:
            context = copy_context()
        handle = _Handle(callback, args, self, context)
        lane = self.root if self.leaving else context.get(LANE) or self.root
        ready = lane.ready
        if not ready and not lane.paused and not lane.dead:
            self._runnable.append(lane)
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
        """Make a task, and remember it, so that it lives as long as the world does."""
        options.pop("eager_start", None)
        task = asyncio.Task(coro, loop=self, **options)
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._tasks_limit:
            self._tasks = [one for one in tasks if not one.done()]
            self._tasks_limit = max(TASKS_KEPT, 2 * len(self._tasks))
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run a function at once, where a real loop would give it to a thread."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it raises belongs to who waits for it
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        runnable = self._runnable
        while not self._stopping:
            if not runnable:
                self._advance()
                continue
            place = 0 if len(runnable) == 1 or self.choose is None else self.choose(runnable)
            lane = runnable[place]
            ready = lane.ready
            handle = ready.popleft()
            if not ready:
                del runnable[place]
            elif len(runnable) > 1:
                del runnable[place]
                runnable.append(lane)
            if handle._cancelled:
                continue
            self.ticks += 1
            if self.ticks - self._instant_began > INSTANT_MAX:
                self._instant_began = self.ticks
                raise Livelock(lane.name, self._now, INSTANT_MAX, _ran(handle))
            try:
                handle._context.run(handle._callback, *handle._args)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - what a callback raises ends no loop
                self._hear_of(error, handle)

    def _hear_of(self, error: BaseException, handle: Any) -> None:
        """Report to the exception handler, as asyncio's handles do."""
        what = {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
        self.call_exception_handler(what)

    # What a world does with lanes and time.

    def context(self, lane: Lane) -> Context:
        """Return a context whose callbacks belong to a lane."""
        self._lanes.append(lane)
        context = copy_context()
        context.run(LANE.set, lane)
        return context

    def kill(self, lane: Lane) -> None:
        """Run nothing of a lane any more, neither what it had to run nor what it will have."""
        lane.dead = True
        if lane in self._runnable:
            self._runnable.remove(lane)

    def pause(self, lane: Lane) -> None:
        """Pause a lane until it is resumed."""
        lane.paused = True
        if lane in self._runnable:
            self._runnable.remove(lane)

    def resume(self, lane: Lane) -> None:
        """Resume a paused lane, with all that became ready meanwhile."""
        lane.paused = False
        if lane.ready and not lane.dead and lane not in self._runnable:
            self._runnable.append(lane)

    def shift(self, lanes: set[Lane], seconds: float) -> None:
        """Move all timers of these lanes so many seconds later, but for those that handlers left there."""
        moved: list[tuple[float, int, _Timer]] = []
        for when, sequence, timer in self._timers:
            if _is_idle(timer):
                continue
            if timer.lane in lanes and timer.own:
                moved.append((when + seconds, sequence, timer))
            else:
                moved.append((when, sequence, timer))
        heapify(moved)
        self._timers = moved

    def soonest(self) -> dict[Lane, float]:
        """Return when the next timer of each lane rings; what handlers left counts as the world's."""
        found: dict[Lane, float] = {}
        for when, _, timer in self._timers:
            if not _is_idle(timer):
                lane = timer.lane if timer.own else self.root
                if when < found.get(lane, inf):
                    found[lane] = when
        return found

    def leave(self) -> None:
        """End the world: cancel every task, those of dead nodes too, in the order of their making.

        What their ``finally`` blocks do reaches nobody any more.
        """
        self.leaving = True
        self._stopping = False  # what ended the world may have asked for it while nothing ran
        # A task whose wake-up was dropped with its node can't even be cancelled until it has had it.
        self._runnable.clear()
        for lane in self._lanes:
            left = list(lane.ready)
            lane.ready.clear()
            for handle in left:
                self._put(self.root, handle)
        for _ in range(20):
            pending = [task for task in self._tasks if not task.done()]
            if not pending:
                break
            for task in pending:
                task.cancel()
            self._instant_began = self.ticks
            with suppress(Livelock):  # what goes round in circles even now is left to itself
                self.run_until_complete(self._settle())
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
            elif not task.cancelled():
                task.exception()
        self._tasks.clear()
        self._timers.clear()

    async def _settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
            if not self._runnable:
                return

    def _put(self, lane: Lane, handle: asyncio.Handle) -> None:
        if self.leaving:
            lane = self.root
        ready = lane.ready
        if not ready and not lane.paused and not lane.dead:
            self._runnable.append(lane)
        ready.append(handle)

    def _advance(self) -> None:
        """Advance time to the next timer, and make ready all that are due."""
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
                self._put(timer.lane, timer)


def _is_idle(timer: _Timer) -> bool:
    """Return whether a timer would do nothing, since it was cancelled or its lane is dead."""
    return timer._cancelled or timer.lane.dead


def _ran(handle: asyncio.Handle) -> str:
    """Return the name of what a handle runs: of a task, its coroutine."""
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


for _name in (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recvfrom",
    "sock_sendall",
    "sock_sendto",
    "subprocess_exec",
    "subprocess_shell",
):
    setattr(VirtualLoop, _name, _outside(_name))

# Every future asks its loop for this; a function of the interpreter's own answers sooner than one in Python.
setattr(VirtualLoop, "get_debug", bool)  # noqa: B010
