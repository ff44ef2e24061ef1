"""The settlement buffer: the number of statements, and that no outcome is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.place import turns, until
from tests.runtime.workers.samples import QUEUE, SLOT, leased
from zeke_queue.model import Completed, WorkerInfo
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.waiting import Waiter
from zeke_queue.worker.loops import BATCH_MAX, ENOUGH, SettleLoop, Shared
from zeke_queue.worker.outcomes import Outcomes
from zeke_queue.worker.progress import ProgressWriter
from zeke_queue.worker.state import WorkerState
from zeke_queue.worker.storage_health import StorageHealth


class Gate(MemoryStorage):
    """A storage whose settlements wait for the test, and which takes any."""

    def __init__(self) -> None:
        super().__init__(FrozenClock())
        self.open = asyncio.Event()
        self.sizes: list[int] = []

    async def settle(self, completed: Sequence[Completed] = (), *_others: Any, **_options: Any) -> set[UUID]:
        self.sizes.append(len(completed))
        await self.open.wait()
        return {outcome.id for outcome in completed}


class Buffer:
    def __init__(self) -> None:
        self.storage = Gate()
        clock = FrozenClock()
        health = StorageHealth(clock, SeededEntropy(1))
        info = WorkerInfo(UUID(int=1), "host", 1, ("work",), 15.0)
        self.state = WorkerState({"work": QUEUE}, 1, 1.0)
        shared = Shared(info, self.storage, health, self.state, clock, wake_claims=Waiter())
        refused_wait = Outcomes(SeededEntropy(1), 0).refused_wait
        self.loop = SettleLoop(shared, ProgressWriter(self.storage), refused_wait)
        self._next = 0

    def add(self, number: int) -> None:
        for _ in range(number):
            self._next += 1
            job = leased(self._next)
            self.state.jobs[job] = None
            self.state.ready.append(job)
            self.state.take(SLOT)
            assert self.state.ended(job, Completed(job.claimed.id, 1, None))
            self.loop.soon()


@pytest.fixture
async def settler() -> AsyncIterator[Buffer]:
    made = Buffer()
    running = asyncio.ensure_future(made.loop.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("more", [1, ENOUGH - 1, ENOUGH, BATCH_MAX])
async def test_outcomes_beyond_one_statement_are_settled_by_the_next(settler: Buffer, more: int) -> None:
    settler.add(ENOUGH)
    await until(lambda: settler.storage.sizes)
    # While the first ones are under way, more gather than one statement takes.
    settler.add(BATCH_MAX + more)
    await turns()
    settler.storage.open.set()
    await until(lambda: settler.state.load().backlog == 0)
    assert not settler.state.jobs
    assert settler.storage.sizes == [ENOUGH, BATCH_MAX, more]


async def test_outcomes_that_arrive_together_are_settled_together(settler: Buffer) -> None:
    settler.storage.open.set()
    settler.add(20)
    await until(lambda: settler.state.load().backlog == 0)
    assert settler.storage.sizes == [20]
