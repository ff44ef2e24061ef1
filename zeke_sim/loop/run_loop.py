"""Runs a virtual loop from inside another running loop, or from none."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from zeke_queue.errors import UsageError
from zeke_sim.errors import Stalled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Self

    from zeke_sim.loop.event_loop import VirtualLoop

__tracebackhide__ = True  # pytest then shows the test's own lines

T = TypeVar("T")


class Interruptible:
    """Records Ctrl-C in a block, and raises it at the next ``check`` if it was lost.

    Python drops exceptions that are raised in callbacks of weak references. A world runs such callbacks
    often, since its tasks end all the time.
    """

    def __init__(self) -> None:
        self._heard = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise a recorded Ctrl-C.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self._heard:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: Any) -> None:
        self._heard = True
        self._before(number, frame)


def drive(loop: VirtualLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a virtual loop until it ends, blocking the calling loop.

    Raises:
        UsageError: the coroutine waits for something that will never happen.
    """
    outer = asyncio._get_running_loop()
    task = _swap(outer, None)
    asyncio._set_running_loop(None)
    main = loop.create_task(work)
    try:
        return loop.run_until_complete(main)
    except Stalled:
        raise UsageError(
            "This waits for something that never happens: nothing is left that could make it so. A job that "
            "is waited for may be held by a paused queue, or by a limit that another job fills"
        ) from None
    finally:
        if not main.done():
            main.cancel()
        asyncio._set_running_loop(outer)
        _swap(outer, task)


def _swap(
    outer: asyncio.AbstractEventLoop | None, task: asyncio.Task[Any] | None
) -> asyncio.Task[Any] | None:
    """Set the running task of the outer loop, since from 3.14 on there is one per thread, not per loop."""
    if outer is None or sys.version_info < (3, 12):
        return None
    swap = cast("Callable[..., Any]", getattr(asyncio.tasks, "_swap_current_task"))  # noqa: B009
    return swap(outer, task)
