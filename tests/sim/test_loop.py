"""The loop: time is a number, order inside a lane is asyncio's, and a dead node runs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator

import pytest

from zeke_sim.errors import Livelock, Outside, Stalled
from zeke_sim.loop import Lane, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.leave()
    made.close()


def test_sleeping_takes_virtual_time_only(loop: VirtualLoop) -> None:
    async def sleep() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert loop.run_until_complete(sleep()) == 86_400


def test_timers_ring_in_the_order_of_their_times_and_then_of_their_making(loop: VirtualLoop) -> None:
    heard: list[str] = []
    for name, at in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        loop.call_at(at, heard.append, name)
    loop.call_at(3.0, loop.stop)
    loop.run_forever()
    assert heard == ["first", "second", "late"]


def test_a_cancelled_timer_does_not_ring(loop: VirtualLoop) -> None:
    heard: list[str] = []
    loop.call_later(1.0, heard.append, "cancelled").cancel()
    loop.call_later(2.0, loop.stop)
    loop.run_forever()
    assert heard == []


def test_timeouts_of_asyncio_work(loop: VirtualLoop) -> None:
    async def wait() -> None:
        async with asyncio.timeout(5):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        loop.run_until_complete(wait())
    assert loop.time() == 5


def _talk(loop: VirtualLoop, lanes: list[Lane], heard: list[str]) -> None:
    """Give each lane three callbacks, all ready at one instant."""
    for lane in lanes:
        context = loop.context(lane)
        for number in range(3):
            loop.call_soon(heard.append, f"{lane.name}{number}", context=context)


@pytest.mark.parametrize("choose", [None, lambda lanes: len(lanes) - 1, lambda _lanes: 0])
def test_inside_a_lane_the_order_is_that_of_asyncio(
    loop: VirtualLoop, choose: Callable[[object], int] | None
) -> None:
    heard: list[str] = []
    loop.choose = choose
    _talk(loop, [Lane("a"), Lane("b"), Lane("c")], heard)
    loop.call_at(1.0, loop.stop)
    loop.run_forever()
    assert len(heard) == 9
    for name in "abc":
        assert [one for one in heard if one[0] == name] == [f"{name}0", f"{name}1", f"{name}2"]


def test_lanes_take_turns_unless_somebody_chooses(loop: VirtualLoop) -> None:
    heard: list[str] = []
    _talk(loop, [Lane("a"), Lane("b")], heard)
    loop.call_at(1.0, loop.stop)
    loop.run_forever()
    assert heard == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_nothing_of_a_killed_lane_runs_not_even_a_finally(loop: VirtualLoop) -> None:
    ran: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
            ran.append("woken")
        finally:
            if not loop.leaving:
                ran.append("finally")

    lane = Lane("node")
    loop.create_task(work(), context=loop.context(lane))
    loop.call_at(0.5, loop.kill, lane)
    loop.call_at(9.0, loop.stop)
    loop.run_forever()
    assert ran == []


def test_a_task_that_was_killed_as_it_was_woken_can_be_cancelled_at_the_end() -> None:
    loop, ended = VirtualLoop(), list[str]()

    async def wait(event: asyncio.Event) -> None:
        try:
            await event.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def wake(event: asyncio.Event, lane: Lane) -> None:
        await asyncio.sleep(1)
        event.set()
        loop.kill(lane)
        loop.stop()

    event, lane = asyncio.Event(), Lane("node")
    loop.create_task(wait(event), context=loop.context(lane))
    loop.create_task(wake(event, lane))
    loop.run_forever()
    assert ended == []
    loop.leave()
    loop.close()
    assert ended == ["cancelled"]


def test_a_paused_lane_goes_on_with_all_that_was_due(loop: VirtualLoop) -> None:
    woken: list[float] = []

    async def work() -> None:
        await asyncio.sleep(1)
        woken.append(loop.time())

    lane = Lane("node")
    loop.create_task(work(), context=loop.context(lane))
    loop.call_at(0.5, loop.pause, lane)
    loop.call_at(7.0, loop.resume, lane)
    loop.call_at(8.0, loop.stop)
    loop.run_forever()
    assert woken == [7.0]


@pytest.mark.parametrize("stop", [VirtualLoop.pause, VirtualLoop.kill])
def test_what_a_lane_was_about_to_run_does_not_run_once_it_stands_still(
    loop: VirtualLoop, stop: Callable[[VirtualLoop, Lane], None]
) -> None:
    heard: list[str] = []
    lane, other = Lane("node"), Lane("other")
    context = loop.context(lane)

    def begin() -> None:
        loop.call_soon(stop, loop, lane, context=loop.context(other))
        for word in ("before", "after"):
            loop.call_soon(heard.append, word, context=context)

    loop.call_at(1.0, begin)
    loop.call_at(2.0, loop.stop)
    loop.run_forever()
    assert heard == []


def test_what_nobody_will_ever_wake_is_told(loop: VirtualLoop) -> None:
    with pytest.raises(Stalled, match="everybody waits"):
        loop.run_until_complete(asyncio.Event().wait())


def test_what_goes_round_at_one_instant_is_told_with_its_node(loop: VirtualLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again, context=loop.context(Lane("w1")))
    with pytest.raises(Livelock, match=r"one instant \(0.000 s\) on node w1: .* ran .*again"):
        loop.run_forever()


def test_shifted_lanes_sleep_longer_and_the_others_do_not(loop: VirtualLoop) -> None:
    woken: dict[str, float] = {}
    shifted, other = Lane("shifted"), Lane("other")
    for lane in (shifted, other):
        loop.call_at(
            1.0, lambda lane=lane: woken.update({lane.name: loop.time()}), context=loop.context(lane)
        )
    loop.shift({shifted}, 10.0)
    loop.call_at(20.0, loop.stop)
    loop.run_forever()
    assert woken == {"other": 1.0, "shifted": 11.0}


def test_executors_run_inline(loop: VirtualLoop) -> None:
    async def compute() -> int:
        return await asyncio.to_thread(sum, [1, 2, 3])

    assert loop.run_until_complete(compute()) == 6
    assert loop.time() == 0


def test_what_an_executor_raises_is_raised(loop: VirtualLoop) -> None:
    async def compute() -> float:
        return await asyncio.to_thread(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(compute())


async def _connect() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _spawn() -> None:
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize("reach", [_connect, _spawn])
def test_reaching_outside_is_refused_where_it_is_tried(
    loop: VirtualLoop, reach: Callable[[], Coroutine[None, None, None]]
) -> None:
    with pytest.raises(Outside, match="reaches outside of the simulation"):
        loop.run_until_complete(reach())
