"""Turns at a host: a limit of concurrent requests, a gap between them, and independence of hosts."""

from __future__ import annotations

import asyncio

import pytest

from tests.cases import each
from tests.clocks import FrozenClock
from tests.tasks.web.doubles import client
from zeke_queue.system.clock import SystemClock
from zeke_tasks.demo.site import Answer, LoopbackServer, Request
from zeke_tasks.fetch.politeness import Turns


class Visitors:
    def __init__(self, per_host: int, gap: float) -> None:
        self.starts: list[tuple[str, float]] = []
        self.clock = FrozenClock()
        self.turns = Turns(self.clock, per_host=per_host, gap=gap)

    async def visit(self, host: str) -> None:
        async with self.turns.turn(host):
            self.starts.append((host, self.clock.monotonic()))


async def settle() -> None:
    """Run every task until it waits for something."""
    for _ in range(50):
        await SystemClock().sleep(0)


async def test_neither_another_host_nor_a_visit_after_the_gap_waits() -> None:
    visitors = Visitors(per_host=1, gap=2.0)
    await visitors.visit("a")
    await visitors.visit("b")
    visitors.clock.advance(2.0)
    await visitors.visit("a")
    assert visitors.starts == [("a", 0.0), ("b", 0.0), ("a", 2.0)]


async def test_cancelled_waiter_frees_its_turn() -> None:
    visitors = Visitors(per_host=1, gap=5.0)
    await visitors.visit("a")
    waiting = asyncio.create_task(visitors.visit("a"))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    visitors.clock.advance(10.0)
    await visitors.visit("a")
    assert visitors.starts[-1] == ("a", 10.0)


async def test_idle_hosts_are_forgotten() -> None:
    clock = FrozenClock()
    turns = Turns(clock, per_host=1, gap=1.0)
    for number in range(3000):
        async with turns.turn(f"host{number}"):
            clock.advance(1.0)
    assert len(turns._hosts) <= 1000


async def test_hosts_in_use_are_not_forgotten() -> None:
    visitors = Visitors(per_host=1, gap=1.0)
    async with visitors.turns.turn("slow"):
        waiting = asyncio.create_task(visitors.visit("slow"))
        for number in range(1100):
            await visitors.visit(f"host{number}")
            visitors.clock.advance(1.0)
        again = asyncio.create_task(visitors.visit("slow"))
        await settle()
        assert "slow" not in dict(visitors.starts)
    await settle()
    visitors.clock.advance(1.0)
    await asyncio.gather(waiting, again)


class Gate:
    """Holds all requests until it is opened; counts them, and keeps when each came by the client's clock."""

    def __init__(self, clock: FrozenClock) -> None:
        self.came: list[float] = []
        self.inside = 0
        self.most = 0
        self._clock = clock
        self._open = asyncio.Event()
        self._changed = asyncio.Condition()

    async def answer(self, _: Request) -> Answer:
        async with self._changed:
            self.came.append(self._clock.monotonic())
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._changed.notify_all()
        await self._open.wait()
        self.inside -= 1
        return Answer(body=b"ok")

    async def until(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.came) >= count)

    def release(self) -> None:
        self._open.set()


async def passed(server: LoopbackServer) -> None:
    """Send requests directly and wait for the answers: all requests sent before have arrived by then."""
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /passer-by HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        await settle()


@each(1, 2, 3)
async def test_client_requests_at_one_host_are_limited(per_host: int) -> None:
    clock = FrozenClock()
    gate = Gate(clock)
    async with (
        _serve(gate) as server,
        client(clock=clock, per_host=per_host) as web,
        asyncio.TaskGroup() as group,
    ):
        fetches = [group.create_task(web.fetch(f"{server.base_url}/{n}", kind="page")) for n in range(8)]
        await gate.until(per_host)
        await passed(server)
        assert (len(gate.came), gate.inside) == (per_host, per_host)
        gate.release()
    assert [fetch.result().body for fetch in fetches] == [b"ok"] * 8
    assert (len(gate.came), gate.most) == (8, per_host)


async def test_client_requests_to_one_host_start_a_gap_apart() -> None:
    clock = FrozenClock()
    gate = Gate(clock)
    gate.release()
    async with (
        _serve(gate) as server,
        client(clock=clock, gap=2.0, per_host=5) as web,
        asyncio.TaskGroup() as group,
    ):
        for number in range(3):
            group.create_task(web.fetch(f"{server.base_url}/{number}", kind="page"))
        for count in (1, 2, 3):
            await gate.until(count)
            await passed(server)
            assert len(gate.came) == count
            clock.advance(1.0)
            await passed(server)
            assert len(gate.came) == count
            clock.advance(1.0)
    assert gate.came == [0.0, 2.0, 4.0]


async def test_redirect_waits_for_its_turn() -> None:
    clock = FrozenClock()
    came: list[tuple[str, float]] = []

    async def answer(request: Request) -> Answer:
        if request.path == "/passer-by":
            return Answer()
        came.append((request.path, clock.monotonic()))
        return Answer(status=302, headers=(("Location", "/next"),)) if request.path == "/" else Answer()

    async with LoopbackServer(answer) as server, client(clock=clock, gap=2.0) as web:
        fetch = asyncio.create_task(web.fetch(f"{server.base_url}/", kind="page"))
        while not came:
            await SystemClock().sleep(0)
        await passed(server)
        assert came == [("/", 0.0)]
        clock.advance(2.0)
        await fetch
    assert came == [("/", 0.0), ("/next", 2.0)]


async def test_waiting_for_a_turn_does_not_count_as_timeout() -> None:
    clock = FrozenClock()
    gate = Gate(clock)
    gate.release()
    async with _serve(gate) as server, client(clock=clock, gap=100.0, timeout=15.0) as web:
        await web.fetch(f"{server.base_url}/", kind="page")
        second = asyncio.create_task(web.fetch(f"{server.base_url}/", kind="page"))
        await passed(server)
        assert gate.came == [0.0]
        clock.advance(100.0)
        assert (await second).body == b"ok"
    assert gate.came == [0.0, 100.0]


def _serve(gate: Gate) -> LoopbackServer:
    async def answer(request: Request) -> Answer:
        return Answer() if request.path == "/passer-by" else await gate.answer(request)

    return LoopbackServer(answer)
