"""How soon a worker runs the jobs of tasks with a limit and of quick ones, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from typing import Any

import pytest

from tests.clocks import START
from tests.runtime.workers.place import Place
from zeke_queue import Catalog, Send
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop


def ended_after(
    jobs: dict[str, list[Send]],
    seconds: dict[str, float],
    round_trip: float,
    *,
    limit: int = 2,
    later: Sequence[tuple[float, Send]] = (),
) -> dict[str, float]:
    """Run jobs in one worker with ten pool tasks; return after how many seconds each task's last one ended.

    Args:
        jobs: the jobs of each task, in the order in which they are sent.
        seconds: how long a job of each task takes.
        round_trip: how long a call of the storage takes, in seconds.
        limit: how many jobs of "limited" run at once.
        later: jobs that are sent while the worker runs, and after how many seconds.
    """
    loop = VirtualLoop()
    clock = VirtualClock(loop, START)
    shares = cycle((0.6, 1.2, 0.8, 1.4, 1.0))  # jobs that all take the same time would end together
    ended: dict[str, float] = {}

    async def invoke(call: Call, made: Callable[[], Awaitable[Any]]) -> Any:
        if call.verb == "wait_for_jobs":
            return await made()
        await clock.sleep(round_trip / 2)
        answer = await made()
        await clock.sleep(round_trip / 2)
        return answer

    # The loop moves this clock, so the place's own means to advance a frozen one are not used.
    place = Place(Catalog(), clock, forward(MemoryStorage(clock), invoke))  # pyright: ignore[reportArgumentType]

    def add_task(name: str) -> None:
        @place.catalog.task(name, concurrency_limit=limit if name == "limited" else None)
        async def run() -> None:
            await clock.sleep(seconds[name] * next(shares))
            ended[name] = loop.time()

    async def work() -> dict[str, float]:
        for name in seconds:
            add_task(name)
        await place.queue.send_many([send for sends in jobs.values() for send in sends])
        began = loop.time()
        drained = asyncio.ensure_future(place.worker(concurrency=10).drain())
        for at, send in later:
            await clock.sleep(began + at - loop.time())
            await place.queue.send_many([send])
        await drained
        return {name: at - began for name, at in ended.items()}

    try:
        return loop.run_until_complete(work())
    finally:
        loop.leave()
        loop.close()


@pytest.mark.parametrize("seconds", [0.005, 0.05])
def test_urgent_jobs_with_a_limit_wait_for_one_quick_job_each_at_most(seconds: float) -> None:
    limited = [Send("limited", priority=1) for _ in range(50)]
    quick = [Send("quick") for _ in range(int(20 / seconds))]
    times = {"quick": seconds, "limited": 0.01}
    alone = ended_after({"limited": limited}, times, 0.002)["limited"]
    beside = ended_after({"quick": quick, "limited": limited}, times, 0.002)
    assert beside["limited"] < 1.2 * alone + 26 * seconds < beside["quick"]


def test_worker_with_tasks_of_both_kinds_claims_quick_jobs_ahead_from_a_slow_storage() -> None:
    jobs = {"quick": [Send("quick") for _ in range(300)], "limited": [Send("limited")]}
    assert ended_after(jobs, {"quick": 0.0001, "limited": 0.01}, round_trip=0.3)["quick"] < 2.0


def test_worker_with_tasks_of_both_kinds_claims_ahead_jobs_that_take_less_time_than_a_claim() -> None:
    jobs = {"quick": [Send("quick") for _ in range(2000)], "limited": [Send("limited")]}
    assert ended_after(jobs, {"quick": 0.003, "limited": 0.01}, round_trip=0.004)["quick"] < 0.75


def test_most_urgent_job_waits_a_second_of_claimed_work_though_limited_jobs_have_most_pool_tasks() -> None:
    jobs = {
        "quick": [Send("quick") for _ in range(1000)],
        "limited": [Send("limited", priority=3) for _ in range(60)],
    }
    times = {"quick": 0.02, "limited": 1.0, "urgent": 0.01}
    ended = ended_after(jobs, times, 0.002, limit=9, later=[(1.0, Send("urgent", priority=9))])
    assert ended["urgent"] < 1.0 + 1.3


def test_limited_jobs_run_before_less_urgent_quick_ones_beside_a_few_more_urgent() -> None:
    jobs = {
        "quick": [Send("quick") for _ in range(1500)],
        "limited": [Send("limited", priority=3) for _ in range(200)],
    }
    times = {"quick": 0.02, "limited": 0.02, "urgent": 0.02}
    urgent = [(number / 50, Send("urgent", priority=5)) for number in range(150)]
    ended = ended_after(jobs, times, 0.002, limit=5, later=urgent)
    assert ended["limited"] < 0.8 * ended["quick"]
