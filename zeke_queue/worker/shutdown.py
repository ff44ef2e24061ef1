"""Ends a worker by signals, as the owner of a process does; a worker by itself listens to none."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from zeke_queue.system import logging as log
from zeke_queue.system.waiting import end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.worker.worker import Worker

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
STUCK_EXIT: Final = 70
"""Exit code when handlers did not end. Source: ``EX_SOFTWARE`` of sysexits.h."""


class Duty(Protocol):
    """A loop that runs beside a worker: a supervisor, a scheduler."""

    async def run(self) -> None:
        """Work until told to stop."""
        ...

    def stop(self) -> None:
        """End ``run`` soon."""
        ...


async def run_until_signalled(worker: Worker, beside: Sequence[Duty] = ()) -> None:
    """Run a worker, and loops beside it, until SIGTERM or SIGINT.

    The loops begin once the worker works: one that refuses to start, such as for want of a setting, leaves
    the database as it was.

    The first signal ends it gracefully; the second gives everything back at once, within a few seconds, and
    cuts the loops beside it short, or a start that takes its time; a third does what the system does by
    default. A handler that swallows even its cancellation would keep the event loop from closing for ever, so
    the process then exits from here, with code 70.

    Raises:
        Exception: what the worker or a loop beside it failed of; the others are stopped before.
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
            worker.abort()
            # Resources that do not open would keep the process for ever; there is nothing yet to give back.
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
        # A worker ends when it is told to; a duty that ends by itself has failed.
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


async def run_duty_until_signalled(duty: Duty) -> None:
    """Run one loop without a worker until SIGTERM or SIGINT; a second signal cuts it short.

    Raises:
        Exception: what the loop failed of.
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
    """Wait until the worker has begun, or ended before it did."""
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
        with suppress(OSError, ValueError):  # a reader that went away must not keep the process here
            stream.flush()
    os._exit(STUCK_EXIT)
