"""Waiting on a clock for a future: on a clock that only sleeps, and on that of a simulation."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.clocks import START, FrozenClock
from zeke_queue.system.clock import Clock, SystemClock, wait
from zeke_queue.system.waiting import end, first
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.leave()
    made.close()


async def _begun(clock: Clock, waiter: asyncio.Future[None], seconds: float) -> asyncio.Task[None]:
    waiting = asyncio.create_task(wait(clock, waiter, seconds))
    for _ in range(3):
        await SystemClock().sleep(0)
    return waiting


async def test_wait_on_a_sleeping_clock_ends_with_the_time() -> None:
    clock = FrozenClock(START)
    waiting = await _begun(clock, asyncio.get_running_loop().create_future(), 5.0)

    clock.advance(4.0)
    await SystemClock().sleep(0)
    assert not waiting.done()
    clock.advance(1.0)
    await waiting


async def test_wait_on_a_sleeping_clock_ends_with_its_future() -> None:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = await _begun(FrozenClock(START), waiter, 5.0)

    waiter.set_result(None)
    await waiting


async def test_exception_of_a_clock_is_raised() -> None:
    class Broken(SystemClock):
        async def sleep(self, seconds: float) -> None:
            raise OSError(f"no {seconds:g} s today")

    with pytest.raises(OSError, match="no 5 s today"):
        await wait(Broken(), asyncio.get_running_loop().create_future(), 5.0)


def test_wait_in_a_simulation_ends_with_its_future_and_leaves_no_timer(loop: VirtualLoop) -> None:
    waiter: asyncio.Future[None] = loop.create_future()
    loop.call_later(2.0, waiter.set_result, None)
    clock = VirtualClock(loop, datetime(2026, 1, 5, tzinfo=UTC))
    loop.run_until_complete(wait(clock, waiter, 5.0))
    assert loop.time() == 2.0
    assert loop.soonest() == {}


# Ending a task: it has ended when the call returns, and its exception is not reported


async def _fail() -> None:
    raise ValueError("its own business")


async def test_ended_task_has_run_its_cleanup() -> None:
    left: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append("cleaned up")

    task, began = asyncio.ensure_future(work()), asyncio.Event()
    asyncio.get_running_loop().call_soon(began.set)
    await began.wait()
    await end(task)
    assert task.cancelled()
    assert left == ["cleaned up"]


async def test_ending_a_finished_task_does_not_yield() -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    steps: list[str] = []
    asyncio.get_running_loop().call_soon(steps.append, "a step")
    await end(done)
    assert steps == []


async def test_exception_of_an_ended_task_is_not_reported_as_lost() -> None:
    reports: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    task = asyncio.ensure_future(_fail())
    await asyncio.wait([task])
    await end(task)
    del task
    gc.collect()
    assert reports == []


async def test_first_returns_the_result_of_the_first_to_end() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return "never"

    async def now() -> str:
        return "now"

    assert await first(now(), never()) == "now"


async def test_first_raises_the_exception_of_the_first_to_end() -> None:
    with pytest.raises(ValueError, match="its own business"):
        await first(_fail(), asyncio.Event().wait())
