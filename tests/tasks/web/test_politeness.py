"""Turns at a host: so many at a time, a gap between them, and no host waits for another."""

from __future__ import annotations

import asyncio

import pytest

from tests.clocks import FrozenClock
from tests.tasks.web.doubles import client
from zeke_queue.clock import SystemClock
from zeke_tasks.demo_site import Answer, LoopbackServer, Request
from zeke_tasks.web.politeness import Turns


class Visitors:
    """Those who take a turn: when each started, and how many there were at a time."""

    def __init__(self, turns: Turns, clock: FrozenClock) -> None:
        self.starts: list[tuple[str, float]] = []
        self.inside = 0
        self.most = 0
        self._turns = turns
        self._clock = clock
        self._leave = asyncio.Event()

    async def visit(self, host: str, *, stay: bool = False) -> None:
        async with self._turns.turn(host):
            self.starts.append((host, self._clock.monotonic()))
            self.inside += 1
            self.most = max(self.most, self.inside)
            if stay:
                await self._leave.wait()
            self.inside -= 1

    def leave(self) -> None:
        self._leave.set()


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(50):
        await SystemClock().sleep(0)


async def test_requests_to_one_host_start_a_gap_apart() -> None:
    clock = FrozenClock()
    visitors = Visitors(Turns(clock, per_host=5, gap=2.0), clock)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(visitors.visit("a"))
        for _ in range(6):
            await settle()
            clock.advance(1.0)
    assert visitors.starts == [("a", 0.0), ("a", 2.0), ("a", 4.0)]


async def test_only_so_many_are_at_one_host_at_a_time() -> None:
    clock = FrozenClock()
    visitors = Visitors(Turns(clock, per_host=2, gap=0.0), clock)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(visitors.visit("a", stay=True))
        await settle()
        assert visitors.inside == 2
        visitors.leave()
    assert (len(visitors.starts), visitors.most) == (5, 2)


async def test_one_host_does_not_wait_for_another() -> None:
    clock = FrozenClock()
    visitors = Visitors(Turns(clock, per_host=1, gap=60.0), clock)
    await visitors.visit("a")
    await visitors.visit("b")
    assert visitors.starts == [("a", 0.0), ("b", 0.0)]


async def test_after_a_pause_nobody_waits() -> None:
    clock = FrozenClock()
    visitors = Visitors(Turns(clock, per_host=1, gap=2.0), clock)
    await visitors.visit("a")
    clock.advance(2.0)
    await visitors.visit("a")
    assert visitors.starts == [("a", 0.0), ("a", 2.0)]


async def test_who_is_cancelled_while_waiting_frees_the_turn() -> None:
    clock = FrozenClock()
    visitors = Visitors(Turns(clock, per_host=1, gap=5.0), clock)
    await visitors.visit("a")
    waiting = asyncio.create_task(visitors.visit("a"))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    clock.advance(10.0)
    await visitors.visit("a")
    assert visitors.starts[-1] == ("a", 10.0)


async def test_hosts_that_nobody_waits_for_are_forgotten() -> None:
    clock = FrozenClock()
    turns = Turns(clock, per_host=1, gap=1.0)
    for number in range(3000):
        async with turns.turn(f"host{number}"):
            clock.advance(1.0)
    assert len(turns._hosts) <= 1000


async def test_a_client_takes_turns() -> None:
    most = inside = 0
    both = asyncio.Event()

    async def count(_: Request) -> Answer:
        nonlocal most, inside
        inside += 1
        most = max(most, inside)
        if inside == 2:
            both.set()
        await both.wait()
        inside -= 1
        return Answer()

    async with LoopbackServer(count) as server, client() as web, asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(web.fetch(f"{server.base_url}/{number}", kind="page"))
    assert most == 2


async def test_waiting_for_a_turn_does_not_use_up_the_time() -> None:
    async def answer(_: Request) -> Answer:
        return Answer(body=b"ok")

    clock = FrozenClock()
    async with LoopbackServer(answer) as server, client(clock=clock, gap=100.0, timeout=15.0) as web:
        await web.fetch(f"{server.base_url}/", kind="page")
        second = asyncio.create_task(web.fetch(f"{server.base_url}/", kind="page"))
        await settle()
        clock.advance(100.0)
        assert (await second).body == b"ok"
