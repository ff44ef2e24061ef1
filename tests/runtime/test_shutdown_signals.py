"""Signals: what becomes of the loops beside a worker, and of a process that is stuck."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO

import pytest

from tests.conformance.driver import soon
from tests.runtime.workers.faulty import faulty_place
from tests.runtime.workers.handler import Handler
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.errors import UsageError
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.worker import process_signals, run_until_signalled
from zeke_queue.worker.process_signals import run_worker


class IgnoresStop:
    """A loop beside a worker that only a cancellation ends."""

    def __init__(self) -> None:
        self.stopped = 0
        self.cancelled = 0

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def stop(self) -> None:
        self.stopped += 1


class Broken(IgnoresStop):
    """A loop next to a worker, which fails when it is cancelled."""

    async def run(self) -> None:
        try:
            await super().run()
        except asyncio.CancelledError:
            raise LookupError("half done") from None


async def test_second_signal_cancels_the_loops_beside_the_worker(place: Place) -> None:
    work, duty = Handler(place), IgnoresStop()
    running = asyncio.ensure_future(run_until_signalled(place.worker(shutdown_timeout=1000), [duty]))
    job_id = await work.begin()
    signal.raise_signal(signal.SIGTERM)
    await turns()
    assert (duty.cancelled, running.done()) == (0, False)
    signal.raise_signal(signal.SIGTERM)
    place.keep_advancing()
    await soon(running)
    assert (duty.cancelled, place.state(job_id)) == (1, RowState.CREATED)


async def test_exception_of_a_cancelled_loop_is_raised(place: Place) -> None:
    Handler(place)
    running = asyncio.ensure_future(run_until_signalled(place.worker(), [Broken()]))
    await until(place.asleep)
    signal.raise_signal(signal.SIGTERM)
    await turns()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(LookupError, match="half done"):
        await soon(running)


async def test_second_signal_ends_a_worker_whose_resources_do_not_open() -> None:
    opening = asyncio.Event()
    closed: list[str] = []

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        try:
            opening.set()
            await asyncio.Event().wait()
            yield
        finally:
            closed.append("what was open")

    place = faulty_place(Catalog(resources=resources))
    Handler(place)
    running = asyncio.ensure_future(run_until_signalled(place.worker(shutdown_timeout=1000), [IgnoresStop()]))
    await opening.wait()
    signal.raise_signal(signal.SIGTERM)
    await turns()
    assert not running.done()
    signal.raise_signal(signal.SIGTERM)
    await soon(running)
    assert closed == ["what was open"]


class Gone(StringIO):
    """A pipe whose reader went away."""

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("closed", [True, False])
async def test_stuck_process_ends_though_its_output_is_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, closed: bool
) -> None:
    started, go, codes = asyncio.Event(), asyncio.Event(), []

    @place.catalog.task("ignores-cancel")
    async def ignores_cancel() -> None:
        started.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    stream = StringIO() if closed else Gone()
    if closed:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(os, "_exit", codes.append)
    await place.send(ignores_cancel)
    running = asyncio.ensure_future(run_until_signalled(place.worker(shutdown_timeout=0)))
    await started.wait()
    signal.raise_signal(signal.SIGTERM)
    place.keep_advancing()
    await asyncio.wait([running])
    go.set()
    await running
    assert codes == [process_signals.STUCK_EXIT]


async def test_run_worker_works_until_a_signal_and_leaves_the_next_one_to_the_system(place: Place) -> None:
    work = Handler(place)
    running = asyncio.ensure_future(run_worker(place.queue, shutdown_timeout=1000))
    job_id = await work.begin()
    signal.raise_signal(signal.SIGTERM)
    await turns()
    assert not running.done(), "its job has time"
    work.go.set()
    await soon(running)
    assert place.state(job_id) is RowState.COMPLETED
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_run_worker_elsewhere_than_in_the_main_thread_starts_nothing(place: Place) -> None:
    Handler(place)

    async def run() -> list[str]:
        with pytest.raises(UsageError, match=r"main thread.*Worker\(queue\)\.run\(\)"):
            await run_worker(place.queue)
        return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert await asyncio.to_thread(asyncio.run, run()) == []
    assert place.storage.dump().workers == []


async def test_run_worker_on_a_loop_without_signals_starts_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    Handler(place)

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    before = asyncio.all_tasks()
    with pytest.raises(UsageError, match="main thread"):
        await run_worker(place.queue)
    assert asyncio.all_tasks() == before
    assert place.storage.dump().workers == []
