"""Reports a handler that blocks the event loop, by name and with its current line.

A thread asks the loop for a sign of life twice within the limit. Without one it inspects the stack of the
loop's thread. It uses waits of the thread itself, in real time, so the simulator turns it off.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final

from zeke_queue.system import logging as log

if TYPE_CHECKING:
    from zeke_queue.worker.state import WorkerState

FRAMES_MAX: Final = 30


class Watchdog:
    """Watches the running loop from a thread.

    Args:
        limit: seconds without a sign of life after which it reports.
        state: the running jobs, each with its pool task.
    """

    def __init__(self, limit: float, state: WorkerState) -> None:
        self._limit = limit
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._over = threading.Event()
        self._alive = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="zeke-watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; the thread ends on its own."""
        self._over.set()
        self._alive.set()

    def _watch(self) -> None:
        while not self._over.wait(self._limit / 2):
            self._alive.clear()
            try:
                self._loop.call_soon_threadsafe(self._alive.set)
            except RuntimeError:
                return  # the loop is closed
            if not self._alive.wait(self._limit):
                self._report()
                self._alive.wait()

    def _report(self) -> None:
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        frame = frames.get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame, FRAMES_MAX)) if frame is not None else None
        task = asyncio.current_task(self._loop)
        running = list(self._state.running.items())  # one step, since the loop's thread changes it
        job = next((job for job, slot in running if slot.task is task), None)
        if job is None:
            # The task was made by a handler or by other code; if by a handler, it is one of those running.
            fields: dict[str, object] = {"running": sorted({other.queue.task for other, _ in running})}
        else:
            fields = {"taskId": job.queue.task, "jobId": str(job.claimed.id)}
        log.get_logger().error(
            "loop_blocked",
            **fields,
            seconds=self._limit,
            hint="use a sync handler (it gets a thread), or process=True for computations",
            stack=stack,
        )
