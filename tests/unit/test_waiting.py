"""The waiters of ``system/waiting.py``: wake-ups are never lost, timers fire once and in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import FrozenClock
from zeke_queue.system.waiting import ChangeBuffer, DeadlineTimer, RateBudget, StoppableTimer, Waiter, end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

STEPS = st.lists(st.sampled_from(["notify", "wait", "cancel", "turn", "clear", "timeout"]), max_size=30)


async def turns(count: int = 4) -> None:
    """Give every task that is ready its turns."""
    for _ in range(count):
        await FrozenClock().sleep(0)


async def compare_with_a_flag(steps: Sequence[str], *, timed: bool) -> None:
    """Drive a Waiter and a model of it: a flag that ``notify`` sets and a completed wait clears."""
    clock, waiter, pending = FrozenClock(), Waiter(), False
    task: asyncio.Task[object] | None = None
    for step in steps:
        if step == "notify":
            waiter.notify()
            pending = True
        elif step == "clear" and task is None:
            waiter.clear()
            pending = False
        elif step == "wait" and task is None:
            task = asyncio.ensure_future(waiter.wait_for(1.0, clock) if timed else waiter.wait())
        elif step == "cancel" and task is not None:
            await end(task)
            task = None
        elif step == "timeout" and task is not None and timed and not pending:
            await turns()
            clock.advance(1.0)
            await turns()
            assert task.result() is False
            task = None
        elif step == "turn" and task is not None:
            await turns()
            assert task.done() == pending
            if pending:
                task, pending = None, False
    if task is not None:
        await end(task)
    assert await waiter.wait_for(0, clock) == pending


@given(STEPS)
def test_no_notification_is_lost_by_waits_that_end_or_are_cancelled(steps: list[str]) -> None:
    asyncio.run(compare_with_a_flag(steps, timed=False))


@given(STEPS)
def test_no_notification_is_lost_by_waits_with_a_time_limit(steps: list[str]) -> None:
    asyncio.run(compare_with_a_flag(steps, timed=True))


async def test_notification_survives_the_cancellation_of_the_wait_that_it_ended() -> None:
    waiter = Waiter()
    waiting = asyncio.ensure_future(waiter.wait())
    await turns()
    waiter.notify()
    waiting.cancel()
    await turns()
    assert waiting.cancelled()
    async with asyncio.timeout(120):
        await waiter.wait()


async def test_wait_of_zero_returns_whether_a_notification_is_pending() -> None:
    clock, waiter = FrozenClock(), Waiter()
    assert not await waiter.wait_for(0, clock)
    waiter.notify()
    assert await waiter.wait_for(0, clock)
    assert not await waiter.wait_for(-1, clock)


async def test_second_waiting_coroutine_is_refused() -> None:
    waiter = Waiter()
    waiting = asyncio.ensure_future(waiter.wait())
    await turns()
    with pytest.raises(RuntimeError, match="create one for each"):
        await waiter.wait()
    await end(waiting)


@given(st.lists(st.one_of(st.uuids(), st.sampled_from(["wait", "cancel", "wake"])), max_size=30))
def test_changes_are_returned_once_and_in_order(steps: list[UUID | str]) -> None:
    async def run() -> None:
        clock = FrozenClock()
        changes, added, returned = ChangeBuffer(clock), list[object](), list[object]()
        for step in steps:
            if step == "wait":
                returned += await changes.wait(0)
                assert returned == list(dict.fromkeys(added[: len(returned)])) or set(returned) == set(added)
            elif step == "cancel":
                waiting = asyncio.ensure_future(changes.wait(1.0))
                await end(waiting)
            elif step == "wake":
                changes.wake()
            elif step not in added[len(returned) :]:
                changes.add(step)  # pyright: ignore[reportArgumentType]
                added.append(step)
        assert returned + list(await changes.wait(0)) == added

    asyncio.run(run())


async def test_wake_ends_a_wait_for_changes_without_one() -> None:
    changes = ChangeBuffer(FrozenClock())
    waiting = asyncio.ensure_future(changes.wait(60))
    await turns()
    changes.wake()
    async with asyncio.timeout(120):
        assert await waiting == []


@given(st.lists(st.tuples(st.sampled_from(["set", "advance"]), st.integers(1, 9)), max_size=20))
def test_timer_fires_once_for_each_deadline_and_never_early_or_late(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        clock, fired = FrozenClock(), list[float]()
        due: list[float] = []

        def on_deadline(now: float) -> float | None:
            passed = [at for at in due if at <= now]
            assert passed, "the timer fired before any deadline"
            fired.extend(passed)
            due[:] = [at for at in due if at > now]
            return min(due, default=None)

        timer = DeadlineTimer(clock, on_deadline)
        for what, seconds in steps:
            now = clock.monotonic()
            if what == "set":
                due.append(now + seconds)
                timer.set(now + seconds)
                await turns()
            else:
                late = sum(at <= now + seconds for at in due)
                before = len(fired)
                clock.advance(seconds)
                await turns()
                assert len(fired) == before + late
        timer.cancel()
        await turns()
        clock.advance(1000)
        await turns()
        assert all(at <= clock.monotonic() - 1000 for at in fired)

    asyncio.run(run())


async def test_stopped_timer_ends_its_pause_and_takes_no_more() -> None:
    clock = FrozenClock()
    timer = StoppableTimer(clock)
    pausing = asyncio.ensure_future(timer.pause(60))
    await turns()
    assert not pausing.done()
    timer.stop()
    async with asyncio.timeout(120):
        await pausing
        await timer.pause(60)
    assert timer.stopped


async def test_pause_of_nothing_yields_to_other_tasks() -> None:
    timer, ran = StoppableTimer(FrozenClock()), list[str]()
    asyncio.get_running_loop().call_soon(ran.append, "another task")
    await timer.pause(0)
    assert ran


def test_budget_allows_a_burst_and_then_the_rate() -> None:
    clock = FrozenClock()
    budget = RateBudget(clock, rate=2.0, burst=3)
    assert [budget.take() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    clock.advance(60)
    assert [budget.take() for _ in range(4)] == [0, 0, 0, 0.5]
