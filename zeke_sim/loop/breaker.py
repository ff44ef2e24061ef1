"""Leaves a callback of an event loop in the middle, as a killed process does.

A callback runs in a greenlet of its own, on the thread of the loop. To leave it, the greenlet switches back
and is not resumed: no ``except``, ``finally`` or ``__aexit__`` has an effect. It is kept until the run ends,
since its frames would be unwound when it is collected.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any, Final

from greenlet import GreenletExit, greenlet

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable


class Breaker:
    """Runs callbacks in a greenlet of their own, which can be left in the middle of a callback.

    Args:
        run: runs a callback.
    """

    def __init__(self, run: Callable[[Any], None]) -> None:
        self._run = run
        self._inner: greenlet | None = None
        self._left: list[tuple[greenlet, asyncio.Task[Any] | None]] = []

    def run(self, handle: asyncio.Handle) -> None:
        """Run a callback until it returns, or is left."""
        inner = self._inner
        if inner is None:
            inner = self._inner = greenlet(self._serve)
        error = inner.switch(handle)
        if error is not None:
            raise error

    def _serve(self, handle: asyncio.Handle) -> None:
        """Run callbacks, one for each switch to this greenlet."""
        own = greenlet.getcurrent()
        while own is self._inner:
            error: BaseException | None = None
            try:
                self._run(handle)
            except BaseException as raised:  # noqa: BLE001 - raised again where the callback was started
                error = raised
            if own is not self._inner:
                return
            handle = _outer(own).switch(error)

    def leave(self, loop: AbstractEventLoop) -> None:
        """Leave the running callback for good.

        Raises:
            RuntimeError: no callback runs here.
        """
        own = greenlet.getcurrent()
        if own is not self._inner:
            raise RuntimeError("break_off: must be called in a callback of a node")
        self._left.append((own, _leave_task(loop)))
        self._inner = None
        _outer(own).switch(None)

    def abandon(self, loop: AbstractEventLoop) -> None:
        """Leave the running callback, and do not unwind it, since it does not end when it is cancelled."""
        own = greenlet.getcurrent()
        _abandoned.append(own)
        _leave_task(loop)
        if own is self._inner:
            self._inner = None
        _outer(own).switch(None)

    def unwind(self, loop: AbstractEventLoop) -> None:
        """End all callbacks that were left."""
        asyncio._set_running_loop(loop)
        try:
            with warnings.catch_warnings():
                # Killed code may have created coroutines and not awaited them yet.
                warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
                for left, task in self._left:
                    if task is not None:
                        asyncio.tasks._enter_task(loop, task)
                    left.throw(asyncio.CancelledError())
        finally:
            asyncio._set_running_loop(None)
        self._left.clear()

    def close(self) -> None:
        """End the greenlet that runs callbacks, which would keep the last one's frames."""
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.throw(GreenletExit)


_abandoned: Final[list[greenlet]] = []
"""Greenlets that must not be garbage-collected, since that would unwind their frames."""


def _leave_task(loop: AbstractEventLoop) -> asyncio.Task[Any] | None:
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio.tasks._leave_task(loop, task)
    return task


def _outer(inner: greenlet) -> greenlet:
    outer = inner.parent
    assert outer is not None  # noqa: S101 - only the first greenlet of a thread has none
    return outer
