"""Jobs a second: a worker that drains a queue, and the raw limit: the same statements, no worker around."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel

from zeke_queue import Catalog, Queue, Worker
from zeke_queue.config import Settings
from zeke_queue.model import Completed, Want, WorkerInfo

if TYPE_CHECKING:
    from zeke_queue.storage.postgres import PostgresStorage

SLOTS = 100
BATCH = 500
WAYS = 3


class Item(BaseModel):
    """The payload of a small job."""

    n: int


class Counter:
    """A catalog with one small task that returns a result, and says when so many have run."""

    def __init__(self, jobs: int) -> None:
        self.left = jobs
        self.done = asyncio.Event()
        self.catalog = Catalog()

        @self.catalog.task("bench")
        async def bench(item: Item) -> dict[str, int]:
            self.left -= 1
            if self.left == 0:
                self.done.set()
            return {"n": item.n}


async def drain(storage: PostgresStorage, jobs: int) -> float:
    """Run a worker until it has handled and settled ``jobs`` of those that wait; returns jobs a second."""
    counter = Counter(jobs)
    queue = Queue(counter.catalog, storage, settings=Settings.load(jobs_concurrency=SLOTS))
    worker = Worker(queue, concurrency=SLOTS)
    begun = time.perf_counter()
    running = asyncio.create_task(worker.run())
    await counter.done.wait()
    worker.stop()
    await running
    return jobs / (time.perf_counter() - begun)


async def raw(storage: PostgresStorage, jobs: int) -> float:
    """Claim and settle in batches of 500, as many ways at once as serve best; returns jobs a second."""
    worker = UUID(int=1)
    await storage.beat(WorkerInfo(id=worker, host="raw", pid=1, queues=("bench",), lease=3600.0))
    begun = time.perf_counter()
    settled = sum(await asyncio.gather(*(_claim_and_settle(storage, worker) for _ in range(WAYS))))
    seconds = time.perf_counter() - begun
    if settled != jobs:
        raise AssertionError(f"{settled} of {jobs} jobs were settled")
    await storage.leave(worker)
    return settled / seconds


async def _claim_and_settle(storage: PostgresStorage, worker: UUID) -> int:
    """Claim until nothing waits, settling each batch while the next is claimed; returns how many."""
    settled = 0
    settling: asyncio.Task[set[UUID]] | None = None
    while claimed := await storage.claim(worker, [Want("bench", BATCH)], BATCH):
        if settling is not None:
            settled += len(await settling)
        outcomes = [Completed(job.id, job.attempt, '{"n": 1}') for job in claimed]
        settling = asyncio.create_task(storage.settle(outcomes))
    return settled if settling is None else settled + len(await settling)
