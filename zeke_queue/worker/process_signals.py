"""Shutdown by signals, for code that owns the process; a worker alone handles no signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import UsageError
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import end
from zeke_queue.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Unpack

    from zeke_queue.client.queue import Queue
    from zeke_queue.worker.duties import Loop
    from zeke_queue.worker.worker import WorkerOptions

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
STUCK_EXIT: Final = 70
"""Exit code if handlers did not end. Source: ``EX_SOFTWARE`` of sysexits.h."""


async def run_worker(queue: Queue, **options: Unpack[WorkerOptions]) -> None:
    """Run a worker until SIGTERM or SIGINT.

    The first signal stops it gracefully, the second one at once; a third one has the system's default effect.

    Args:
        queue: the queue whose jobs are run.
        **options: see ``WorkerOptions``.

    Raises:
        StorageError: the storage can't be used, for a reason other than a temporary outage.
        UsageError: an option is out of range, the catalog declares an invalid schedule, or signals can't be
            handled here.
    """
    await run_until_signalled(Worker(queue, **options))


async def run_until_signalled(worker: Worker, beside: Sequence[Loop] = ()) -> None:
    """Run a worker and additional loops until SIGTERM or SIGINT.

    The loops start once the worker has started: if it refuses to, for example because a setting is missing,
    the database is unchanged.

    The first signal shuts down gracefully. The second releases all jobs at once, within a few seconds, and
    cancels the loops, or a slow start. A third has the system's default effect. A handler that swallows even
    its cancellation would keep the event loop from closing forever, so the process then exits from here, with
    code 70.

    Raises:
        UsageError: signals can't be handled here.
        Exception: the error of the worker or of a loop; the others are stopped first.
    """
    begun = asyncio.Event()
    tasks: list[asyncio.Future[None]] = []

    def stop(*, repeated: bool) -> None:
        worker.stop(immediately=repeated)
        if repeated:
            # Resources that never open would keep the process alive, and there are no jobs to release yet.
            for task in tasks[1:] if begun.is_set() else tasks:
                task.cancel()

    with _handling_signals(stop):
        tasks.append(working := asyncio.ensure_future(worker.run(begun)))
        try:
            await _begins(working, begun)
            if not worker.stopping and not working.done():
                tasks += [asyncio.ensure_future(loop.run()) for loop in beside]
            # A worker ends only when stopped; a loop that ends on its own has failed.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            worker.stop()
            for loop in beside:
                loop.stop()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            if worker.stuck:
                _exit_now()
    _raise_first([result for result in ended if not isinstance(result, asyncio.CancelledError)])


async def run_loop_until_signalled(running: Loop) -> None:
    """Run one loop without a worker until SIGTERM or SIGINT; a second signal cancels it.

    Raises:
        UsageError: signals can't be handled here.
        Exception: the error of the loop.
    """
    tasks: list[asyncio.Future[None]] = []

    def stop(*, repeated: bool) -> None:
        running.stop()
        if repeated:
            for task in tasks:
                task.cancel()

    with _handling_signals(stop):
        tasks.append(asyncio.ensure_future(running.run()))
        await asyncio.wait(tasks)
    if not tasks[0].cancelled():
        tasks[0].result()


@contextmanager
def _handling_signals(stop: Callable[..., None]) -> Generator[None]:
    """Call ``stop(repeated=False)`` at the first signal, and ``stop(repeated=True)`` at the second."""
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def handle(number: signal.Signals) -> None:
        repeated = bool(received)
        received.append(number)
        hint = (
            None
            if repeated
            else "running jobs get JOBS_SHUTDOWN_TIMEOUT to end; signal again to stop at once"
        )
        log.get_logger().info("signal_received", signal=number.name, repeated=repeated, hint=hint)
        if repeated:
            _restore_signals(loop)
        stop(repeated=repeated)

    try:
        for number in SIGNALS:
            loop.add_signal_handler(number, handle, number)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"signals: must be handled in the main thread, by an event loop that supports it ({error});"
            " elsewhere run `Worker(queue).run()`, and end it by `worker.stop()`"
        ) from error
    try:
        yield
    finally:
        _restore_signals(loop)


def _restore_signals(loop: asyncio.AbstractEventLoop) -> None:
    for number in SIGNALS:
        loop.remove_signal_handler(number)


async def _begins(working: asyncio.Future[None], begun: asyncio.Event) -> None:
    """Wait until the worker has begun, or has ended before that."""
    beginning = asyncio.ensure_future(begun.wait())
    try:
        await asyncio.wait((working, beginning), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(beginning)


def _raise_first(ended: Sequence[Any]) -> None:
    for result in ended:
        if isinstance(result, BaseException):
            raise result


def _exit_now() -> None:
    log.get_logger().error("handlers_stuck", exitCode=STUCK_EXIT)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed pipe must not keep the process alive
            stream.flush()
    os._exit(STUCK_EXIT)
