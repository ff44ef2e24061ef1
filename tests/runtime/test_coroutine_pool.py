"""The coroutine pool, under any order of jobs, interruptions and turns of the loop.

What must hold: a cancellation reaches only its job, no pool task is lost, every job ends once, and no more
jobs run than there are pool tasks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import FrozenClock
from tests.runtime.workers.samples import QUEUE, leased
from zeke_queue.model import Completed
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.waiting import Waiter
from zeke_queue.worker.coroutine_pool import CoroutinePool
from zeke_queue.worker.leased_job import LeasedJob, Outcome
from zeke_queue.worker.state import WorkerState


@dataclass
class Script:
    """What a job does: how often it yields, and how it handles cancellation."""

    waits: int = 0
    ignores_cancel: bool = False
    cancels_itself: bool = False
    within_timeout: bool = False
    meets: asyncio.Barrier | None = None


@dataclass
class Seen:
    began: int = 0
    cancelled: int = 0
    ended: int = 0
    asked: int = 0


SCRIPTS = st.builds(
    Script,
    meets=st.none(),
    waits=st.integers(0, 4),
    ignores_cancel=st.booleans(),
    cancels_itself=st.sampled_from([False, False, True]),
    within_timeout=st.sampled_from([False, False, True]),
)
STEPS = st.lists(
    st.tuples(st.just("put"), SCRIPTS)
    | st.tuples(st.just("interrupt"), st.integers(0, 20))
    | st.tuples(st.just("turn"), st.integers(1, 4)),
    min_size=1,
    max_size=25,
)


class Stage:
    def __init__(self, size: int) -> None:
        self.size = size
        self.jobs: list[LeasedJob] = []
        self.scripts: dict[int, Script] = {}
        self.seen: dict[int, Seen] = {}
        self.running: set[int] = set()
        self.state = WorkerState({"work": QUEUE}, size, 1.0)
        self.pool = CoroutinePool(
            size, self.state, FrozenClock(), settle_soon=self.settle, wake_claims=Waiter()
        )

    async def attempt(self, job: LeasedJob) -> Outcome | None:
        number = job.claimed.id.int
        script, seen = self.scripts[number], self.seen[number]
        seen.began += 1
        self.running.add(number)
        assert len(self.running) <= self.size
        try:
            if script.within_timeout:
                async with asyncio.timeout(120):
                    await self.wait(script, seen)
            else:
                await self.wait(script, seen)
        except asyncio.CancelledError:
            seen.cancelled += 1
        if script.cancels_itself:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        self.running.remove(number)
        return Completed(job.claimed.id, 1, None)

    async def wait(self, script: Script, seen: Seen) -> None:
        if script.meets is not None:
            await script.meets.wait()
        for _ in range(script.waits):
            try:
                await SystemClock().sleep(0)
            except asyncio.CancelledError:
                if not script.ignores_cancel:
                    raise
                seen.cancelled += 1

    def settle(self) -> None:
        for job in self.state.batch(100):
            self.seen[job.claimed.id.int].ended += 1

    async def play(self, steps: list[tuple[str, Any]]) -> None:
        for what, how in steps:
            if what == "put":
                job = leased(len(self.jobs))
                self.jobs.append(job)
                self.scripts[job.claimed.id.int], self.seen[job.claimed.id.int] = how, Seen()
                put(self.state, [job])
                self.pool.start_soon()
            elif what == "interrupt" and how < len(self.jobs):
                job = self.jobs[how]
                before = job.reason
                for _ in self.state.interrupt(job, "expired", 1.0):
                    self.state.running[job].cancel()
                self.seen[how].asked += before is None and job.reason is not None
            elif what == "turn":
                for _ in range(how):
                    await SystemClock().sleep(0)
        for _ in range(400):
            await SystemClock().sleep(0)


def put(state: WorkerState, jobs: list[LeasedJob]) -> None:
    state.jobs.update(dict.fromkeys(jobs))
    state.ready.extend(jobs)


@given(st.integers(1, 3), STEPS)
async def test_interruption_reaches_only_its_job(size: int, steps: list[tuple[str, Any]]) -> None:
    stage = Stage(size)
    stage.pool.open(stage.attempt)
    await stage.play(steps)
    for seen in stage.seen.values():
        assert (seen.began, seen.ended) == (1, 1)
        assert seen.cancelled == seen.asked
    # Every task of the pool still serves: as many jobs as there are of them can meet.
    barrier = asyncio.Barrier(size)
    await stage.play([("put", Script(meets=barrier))] * size)
    assert [seen.ended for seen in stage.seen.values()] == [1] * len(stage.jobs)
    await stage.pool.close()


async def test_jobs_that_never_wait_share_the_loop() -> None:
    clock = FrozenClock()
    ran = most = 0

    async def attempt(job: LeasedJob) -> Outcome:
        nonlocal ran
        ran += 1
        clock.advance(0.001)
        return Completed(job.claimed.id, 1, None)

    state = WorkerState({"work": QUEUE}, 10, 1.0)
    pool = CoroutinePool(10, state, clock, settle_soon=lambda: None, wake_claims=Waiter())
    pool.open(attempt)
    put(state, [leased(number) for number in range(200)])
    pool.start_soon()
    while ran < 200:
        before = ran
        await SystemClock().sleep(0)
        most = max(most, ran - before)
    # One task of the pool runs jobs for 4 ms; each of the others begins one before its time is up, too.
    assert most <= 5 + 9
    await pool.close()


async def test_pool_task_whose_loop_is_gone_reports_no_failure() -> None:
    stage = Stage(1)
    stage.pool.open(stage.attempt)
    failure = asyncio.ensure_future(stage.pool.failure())
    await SystemClock().sleep(0)
    await SystemClock().sleep(0)
    (slot,) = stage.pool._slots
    assert slot.task is not None
    coroutine = slot.task.get_coro()
    assert coroutine is not None
    coroutine.close()  # as the garbage collector does
    await SystemClock().sleep(0)
    await SystemClock().sleep(0)
    assert not failure.done()
    for task in (slot.task, failure):
        task.cancel()
    await asyncio.gather(slot.task, failure, return_exceptions=True)
