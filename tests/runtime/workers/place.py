"""The environment of the worker's tests: a queue, a worker on it, and waiting for its actions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import UUID

from tests.clocks import FrozenClock
from zeke_queue.client.queue import Queue
from zeke_queue.model import Job, RowState
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.worker import Worker

_CALM = {"watchdog": None, "lease": 1e9, "heartbeat_interval": 1e8, "maintenance": False, "schedules": False}

PATIENCE = 120.0
"""Seconds of real time after which a test stops waiting."""


async def until(condition: Callable[[], Any]) -> None:
    """Run everything else until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        for turn in count():
            if condition():
                return
            # A wait of many turns is for something outside of this process, which needs the processor.
            await SystemClock().sleep(0 if turn < 500 else 0.001)


async def turns(number: int = 50) -> None:
    """Yield for some turns of the loop, in which certain events must not happen."""
    for _ in range(number):
        await SystemClock().sleep(0)


async def advance_until(condition: Callable[[], Any], clock: FrozenClock, step: float = 1.0) -> float:
    """Advance the time until a condition holds; returns by how much."""
    passed = 0.0
    while not condition():
        await turns(10)
        if condition():
            break
        clock.advance(step)
        passed += step
        assert passed < 10_000
    return passed


class Place:
    """The environment of a test of the worker, in memory unless it is given a storage."""

    def __init__(
        self, catalog: Catalog | None = None, clock: FrozenClock | None = None, storage: Any = None
    ) -> None:
        self.catalog = catalog or Catalog()
        self.clock = clock or FrozenClock()
        self.storage: Any = storage or MemoryStorage(self.clock)
        self.queue = Queue(
            self.catalog, self.storage, clock=self.clock, entropy=SeededEntropy(1), settings=Settings.load()
        )
        self._workers = 0

    def worker(self, **options: Any) -> Worker:
        """Make a worker without duties and watchdog, whose lease outlasts the test."""
        self._workers += 1
        entropy = SeededEntropy(100 + self._workers)
        return Worker(self.queue, **{**_CALM, "entropy": entropy, **options})

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[Worker]:
        """Run a worker during the block; jobs that still run at its end get no shutdown timeout."""
        async with contextlib.AsyncExitStack() as stack:
            worker = await stack.enter_async_context(self.worker(**options))
            stack.push_async_callback(self._end, worker)
            yield worker

    async def _end(self, worker: Worker) -> None:
        worker.stop(immediately=True)
        self.keep_advancing()

    async def advance(self, times: int, seconds: float = 1) -> None:
        """Advance time in steps, and yield some turns of the loop after each."""
        for _ in range(times):
            self.clock.advance(seconds)
            await turns()

    def keep_advancing(self) -> None:
        """Advance time with each turn of the loop, so that all waits for it end."""
        self._advancing = asyncio.ensure_future(self._advance_steadily())

    def stop_advancing(self) -> None:
        self._advancing.cancel()

    async def _advance_steadily(self) -> None:
        while True:
            await SystemClock().sleep(0.001)
            self.clock.advance(0.25)

    async def drain(self, **options: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.worker(**options).drain()

    async def send(self, task: Any, payload: Any = None, **options: Any) -> UUID:
        """Send a job that must not be refused."""
        run = await self.queue.send(task, payload, **options)
        assert run.created
        return run.id

    async def run_one(self, task: Any, payload: Any = None, **options: Any) -> Job:
        """Send a job, run due jobs, and return the job."""
        job_id = await self.send(task, payload, **options)
        await self.drain()
        return await self.job(job_id)

    async def job(self, job_id: UUID) -> Job:
        job = await self.queue.get(job_id)
        assert job is not None
        return job

    # Read the rows in memory, which needs no await and so has no effect.

    def state(self, job_id: UUID) -> RowState:
        return next(job.row_state for job in self._rows() if job.id == job_id)

    def active(self, name: str) -> int:
        return sum(job.name == name and job.row_state is RowState.ACTIVE for job in self._rows())

    def asleep(self) -> bool:
        """Return whether all workers are asleep, and there are some."""
        workers = self.storage.dump().workers
        return bool(workers) and all(worker.asleep for worker in workers)

    def _rows(self) -> list[Job]:
        return self.storage.dump().jobs
