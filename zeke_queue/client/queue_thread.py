"""The async queue behind a ``SyncQueue``, on an event loop in its own thread."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import StorageUnavailableError, UsageError
from zeke_queue.system.loop_thread import LoopClosedError, LoopThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from contextvars import Context

    from zeke_queue.client.parts import Parts
    from zeke_queue.client.queue import Queue

T = TypeVar("T")

CALL_TIMEOUT: Final = 60.0
"""Seconds after which a call times out; three tries of an unreachable server take less."""


class QueueThread:
    """A queue that is opened by the first call which needs it.

    Each process has its own: a forked one has neither the thread of its parent nor a right to its
    connections, which stay referenced here so that they are not closed.

    Args:
        open_queue: makes the block in which the queue is open.
    """

    def __init__(self, open_queue: Callable[[], AbstractAsyncContextManager[Queue]]) -> None:
        self._open_queue = open_queue
        self._closed = False
        self._processes: dict[int, _Process] = {}

    def run(
        self,
        work: Callable[[Queue], Coroutine[Any, Any, T]],
        timeout: float | None = CALL_TIMEOUT,
        *,
        context: Context | None = None,
    ) -> T:
        """Run a coroutine of the queue, and block until it returns.

        Args:
            work: makes the coroutine.
            timeout: seconds to wait at most; None for as long as the coroutine needs.
            context: holds the coroutine's variables; by default there are none.

        Raises:
            UsageError: an event loop runs in this thread, or the queue was closed.
            StorageUnavailableError: there was no answer in time, or the queue was closed meanwhile.
        """
        check_no_loop()
        thread = self._thread()
        try:
            return thread.run(work(thread.value), timeout, context=context)
        except LoopClosedError:
            raise StorageUnavailableError(
                "The queue was closed during the call, which may have taken effect; open another one and"
                " check"
            ) from None
        except TimeoutError:
            if timeout is None:
                raise
            raise StorageUnavailableError(
                f"The call was given up after {timeout:g} s without an answer, and may have taken effect. If "
                "it happens again, find the session that holds locks in the database"
            ) from None

    def open(self) -> None:
        """Open the queue, if it is not open.

        Raises:
            UsageError: an event loop runs in this thread, or the queue was closed.
            ZekeError: as for ``Queue.connect``.
        """
        self.run(_nothing)

    def parts(self) -> Parts:
        """Return the parts of the open queue, to a coroutine on its loop."""
        thread = self._processes[os.getpid()].thread
        if thread is None:
            raise UsageError("The queue is not open; use it inside its block")
        return parts_of(thread.value)

    def close(self) -> None:
        """Close the queue permanently; calls that wait for it end with an error."""
        self._closed = True
        process = self._processes.get(os.getpid())
        if process is not None:
            with process.opening:
                if process.thread is not None:
                    process.thread.close()

    def _thread(self) -> LoopThread[Queue]:
        process = self._processes.setdefault(os.getpid(), _Process())
        # While the database is down, threads try one after the other, and the last would wait for all.
        if not process.opening.acquire(timeout=CALL_TIMEOUT):
            raise _not_opened()
        try:
            if self._closed:
                raise UsageError("The queue was closed; open another one")
            if process.thread is None:
                process.thread = LoopThread("zeke-sync-queue", self._open_queue(), CALL_TIMEOUT)
                weakref.finalize(self, _close, process.thread, os.getpid())  # also when the program ends
        except TimeoutError:
            raise _not_opened() from None
        else:
            return process.thread
        finally:
            process.opening.release()


class _Process:
    """What one process has opened."""

    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.thread: LoopThread[Queue] | None = None


def check_no_loop() -> None:
    """Check that the calling thread may be blocked.

    Raises:
        UsageError: an event loop runs in it.
    """
    if asyncio._get_running_loop() is not None:
        raise UsageError(
            "A SyncQueue blocks its thread, in which an event loop runs: use a Queue, and await it; or call "
            "this in a thread, with asyncio.to_thread"
        )


def _not_opened() -> StorageUnavailableError:
    return StorageUnavailableError(
        f"The queue could not be opened within {CALL_TIMEOUT:g} s. Check that the database answers"
    )


def _close(thread: LoopThread[Any], pid: int) -> None:
    if os.getpid() == pid:
        thread.close()


async def _nothing(queue: Queue) -> None:
    pass
