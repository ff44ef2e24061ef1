"""The settlement buffer: in how many statements outcomes go out, and that none of them stays behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.place import turns, until
from tests.runtime.workers.samples import held
from zeke_queue.model import Completed
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.worker.link import Link
from zeke_queue.worker.progress import Notes
from zeke_queue.worker.settling import BATCH_MAX, ENOUGH, Settler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from zeke_queue.worker.held import Held


class Gate(MemoryStorage):
    """A storage whose settlements wait for the test, and which takes any."""

    def __init__(self) -> None:
        super().__init__(FrozenClock())
        self.open = asyncio.Event()
        self.sizes: list[int] = []

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        *_others: Any,
        **_options: Any,
    ) -> set[UUID]:
        self.sizes.append(len(completed))
        await self.open.wait()
        return {outcome.id for outcome in completed}


class Desk:
    """A settler on a gate, and what it has settled."""

    def __init__(self) -> None:
        self.storage = Gate()
        clock = FrozenClock()
        link = Link(clock, SeededEntropy(1))
        self.settled: list[Held] = []
        notes = Notes(self.storage, link)
        self.settler = Settler(self.storage, clock, link, notes, self.settled.extend)
        self._next = 0

    def add(self, number: int) -> None:
        for _ in range(number):
            self._next += 1
            job = held(self._next)
            job.outcome = Completed(job.claimed.id, 1, None)
            self.settler.add(job)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    running = asyncio.ensure_future(made.settler.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("more", [1, ENOUGH - 1, ENOUGH, BATCH_MAX])
async def test_outcomes_beyond_one_statement_are_settled_by_the_next(desk: Desk, more: int) -> None:
    desk.add(ENOUGH)
    await until(lambda: desk.storage.sizes)
    # While the first ones are under way, more gather than one statement takes.
    desk.add(BATCH_MAX + more)
    await turns()
    desk.storage.open.set()
    await until(lambda: desk.settler.backlog == 0)
    assert len(desk.settled) == ENOUGH + BATCH_MAX + more
    assert desk.storage.sizes == [ENOUGH, BATCH_MAX, more]


async def test_outcomes_that_arrive_together_are_settled_together(desk: Desk) -> None:
    desk.storage.open.set()
    desk.add(20)
    await until(lambda: desk.settler.backlog == 0)
    assert desk.storage.sizes == [20]
