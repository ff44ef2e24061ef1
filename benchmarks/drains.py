"""Jobs a second: a worker that drains a queue, and the raw limit: the same statements, no worker around."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel

from zeke_queue import Catalog, Queue, Worker
from zeke_queue.model import Completed, QueueCapacity, WorkerInfo
from zeke_queue.system.settings import Settings

if TYPE_CHECKING:
    from zeke_queue.storage.postgres import PostgresStorage

SLOTS = 100
BATCH = 500


class Item(BaseModel):
    """The payload of a small job."""

    n: int


class Counter:
    """A catalog with one small task that returns a result; it records when the given number has run.

    Args:
        jobs: how many until ``done`` is set.
        before: how many until the clock is read for the first time.
    """

    def __init__(self, jobs: int, before: int = 0) -> None:
        self.ran = 0
        self.done = asyncio.Event()
        self.seconds = 0.0
        self.catalog = Catalog()
        begun = 0.0

        @self.catalog.task("bench")
        async def bench(item: Item) -> dict[str, int]:
            nonlocal begun
            self.ran += 1
            if self.ran == before:
                begun = time.perf_counter()
            elif self.ran == jobs:
                self.seconds = time.perf_counter() - begun
                self.done.set()
            return {"n": item.n}


async def drain(storage: PostgresStorage, jobs: int) -> float:
    """Run a worker until it has handled and settled ``jobs`` of those that wait; returns jobs a second."""
    begun = time.perf_counter()
    await _work(storage, Counter(jobs))
    return jobs / (time.perf_counter() - begun)


async def steady(storage: PostgresStorage, jobs: int) -> float:
    """Return jobs a second between a tenth and nine tenths of ``jobs``, at which it stops.

    At the ends it makes a difference how many jobs there are beyond: the worker claims ahead of its handlers,
    and releases its jobs at the end.
    """
    counter = Counter(jobs * 9 // 10, before=jobs // 10)
    await _work(storage, counter)
    return (jobs * 9 // 10 - jobs // 10) / counter.seconds


async def _work(storage: PostgresStorage, counter: Counter) -> None:
    queue = Queue(counter.catalog, storage, settings=Settings.load(jobs_concurrency=SLOTS))
    worker = Worker(queue, concurrency=SLOTS)
    running = asyncio.create_task(worker.run())
    await counter.done.wait()
    worker.stop()
    await running


async def raw(storage: PostgresStorage, jobs: int, *, ways: int) -> float:
    """Claim and settle in batches of 500, with ``ways`` concurrent claimers; return jobs per second."""
    worker = UUID(int=1)
    await storage.heartbeat(WorkerInfo(id=worker, host="raw", pid=1, queues=("bench",), lease=3600.0))
    begun = time.perf_counter()
    settled = sum(await asyncio.gather(*(_claim_and_settle(storage, worker) for _ in range(ways))))
    seconds = time.perf_counter() - begun
    if settled != jobs:
        raise AssertionError(f"{settled} of {jobs} jobs were settled")
    await storage.deregister(worker)
    return settled / seconds


async def _claim_and_settle(storage: PostgresStorage, worker: UUID) -> int:
    """Claim until nothing waits, settling each batch while the next is claimed; returns how many."""
    settled = 0
    settling: asyncio.Task[set[UUID]] | None = None
    while claimed := await storage.claim(worker, [QueueCapacity("bench", BATCH)], BATCH):
        if settling is not None:
            settled += len(await settling)
        outcomes = [Completed(job.id, job.attempt, '{"n": 1}') for job in claimed]
        settling = asyncio.create_task(storage.settle(outcomes))
    return settled if settling is None else settled + len(await settling)
