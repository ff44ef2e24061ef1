"""Threads for sync handlers.

They are daemon threads, since the interpreter joins those of ``concurrent.futures`` on exit: a handler that
never returns keeps its slot, but must not keep the worker's process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_FOR_LOOPS: Final = (StopIteration, GeneratorExit, KeyboardInterrupt)
"""Exceptions that a future refuses, or that would end the waiting coroutine or the loop, not just the job."""


class _Call(NamedTuple):
    """A function to run, and the future of its result."""

    function: Callable[[], Any]
    done: asyncio.Future[Any]


class _Pool:
    """Threads that take calls from one queue; each ends when it takes a None."""

    __slots__ = ("calls", "idle", "threads")

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self.threads = 0
        self.idle = 0


class Threads:
    """Threads that are started on demand and kept: as many as the highest number of concurrent calls."""

    def __init__(self) -> None:
        self._pool = _Pool()

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a function in a thread, in a copy of the caller's context, and return its result.

        If the caller is cancelled the thread continues, and its result is dropped.
        """
        pool, copied = self._pool, copy_context()
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if pool.idle:
            pool.idle -= 1
        else:
            # Start a thread before queueing the call: if no thread can start, the call must not run later.
            name = f"zeke-handler-{pool.threads + 1}"
            threading.Thread(target=_serve, args=(pool,), name=name, daemon=True).start()
            pool.threads += 1
        pool.calls.put(_Call(lambda: copied.run(function), done))
        return await done

    def close(self) -> None:
        """End idle threads now, and each of the others once its handler returns."""
        for _ in range(self._pool.threads):
            self._pool.calls.put(None)
        # Threads that are still busy are not part of the new pool.
        self._pool = _Pool()


def _serve(pool: _Pool) -> None:
    while (call := pool.calls.get()) is not None:
        result, error = None, None
        try:
            result = call.function()
        except BaseException as raised:  # noqa: BLE001 - any exception is passed to the waiting caller
            error = RuntimeError(repr(raised)) if isinstance(raised, _NOT_FOR_LOOPS) else raised
        try:
            call.done.get_loop().call_soon_threadsafe(_deliver, pool, call.done, result, error)
        except RuntimeError:
            return  # the loop is closed, so no caller is waiting


def _deliver(pool: _Pool, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    pool.idle += 1
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
