"""Threads for sync handlers.

They are daemons, unlike those of ``concurrent.futures``, which the interpreter joins when it ends: a
handler that never returns keeps its lane, but must not keep the worker's process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class _Call(NamedTuple):
    """A function to run, and the future that waits for it on a loop."""

    function: Callable[[], Any]
    done: asyncio.Future[Any]


class Threads:
    """Threads that are made when needed and then kept: as many as callers ever waited at once."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads = 0
        self._idle = 0

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a function in a thread, in a copy of the caller's context, and return what it returns.

        The thread goes on if the caller is cancelled; what it returns then is dropped.
        """
        copied = copy_context()
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.put(_Call(lambda: copied.run(function), done))
        if self._idle:
            self._idle -= 1
        else:
            self._threads += 1
            name = f"zeke-handler-{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        return await done

    def close(self) -> None:
        """End the threads that are idle, and each of the others once its handler returns."""
        for _ in range(self._threads):
            self._calls.put(None)
        self._threads = self._idle = 0

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            result, error = None, None
            try:
                result = call.function()
            except BaseException as raised:  # noqa: BLE001 - whatever it raises belongs to who waits for it
                # A future refuses StopIteration, which would end the coroutine that awaits it instead.
                error = RuntimeError(repr(raised)) if isinstance(raised, StopIteration) else raised
            try:
                call.done.get_loop().call_soon_threadsafe(self._deliver, call.done, result, error)
            except RuntimeError:
                return  # the loop is closed, so nobody waits any more

    def _deliver(self, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._idle += 1
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)
