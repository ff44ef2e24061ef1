"""Waiting on a clock for a future: on a clock that only sleeps, and on that of a simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.clocks import START, FrozenClock
from zeke_queue.system.clock import Clock, SystemClock, wait
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


def test_wait_in_a_simulation_ends_with_the_time(loop: VirtualLoop) -> None:
    clock = VirtualClock(loop, datetime(2026, 1, 5, tzinfo=UTC))
    loop.run_until_complete(wait(clock, loop.create_future(), 5.0))
    assert loop.time() == 5.0


def test_wait_in_a_simulation_ends_with_its_future_and_leaves_no_timer(loop: VirtualLoop) -> None:
    waiter: asyncio.Future[None] = loop.create_future()
    loop.call_later(2.0, waiter.set_result, None)
    clock = VirtualClock(loop, datetime(2026, 1, 5, tzinfo=UTC))
    loop.run_until_complete(wait(clock, waiter, 5.0))
    assert loop.time() == 2.0
    assert loop.soonest() == {}
