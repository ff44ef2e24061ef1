"""Shutdown by signals, for code that owns the process; a worker by itself handles no signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from zeke_queue.client.parts import parts_of
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import end
from zeke_queue.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from zeke_queue.client.queue import Queue
    from zeke_queue.worker.worker import WorkerOptions

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
STUCK_EXIT: Final = 70
"""Exit code if handlers did not end. Source: ``EX_SOFTWARE`` of sysexits.h."""


class Duty(Protocol):
    """A loop that runs beside a worker, such as a supervisor or a scheduler."""

    async def run(self) -> None:
        """Work until stopped."""
        ...

    def stop(self) -> None:
        """Make ``run`` return soon."""
        ...


async def run_until_signalled(worker: Worker, beside: Sequence[Duty] = ()) -> None:
    """Run a worker, and loops beside it, until SIGTERM or SIGINT.

    The loops start once the worker has started: if it refuses to, for example because a setting is missing,
    the database is unchanged.

    The first signal shuts down gracefully. The second releases all jobs at once, within a few seconds, and
    cancels the loops, or a slow start. A third has the system's default effect. A handler that swallows even
    its cancellation would keep the event loop from closing forever, so the process then exits from here, with
    code 70.

    Raises:
        Exception: the error of the worker or of a loop; the others are stopped first.
    """
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()
    duties: list[asyncio.Future[None]] = []

    def hear(number: signal.Signals) -> None:
        log.get_logger().info(
            "signal_received",
            signal=number.name,
            again=worker.stopping,
            hint=None if worker.stopping else "running jobs get their grace; signal again to stop at once",
        )
        if worker.stopping:
            worker.stop(immediately=True)
            # Resources that never open would keep the process alive, and there are no jobs to release yet.
            for part in duties if begun.is_set() else (working,):
                part.cancel()
            _stop_hearing(loop)
        else:
            worker.stop()

    working = asyncio.ensure_future(worker.run(begun))
    for number in SIGNALS:
        loop.add_signal_handler(number, hear, number)
    try:
        await _begins(working, begun)
        if not worker.stopping and not working.done():
            duties += [asyncio.ensure_future(duty.run()) for duty in beside]
        # A worker ends only when stopped; a loop that ends by itself has failed.
        await asyncio.wait((working, *duties), return_when=asyncio.FIRST_COMPLETED)
    finally:
        worker.stop()
        for duty in beside:
            duty.stop()
        ended = await asyncio.gather(working, *duties, return_exceptions=True)
        _stop_hearing(loop)
        if worker.stuck:
            _exit_now()
    _raise_first([result for result in ended if not _cut_short(result)])


async def run_worker(
    queue: Queue, *, maintenance: bool = True, schedules: bool = True, **options: Unpack[WorkerOptions]
) -> None:
    """Run a worker until SIGTERM or SIGINT, with everything that its jobs need.

    Args:
        queue: the queue whose jobs are run.
        maintenance: whether to rescue jobs of dead workers, archive and purge.
        schedules: whether to serve schedules.
        **options: see ``WorkerOptions``.

    Raises:
        StorageError: the storage can't be used, for a reason other than a temporary outage.
        UsageError: an option is out of range, or the catalog declares an invalid schedule.
    """
    parts = parts_of(queue)
    beside: list[Duty] = []
    if maintenance:
        beside.append(Maintenance(parts))
    if schedules:
        beside.append(Scheduler(parts))
    await run_until_signalled(Worker(queue, **options), beside)


async def run_duty_until_signalled(duty: Duty) -> None:
    """Run one loop without a worker until SIGTERM or SIGINT; a second signal cancels it.

    Raises:
        Exception: the error of the loop.
    """
    loop = asyncio.get_running_loop()
    heard: list[signal.Signals] = []

    def hear(number: signal.Signals) -> None:
        log.get_logger().info("signal_received", signal=number.name, again=bool(heard))
        if heard:
            working.cancel()
            _stop_hearing(loop)
        heard.append(number)
        duty.stop()

    working = asyncio.ensure_future(duty.run())
    for number in SIGNALS:
        loop.add_signal_handler(number, hear, number)
    try:
        await asyncio.wait((working,))
    finally:
        _stop_hearing(loop)
    if not working.cancelled():
        working.result()


async def _begins(working: asyncio.Future[None], begun: asyncio.Event) -> None:
    """Wait until the worker has begun, or has ended before that."""
    beginning = asyncio.ensure_future(begun.wait())
    try:
        await asyncio.wait((working, beginning), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(beginning)


def _cut_short(result: Any) -> bool:
    return isinstance(result, asyncio.CancelledError)


def _raise_first(ended: Sequence[Any]) -> None:
    for result in ended:
        if isinstance(result, BaseException):
            raise result


def _stop_hearing(loop: asyncio.AbstractEventLoop) -> None:
    for number in SIGNALS:
        loop.remove_signal_handler(number)


def _exit_now() -> None:
    log.get_logger().error("handlers_stuck", exitCode=STUCK_EXIT)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed pipe must not keep the process alive
            stream.flush()
    os._exit(STUCK_EXIT)
