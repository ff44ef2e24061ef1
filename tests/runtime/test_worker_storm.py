"""Workers under random faults: calls are cut or delayed, and workers start and stop, as drawn from a seed.

What must hold afterwards: every job has its right outcome; a worker that was stopped while the storage
answered cost no job a retry; and no worker left a row or an asyncio task behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.runtime.workers.faulty import Faulty
from tests.runtime.workers.place import Place, turns
from zeke_queue.client.parts import parts_of
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.model import JobStatus
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.task.context import JobContext
from zeke_queue.worker import Worker

SEEDS = range(12)
STEPS = 40
CALLS = ("claim", "settle", "set_idle", "append_events", "get")
ALL_CALLS = (*CALLS, "heartbeat", "deregister")
ENDED = {JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED}
OPTIONS: dict[str, Any] = {"retry_limit": 50, "retry_delay": 0, "expire_in": 3600}


class Storm:
    """Workers on a storage that fails, and the actions on them.

    Args:
        seed: of all that is drawn.
        rough: whether leases may end, and workers be stopped while the storage is away.
    """

    def __init__(self, seed: int, *, rough: bool) -> None:
        self.draw = SeededEntropy(seed).stream("storm")
        self.rough = rough
        self.clock = FrozenClock()
        self.place = Place(clock=self.clock, storage=Faulty(self.clock))
        self.maintenance = Maintenance(parts_of(self.place.queue))
        self.workers: list[tuple[Worker, asyncio.Task[None]]] = []
        self.sent: list[UUID] = []
        self.cancelled: set[UUID] = set()
        task = self.place.catalog.task
        self.tasks = [
            task("quick", **OPTIONS)(self.quick),
            task("slow", **OPTIONS)(self.slow),
            task("limited", concurrency_limit=2, **OPTIONS)(self.slow),
        ]
        self.start()

    async def quick(self, n: int) -> int:
        return n

    async def slow(self, n: int, job: JobContext) -> int:
        job.progress(0.5)
        await self.clock.sleep(n * 0.3)
        return n

    def start(self) -> None:
        worker = self.place.worker(
            concurrency=self.draw.choice([1, 3, 10]), lease=15, heartbeat_interval=5, shutdown_timeout=5
        )
        self.workers.append((worker, asyncio.ensure_future(worker.run())))

    async def send(self) -> None:
        for _ in range(self.draw.choice([1, 2, 5, 30])):
            task, n = self.draw.choice(self.tasks), self.draw.randint(0, 9)
            self.sent.append(await self.place.send(task, n, delay=self.draw.choice([0, 0, 2])))

    async def cut(self) -> None:
        calls = ALL_CALLS if self.rough else CALLS
        self.place.storage.cut[self.draw.choice(calls)] = self.draw.choice(["before", "after"])

    async def mend(self) -> None:
        self.place.storage.mend()
        for waiting in (self.place.storage.late, self.place.storage.held):
            for event in waiting.values():
                event.set()
            waiting.clear()

    async def delay(self) -> None:
        if self.rough:
            waiting = self.draw.choice([self.place.storage.late, self.place.storage.held])
            waiting.setdefault(self.draw.choice(ALL_CALLS[:-1]), asyncio.Event())

    async def cancel(self) -> None:
        if self.sent:
            self.cancelled |= await self.place.storage.cancel([self.draw.choice(self.sent)])

    async def join(self) -> None:
        if len(self.workers) < 4:
            self.start()

    async def stop(self) -> None:
        worker, running = self.draw.choice(self.workers)
        how: Callable[[], object] = self.draw.choice(
            [worker.stop, partial(worker.stop, immediately=True), running.cancel]
        )
        if not self.rough:
            await self.mend()
        how()
        await self.go_on(lambda: self.rough or running.done())

    async def pass_time(self) -> None:
        self.clock.advance(self.draw.choice([0.01, 0.1, 0.5, 1, 4] + ([16] if self.rough else [])))
        if not self.rough:
            await turns(20)  # otherwise a worker would send heartbeats as rarely as a suspended process

    async def go_on(self, condition: Callable[[], bool], times: int = 2000) -> None:
        for number in range(times):
            if condition():
                return
            await turns(4)
            self.clock.advance(0.1)
            if number % 50 == 0:
                await self.maintenance.sweep()
        assert condition()

    async def rage(self) -> None:
        ways = [self.send, self.send, self.cut, self.cut, self.mend, self.delay, self.cancel]
        ways += [self.join, self.stop, self.pass_time, self.pass_time, self.pass_time]
        for _ in range(STEPS):
            await self.draw.choice(ways)()
            await turns(self.draw.choice([0, 1, 3, 20]))

    async def calm(self) -> None:
        """End all faults, wait until all jobs have ended, and end the workers."""
        await self.mend()
        self.start()
        await self.go_on(lambda: all(job.status in ENDED for job in self.place.storage.dump().jobs))
        for worker, _ in self.workers:
            worker.stop()
        await self.go_on(lambda: all(running.done() for _, running in self.workers))


@pytest.mark.nightly
async def test_every_job_has_its_outcome_after_any_faults() -> None:
    async def check(seed: int) -> None:
        before = asyncio.all_tasks()
        storm = Storm(seed, rough=True)
        await storm.rage()
        await storm.calm()
        jobs = storm.place.storage.dump().jobs
        assert len(jobs) == len(storm.sent)
        assert {job.id for job in jobs if job.status is not JobStatus.COMPLETED} == storm.cancelled
        await turns()
        assert asyncio.all_tasks() == before

    await check_each_async(SEEDS, check)


@pytest.mark.nightly
async def test_short_outages_and_orderly_stops_cost_no_retry() -> None:
    async def check(seed: int) -> None:
        storm = Storm(seed, rough=False)
        await storm.rage()
        await storm.calm()
        jobs = storm.place.storage.dump().jobs
        assert {job.id for job in jobs if job.status is not JobStatus.COMPLETED} == storm.cancelled
        assert {job.retry_count for job in jobs} == {0}
        assert await storm.place.storage.workers() == []

    await check_each_async(SEEDS, check)
