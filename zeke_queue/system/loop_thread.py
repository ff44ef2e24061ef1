"""Event loops in threads, for callers that block until a coroutine has returned."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AbstractAsyncContextManager

R = TypeVar("R")
V = TypeVar("V")

_JOIN_SECONDS: Final = 5.0


class LoopClosedError(RuntimeError):
    """The loop was closed before the coroutine returned."""


class LoopThread(Generic[V]):
    """An event loop in a daemon thread, with a resource that is open as long as the loop runs.

    A forked process does not inherit the thread, so it must not use this object.

    Args:
        resource: the block of the resource, which is entered and left on the loop.
        timeout: seconds that entering it may take; None for as long as it needs.

    Attributes:
        value: the value that the block yielded, for use on the loop.

    Raises:
        TimeoutError: the resource was not open in time, or raised it.
    """

    def __init__(
        self, name: str, resource: AbstractAsyncContextManager[V], timeout: float | None = None
    ) -> None:
        # The driver needs a selector loop, which is not the default on every platform.
        self._loop = asyncio.SelectorEventLoop()
        self._stopped = asyncio.Event()
        self._timeout = timeout
        self._closed = False
        # A coroutine that is scheduled after the loop's last step would never return.
        self._scheduling = threading.Lock()
        self._ended: Future[None] = Future()
        opened: Future[V] = Future()
        self._thread = threading.Thread(target=self._serve, args=(resource, opened), name=name, daemon=True)
        self._thread.start()
        try:
            self.value: Final = opened.result()
        except BaseException:
            self.close()
            raise

    def run(
        self, work: Coroutine[Any, Any, R], timeout: float | None = None, *, context: Context | None = None
    ) -> R:
        """Run a coroutine on the loop, and block until it returns.

        A caller that is interrupted or times out cancels the coroutine.

        Args:
            work: the coroutine.
            timeout: seconds to wait at most; None for as long as the coroutine needs.
            context: holds its variables; by default there are none, since tasks that the coroutine starts
                may outlive the caller.

        Raises:
            LoopClosedError: the loop was closed.
            TimeoutError: the coroutine has not returned in time, or raised it.
        """
        with self._scheduling:
            if self._closed:
                work.close()
                raise LoopClosedError
            done = (context or Context()).run(asyncio.run_coroutine_threadsafe, work, self._loop)
        try:
            return done.result(timeout)
        except CancelledError:
            raise LoopClosedError from None
        finally:
            done.cancel()

    def start(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Run a coroutine on the loop; return its future, whose cancellation cancels the coroutine.

        Raises:
            LoopClosedError: the loop was closed.
        """
        with self._scheduling:
            if self._closed:
                work.close()
                raise LoopClosedError
            return Context().run(asyncio.run_coroutine_threadsafe, work, self._loop)

    def stop(self) -> Future[None]:
        """Close the resource, cancel what still runs, and end the thread; return the future of its end."""
        with self._scheduling:
            if not self._closed and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._stopped.set)
            self._closed = True
        return self._ended

    def close(self) -> None:
        """Stop, as ``stop`` does, and wait for the end of the thread, 5 seconds at most."""
        self.stop()
        if threading.current_thread() is not self._thread:  # a finalizer may run in any thread
            self._thread.join(_JOIN_SECONDS)

    def _serve(self, resource: AbstractAsyncContextManager[V], opened: Future[V]) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._hold(resource, opened))
        finally:
            self._ended.set_result(None)

    async def _hold(self, resource: AbstractAsyncContextManager[V], opened: Future[V]) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._timeout):
                    value = await stack.enter_async_context(resource)
                opened.set_result(value)
                await self._stopped.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)


def run_now(work: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never suspends, without an event loop.

    Raises:
        RuntimeError: it suspended.
    """
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    work.close()
    raise RuntimeError("The coroutine suspended, which needs an event loop; await it there")
