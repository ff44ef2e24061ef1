"""Threads for sync handlers.

They are daemons, unlike those of ``concurrent.futures``, which the interpreter joins when it ends: a
handler that never returns keeps its lane, but must not keep the worker's process from ending.
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
"""What a future refuses, or what would end the coroutine or the loop that waits instead of the job alone."""


class _Call(NamedTuple):
    """A function to run, and the future that waits for it on a loop."""

    function: Callable[[], Any]
    done: asyncio.Future[Any]


class _Pool:
    """Threads that take calls from one queue, until each is told by a None to end."""

    __slots__ = ("calls", "idle", "threads")

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self.threads = 0
        self.idle = 0


class Threads:
    """Threads that are made when needed and then kept: as many as callers ever waited at once."""

    def __init__(self) -> None:
        self._pool = _Pool()

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a function in a thread, in a copy of the caller's context, and return what it returns.

        The thread goes on if the caller is cancelled; what it returns then is dropped.
        """
        pool, copied = self._pool, copy_context()
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if pool.idle:
            pool.idle -= 1
        else:
            # Before the call is put where threads find it: if none can be had, it must not run later.
            name = f"zeke-handler-{pool.threads + 1}"
            threading.Thread(target=_serve, args=(pool,), name=name, daemon=True).start()
            pool.threads += 1
        pool.calls.put(_Call(lambda: copied.run(function), done))
        return await done

    def close(self) -> None:
        """End the threads that are idle, and each of the others once its handler returns."""
        for _ in range(self._pool.threads):
            self._pool.calls.put(None)
        # Those that are still busy are not counted on by who comes next.
        self._pool = _Pool()


def _serve(pool: _Pool) -> None:
    while (call := pool.calls.get()) is not None:
        result, error = None, None
        try:
            result = call.function()
        except BaseException as raised:  # noqa: BLE001 - whatever it raises belongs to who waits for it
            error = RuntimeError(repr(raised)) if isinstance(raised, _NOT_FOR_LOOPS) else raised
        try:
            call.done.get_loop().call_soon_threadsafe(_deliver, pool, call.done, result, error)
        except RuntimeError:
            return  # the loop is closed, so nobody waits any more


def _deliver(pool: _Pool, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    pool.idle += 1
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
