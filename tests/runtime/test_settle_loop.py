"""The settlement buffer: the number of statements, and that no outcome is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.place import advance_until, turns, until
from tests.runtime.workers.samples import QUEUE, SLOT, leased
from zeke_queue.errors import LockTimeoutError, SerializationError, StatementFailedError
from zeke_queue.model import Completed, Failed, WorkerInfo
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.waiting import Waiter
from zeke_queue.worker.loops import Shared
from zeke_queue.worker.outcomes import Outcomes
from zeke_queue.worker.progress import ProgressWriter
from zeke_queue.worker.settle_loop import BATCH_MAX, ENOUGH, SettleLoop
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


class Troubled(MemoryStorage):
    """A storage of which a test says which jobs are locked, and which outcomes it fails to store.

    Attributes:
        calls: the jobs of each settlement, and whether it skips locked ones.
        outcomes: what was stored.
    """

    def __init__(self) -> None:
        super().__init__(FrozenClock())
        self.locked: set[UUID] = set()
        self.errors: dict[UUID, Exception] = {}
        self.calls: list[tuple[set[UUID], bool]] = []
        self.repeated = 0
        self.outcomes: dict[UUID, Any] = {}

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Any] = (),
        *,
        repeated: bool = False,
        skip_locked: bool = False,
    ) -> set[UUID]:
        outcomes: dict[UUID, Any] = {one.id: one for one in (*completed, *failed, *released)}
        self.calls.append((set(outcomes), skip_locked))
        self.repeated += repeated
        for one in completed:
            if one.id in self.errors:
                raise self.errors[one.id]
        locked = self.locked & outcomes.keys()
        stored = {} if locked and not skip_locked else {i: o for i, o in outcomes.items() if i not in locked}
        self.outcomes |= stored
        if locked:
            raise LockTimeoutError.beside(stored, locked)
        return set(stored)


class Buffer:
    def __init__(self, storage: Any = None) -> None:
        self.storage: Any = storage or Gate()
        self.clock = clock = FrozenClock()
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


@asynccontextmanager
async def running(made: Buffer) -> AsyncIterator[Buffer]:
    """Run the loop of a buffer."""
    task = asyncio.ensure_future(made.loop.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def settler() -> AsyncIterator[Buffer]:
    async with running(Buffer()) as made:
        yield made


@pytest.fixture
async def troubled() -> AsyncIterator[Buffer]:
    async with running(Buffer(Troubled())) as made:
        yield made


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


# Jobs that can't be stored with the others

ONE, TWO, THREE, FOUR = (UUID(int=number) for number in range(1, 5))


async def test_locked_job_delays_no_other_and_is_held_until_it_is_stored(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.locked = {TWO}
    troubled.add(3)
    await until(lambda: len(state.jobs) == 1)
    assert set(storage.outcomes) == {ONE, THREE}
    assert storage.calls == [({ONE, TWO, THREE}, False), ({ONE, TWO, THREE}, True)]
    assert [job.claimed.id for job in state.deferred] == [TWO]
    # The next ones wait no longer than usual, although a job is known to be locked.
    troubled.add(1)
    await until(lambda: FOUR in storage.outcomes)
    assert ({FOUR}, True) in storage.calls
    assert ({FOUR}, False) not in storage.calls
    assert [job.claimed.id for job in state.jobs] == [TWO]
    storage.locked = set()
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)
    assert storage.outcomes[TWO] == Completed(TWO, 1, None)
    assert not state.deferred


async def test_locked_job_past_its_deadline_waits_in_line_for_its_lock(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.locked = {ONE, TWO}
    troubled.add(2)
    await until(lambda: len(state.deferred) == 2)
    storage.calls.clear()
    await advance_until(lambda: len(storage.calls) > 3, troubled.clock, 0.5)
    assert all(skips for _, skips in storage.calls)
    troubled.clock.advance(60)  # their deadline
    storage.calls.clear()
    await advance_until(lambda: len(storage.calls) > 6, troubled.clock, 0.1)
    assert ({ONE}, False) in storage.calls
    assert ({ONE, TWO}, True) in storage.calls
    storage.locked = set()
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)


async def test_outcome_is_given_up_only_for_an_error_in_its_values(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.errors = {ONE: SerializationError("a value"), TWO: StatementFailedError("out of luck")}
    troubled.add(4)
    await until(lambda: set(storage.outcomes) == {ONE, THREE, FOUR})
    assert type(storage.outcomes[ONE]) is Failed
    assert "a value" in storage.outcomes[ONE].output
    await advance_until(lambda: len(storage.calls) > 30, troubled.clock, 0.1)
    assert [job.claimed.id for job in state.jobs] == [TWO]
    storage.errors = {}
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)
    assert storage.outcomes[TWO] == Completed(TWO, 1, None)


async def test_loop_that_closes_waits_for_locked_jobs() -> None:
    made = Buffer(Troubled())
    made.storage.locked = {ONE}
    closing = asyncio.ensure_future(made.loop.run())
    made.add(1)
    await until(lambda: made.state.deferred)
    made.loop.close()
    await turns()
    assert not closing.done()
    made.storage.locked = set()
    await advance_until(closing.done, made.clock, 0.1)
    assert set(made.storage.outcomes) == {ONE}
