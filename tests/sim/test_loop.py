"""The loop: time is a number, order inside a run queue is asyncio's, and a dead node runs nothing."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context

import pytest

from tests.cases import check_each
from zeke_queue.system.waiting import start_detached
from zeke_sim.errors import Livelock, Outside, Stalled
from zeke_sim.loop.event_loop import HANDLER, RunQueue, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.leave()
    made.close()


def test_sleep_takes_virtual_time(loop: VirtualLoop) -> None:
    async def sleep() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert loop.run_until_complete(sleep()) == 86_400


def test_timers_run_in_order_of_time_and_creation(loop: VirtualLoop) -> None:
    heard: list[str] = []
    for name, at in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        loop.call_at(at, heard.append, name)
    loop.call_at(3.0, loop.stop)
    loop.run_forever()
    assert heard == ["first", "second", "late"]


def test_cancelled_timer_does_not_run(loop: VirtualLoop) -> None:
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


def _talk(loop: VirtualLoop, run_queues: list[RunQueue], heard: list[str]) -> None:
    """Give each run queue three callbacks, all ready at one instant."""
    for run_queue in run_queues:
        context = loop.context(run_queue)
        for number in range(3):
            loop.call_soon(heard.append, f"{run_queue.name}{number}", context=context)


def test_order_inside_a_run_queue_is_that_of_asyncio(loop: VirtualLoop) -> None:
    def check(choose: Callable[[Sequence[RunQueue]], int] | None) -> None:
        heard: list[str] = []
        loop.choose = choose
        _talk(loop, [RunQueue("a"), RunQueue("b"), RunQueue("c")], heard)
        loop.call_at(loop.time() + 1.0, loop.stop)
        loop.run_forever()
        assert len(heard) == 9
        for name in "abc":
            assert [one for one in heard if one[0] == name] == [f"{name}0", f"{name}1", f"{name}2"]

    check_each({"usual": None, "last": lambda queues: len(queues) - 1, "first": lambda _queues: 0}, check)


def test_run_queues_take_turns_by_default(loop: VirtualLoop) -> None:
    heard: list[str] = []
    _talk(loop, [RunQueue("a"), RunQueue("b")], heard)
    loop.call_at(1.0, loop.stop)
    loop.run_forever()
    assert heard == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_killed_run_queue_runs_nothing_not_even_finally(loop: VirtualLoop) -> None:
    ran: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
            ran.append("woken")
        finally:
            if not loop.leaving:
                ran.append("finally")

    run_queue = RunQueue("node")
    loop.create_task(work(), context=loop.context(run_queue))
    loop.call_at(0.5, loop.kill, run_queue)
    loop.call_at(9.0, loop.stop)
    loop.run_forever()
    assert ran == []


def test_task_killed_at_its_wake_up_is_cancelled_at_the_end() -> None:
    loop, ended = VirtualLoop(), list[str]()

    async def wait(event: asyncio.Event) -> None:
        try:
            await event.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def wake(event: asyncio.Event, run_queue: RunQueue) -> None:
        await asyncio.sleep(1)
        event.set()
        loop.kill(run_queue)
        loop.stop()

    event, run_queue = asyncio.Event(), RunQueue("node")
    loop.create_task(wait(event), context=loop.context(run_queue))
    loop.create_task(wake(event, run_queue))
    loop.run_forever()
    assert ended == []
    loop.leave()
    loop.close()
    assert ended == ["cancelled"]


def test_task_of_a_process_stays_in_it_in_any_context(loop: VirtualLoop) -> None:
    shared, run_queue, ran = Context(), RunQueue("node"), list[str]()
    other = VirtualLoop()
    foreign = other.context(RunQueue("of another run"))
    other.close()

    async def work(name: str) -> None:
        ran.append(f"{name} {loop.current.name} {HANDLER.get()}")
        await asyncio.sleep(2)
        ran.append(f"{name} goes on")

    async def start() -> None:
        HANDLER.set("handler")
        ways = {
            "shared": lambda work: loop.create_task(work, context=shared),
            "own": lambda work: shared.run(lambda: loop.create_task(work, context=shared)),
            "foreign": lambda work: loop.create_task(work, context=foreign),
            "within": lambda work: Context().run(loop.create_task, work),
            "detached": start_detached,
        }
        for name, way in ways.items():
            way(work(name))
        loop.call_later(2, ran.append, "timer goes on", context=Context())

    loop.create_task(start(), context=loop.context(run_queue))
    loop.call_at(1.0, loop.kill, run_queue)
    loop.call_at(9.0, loop.stop)
    loop.run_forever()
    assert ran == [
        "shared node handler",
        "own node None",
        "foreign node handler",
        "within node None",
        "detached node None",
    ]
    assert RunQueue not in map(type, shared.values())


def test_world_runs_between_callbacks_of_a_process_and_after_an_error(loop: VirtualLoop) -> None:
    context, seen = loop.context(RunQueue("node")), list[str]()
    loop.jump = lambda: seen.append(loop.current.name)

    def exit_world() -> None:
        raise SystemExit

    loop.call_later(1, seen.append, "callback", context=context)
    loop.call_later(2, exit_world, context=context)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert (seen, loop.current) == (["world", "callback", "world"], loop.root)


def test_resumed_run_queue_runs_what_was_due(loop: VirtualLoop) -> None:
    woken: list[float] = []

    async def work() -> None:
        await asyncio.sleep(1)
        woken.append(loop.time())

    run_queue = RunQueue("node")
    loop.create_task(work(), context=loop.context(run_queue))
    loop.call_at(0.5, loop.pause, run_queue)
    loop.call_at(7.0, loop.resume, run_queue)
    loop.call_at(8.0, loop.stop)
    loop.run_forever()
    assert woken == [7.0]


def test_ready_callbacks_of_stopped_run_queue_do_not_run(loop: VirtualLoop) -> None:
    def check(stop: Callable[[VirtualLoop, RunQueue], None]) -> None:
        heard: list[str] = []
        run_queue, other = RunQueue("node"), RunQueue("other")
        context = loop.context(run_queue)

        def begin() -> None:
            loop.call_soon(stop, loop, run_queue, context=loop.context(other))
            for word in ("before", "after"):
                loop.call_soon(heard.append, word, context=context)

        loop.call_at(loop.time() + 1.0, begin)
        loop.call_at(loop.time() + 2.0, loop.stop)
        loop.run_forever()
        assert heard == []

    check_each({"paused": VirtualLoop.pause, "killed": VirtualLoop.kill}, check)


def test_wait_without_end_is_reported(loop: VirtualLoop) -> None:
    with pytest.raises(Stalled, match="all tasks wait"):
        loop.run_until_complete(asyncio.Event().wait())


def test_livelock_is_reported_with_its_node(loop: VirtualLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again, context=loop.context(RunQueue("w1")))
    with pytest.raises(Livelock, match=r"one instant \(0.000 s\) on node w1: .* ran .*again"):
        loop.run_forever()


def test_only_shifted_run_queues_sleep_longer(loop: VirtualLoop) -> None:
    woken: dict[str, float] = {}
    shifted, other = RunQueue("shifted"), RunQueue("other")
    for run_queue in (shifted, other):
        loop.call_at(
            1.0,
            lambda run_queue=run_queue: woken.update({run_queue.name: loop.time()}),
            context=loop.context(run_queue),
        )
    loop.shift({shifted}, 10.0)
    loop.call_at(20.0, loop.stop)
    loop.run_forever()
    assert woken == {"other": 1.0, "shifted": 11.0}


def test_executors_run_inline(loop: VirtualLoop) -> None:
    async def compute(work: Callable[[], float]) -> float:
        return await asyncio.to_thread(work)

    assert loop.run_until_complete(compute(lambda: 6)) == 6
    assert loop.time() == 0
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(compute(lambda: 1 / 0))


def test_reaching_outside_fails_at_the_call(loop: VirtualLoop) -> None:
    async def connect() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    async def spawn() -> None:
        await asyncio.create_subprocess_exec("true")

    for reach in (connect, spawn):
        with pytest.raises(Outside, match="reaches outside of the simulation"):
            loop.run_until_complete(reach())


def test_time_does_not_stop_for_timers_of_a_killed_run_queue(loop: VirtualLoop) -> None:
    """``jump`` is called once an instant, and a killed run queue makes no instants."""
    run_queue = RunQueue("dead")
    instants: list[float] = []
    loop.call_at(1.0, instants.append, 0.0, context=loop.context(run_queue))
    loop.kill(run_queue)
    loop.jump = lambda: instants.append(loop.time())
    loop.call_at(3.0, loop.stop)
    loop.run_forever()
    assert instants == [0.0]
    assert loop.time() == 3.0


def test_task_that_was_killed_before_it_began_causes_no_warning() -> None:
    loop, run_queue = VirtualLoop(), RunQueue("w1")

    async def work() -> None:
        raise AssertionError("it never begins")

    async def killed() -> None:
        loop.create_task(work(), context=loop.context(run_queue))
        loop.kill(run_queue)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loop.run_until_complete(killed())
        loop.leave()
        loop.close()
        gc.collect()
    assert [str(one.message) for one in told] == []
