"""The settlement buffer: the number of statements, and that no outcome is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import advance_until, turns, until
from tests.runtime.workers.samples import QUEUE, SLOT, leased
from zeke_queue.errors import (
    LockTimeoutError,
    SerializationError,
    StatementFailedError,
    StatementTimeoutError,
)
from zeke_queue.model import Completed, Failed, Settled, Suspensions, Waiting, WorkerInfo
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.waiting import Waiter
from zeke_queue.worker.loops import Shared
from zeke_queue.worker.outcomes import Outcomes
from zeke_queue.worker.progress import ProgressWriter
from zeke_queue.worker.settle_loop import BATCH_MAX, ENOUGH, FAILURES_MAX, SettleLoop
from zeke_queue.worker.state import WorkerState
from zeke_queue.worker.storage_health import FIRST_PAUSE, StorageHealth


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
        lost: jobs that belong to others by now.
        errors: what is raised for a job's outcome, unless it is a failure.
        held: jobs whose settlement waits for an event.
        calls: the jobs of each settlement, and whether it skips locked ones.
        outcomes: what was stored.
    """

    def __init__(self) -> None:
        super().__init__(FrozenClock())
        self.locked: set[UUID] = set()
        self.lost: set[UUID] = set()
        self.errors: dict[UUID, Exception] = {}
        self.held: dict[UUID, asyncio.Event] = {}
        self.calls: list[tuple[set[UUID], bool]] = []
        self.failed_calls = 0
        self.outcomes: dict[UUID, Any] = {}

    async def settle(self, *outcomes: Sequence[Any], **_: Any) -> set[UUID]:
        stored, locked = await self._settle(*outcomes, skip=False)
        if locked:
            raise LockTimeoutError.of("a test")
        return stored

    async def settle_unlocked(self, *outcomes: Sequence[Any], **_: Any) -> Settled:
        return await self._settle(*outcomes, skip=True)

    async def suspend(
        self, waiting: Sequence[Waiting], *, skip_locked: bool = False, **_: Any
    ) -> Suspensions:
        refused = {one.id: () for one in waiting if one.child == NOBODY}
        asked = [one for one in waiting if one.id not in refused]
        stored, locked = await self._settle(asked, skip=skip_locked)
        if locked and not skip_locked:
            raise LockTimeoutError.of("a test")
        return Suspensions(stored, refused, frozenset(locked))

    async def _settle(self, *given: Sequence[Any], skip: bool) -> Settled:
        outcomes: dict[UUID, Any] = {one.id: one for group in given for one in group}
        self.calls.append((set(outcomes), skip))
        for job_id, outcome in outcomes.items():
            if job_id in self.locked and not skip:
                break
            if job_id in self.held:
                await self.held[job_id].wait()
            if job_id in self.errors and type(outcome) is not Failed:
                self.failed_calls += 1
                raise self.errors[job_id]
        locked = self.locked & outcomes.keys()
        if locked and not skip:
            return Settled(set(), locked)
        stored = {i: o for i, o in outcomes.items() if i not in locked and i not in self.lost}
        self.outcomes |= stored
        return Settled(set(stored), locked)


class Buffer:
    def __init__(self, storage: Any = None) -> None:
        self.storage: Any = storage or Gate()
        self.clock = clock = FrozenClock()
        health = StorageHealth(clock, SeededEntropy(1))
        info = WorkerInfo(UUID(int=1), "host", 1, ("work",), 15.0)
        self.state = WorkerState({"work": QUEUE}, 1, 1.0)
        shared = Shared(info, self.storage, health, self.state, clock, wake_claims=Waiter())
        refused_wait = Outcomes(SeededEntropy(1), 0).refused_wait
        self.loop = SettleLoop(shared, ProgressWriter(self.storage, UUID(int=1)), refused_wait)
        self._next = 0

    def add(self, number: int, child: UUID | None = None) -> None:
        """Make handlers end, or wait for a child."""
        for _ in range(number):
            self._next += 1
            job = leased(self._next)
            self.state.jobs[job] = None
            self.state.ready.append(job)
            self.state.take(SLOT)
            job_id = job.claimed.id
            outcome = Completed(job_id, 1, None) if child is None else Waiting(job_id, 1, child)
            assert self.state.ended(job, outcome)
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
    await until(lambda: settler.state.load(0.0).backlog == 0)
    assert not settler.state.jobs
    assert settler.storage.sizes == [ENOUGH, BATCH_MAX, more]


async def test_outcomes_that_arrive_together_are_settled_together(settler: Buffer) -> None:
    settler.storage.open.set()
    settler.add(20)
    await until(lambda: settler.state.load(0.0).backlog == 0)
    assert settler.storage.sizes == [20]


# Jobs that can't be stored with the others

ONE, TWO, THREE, FOUR = (UUID(int=number) for number in range(1, 5))
NOBODY, SOMEBODY = UUID(int=4711), UUID(int=4712)


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


async def test_locked_jobs_past_their_deadline_wait_in_line_for_their_locks_in_turn(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.locked = {ONE, TWO}
    troubled.add(2)
    await until(lambda: len(state.deferred) == 2)
    storage.calls.clear()
    await advance_until(lambda: len(storage.calls) > 3, troubled.clock, 0.5)
    assert all(skips for _, skips in storage.calls)
    troubled.clock.advance(60)  # their deadline
    storage.calls.clear()
    await advance_until(lambda: len(storage.calls) > 12, troubled.clock, 0.1)
    waits = [jobs for jobs, skips in storage.calls if not skips]
    assert waits[:4] in ([{ONE}, {TWO}] * 2, [{TWO}, {ONE}] * 2)
    storage.locked = set()
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)


async def test_lost_and_refused_jobs_do_not_wait_for_a_locked_one(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.locked, storage.lost = {ONE, THREE}, {TWO}
    troubled.add(2)
    troubled.add(2, child=NOBODY)
    await until(lambda: len(state.jobs) == 2)
    assert {job.claimed.id for job in state.deferred} == {ONE, THREE}
    assert type(storage.outcomes[FOUR]) is Failed, "it would wait forever"
    assert state.load(0.0).backlog == 2
    storage.locked = set()
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)
    assert type(storage.outcomes[THREE]) is Failed
    assert state.load(0.0).backlog == 0


async def test_outcome_is_given_up_only_for_an_error_in_its_values(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.errors = {ONE: SerializationError("a value"), TWO: StatementFailedError("no room")}
    troubled.add(4)
    await until(lambda: not state.outcomes)
    stored = {ONE, THREE, FOUR}
    assert await advance_until(lambda: set(storage.outcomes) == stored, troubled.clock, 0.05) <= FIRST_PAUSE
    assert type(storage.outcomes[ONE]) is Failed
    assert "a value" in storage.outcomes[ONE].output
    await advance_until(lambda: len(storage.calls) > 30, troubled.clock, 0.1)
    assert [job.claimed.id for job in state.jobs] == [TWO]
    storage.errors = {}
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)
    assert storage.outcomes[TWO] == Completed(TWO, 1, None)


async def test_one_that_can_not_be_stored_is_found_by_halves(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.errors = {UUID(int=70): StatementFailedError("odd")}
    troubled.add(200)
    await until(lambda: not state.outcomes)
    assert await advance_until(lambda: len(state.jobs) == 1, troubled.clock, 0.05) <= FIRST_PAUSE
    assert storage.failed_calls <= 10
    # The others do not wait for the next try of that one.
    await advance_until(lambda: storage.failed_calls > 20, troubled.clock, 0.5)
    storage.errors |= {UUID(int=230): StatementTimeoutError("it takes too long")}
    troubled.add(50)
    await until(lambda: not state.outcomes)
    assert await advance_until(lambda: len(state.jobs) == 2, troubled.clock, 0.05) <= FIRST_PAUSE
    storage.errors = {}
    await advance_until(lambda: not state.jobs, troubled.clock, 0.5)
    assert state.load(0.0).backlog == 0


async def test_error_of_all_outcomes_costs_few_statements() -> None:
    with logged() as lines:
        async with running(Buffer(Troubled())) as troubled:
            await _break_all(troubled)
        assert lines.messages.count("settlement_failed") == 2, "once a minute"


async def _break_all(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.errors = {UUID(int=number): StatementFailedError("broken") for number in range(1, 601)}
    troubled.add(600)
    await until(lambda: len(state.deferred) == 600)
    await advance_until(lambda: troubled.clock.monotonic() > 100, troubled.clock, 0.5)
    assert storage.failed_calls < FAILURES_MAX + 120, "about one a second, after a search that finds none"
    # Others are stored although all of those fail.
    troubled.add(20)
    storage.errors[UUID(int=610)] = StatementFailedError("broken")
    await until(lambda: not state.outcomes)
    assert await advance_until(lambda: len(state.jobs) == 601, troubled.clock, 0.05) <= FIRST_PAUSE
    storage.errors = {}
    storage.calls.clear()
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)
    assert len(storage.calls) < 5
    assert state.load(0.0).backlog == 0


async def test_refused_outcome_is_found_by_halves_while_others_are_stored(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.errors = {UUID(int=70): SerializationError("a value"), UUID(int=200): StatementFailedError("odd")}
    troubled.add(200)
    await until(lambda: len(storage.outcomes) == 100)
    assert type(storage.outcomes[UUID(int=70)]) is Failed
    assert len(state.deferred) == 100, "those beside the odd one"
    troubled.add(1)
    await until(lambda: UUID(int=201) in storage.outcomes)
    await advance_until(lambda: len(state.jobs) == 1, troubled.clock, 0.05)
    assert len(storage.calls) < 50


async def test_refused_outcome_is_found_although_a_search_for_another_takes_long(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.errors = {ONE: StatementFailedError("odd")}
    troubled.add(2)
    await until(lambda: len(state.deferred) == 2)
    storage.held = {TWO: asyncio.Event()}
    await advance_until(lambda: any(TWO in jobs for jobs, _ in storage.calls[1:]), troubled.clock, 0.05)
    storage.errors |= {THREE: SerializationError("a value")}
    troubled.add(50)
    await until(lambda: len(storage.outcomes) == 50)
    assert type(storage.outcomes[THREE]) is Failed


async def test_search_for_refused_outcomes_does_not_delay_new_ones_for_long(troubled: Buffer) -> None:
    """That of a batch takes ``FAILURES_MAX`` failed statements; then its others wait."""
    storage, state = troubled.storage, troubled.state
    storage.errors = {UUID(int=number): SerializationError("a value") for number in range(1, 101)}
    troubled.add(100)
    await until(lambda: state.deferred)
    assert storage.failed_calls <= FAILURES_MAX + len(storage.outcomes)
    assert len(storage.outcomes) + len(state.deferred) == 100
    await advance_until(lambda: not state.jobs, troubled.clock, 0.05)
    assert all(type(outcome) is Failed for outcome in storage.outcomes.values())


@pytest.mark.parametrize("child", [None, SOMEBODY])
async def test_search_for_a_refused_outcome_waits_for_a_lock_once(
    troubled: Buffer, child: UUID | None
) -> None:
    storage, state = troubled.storage, troubled.state
    storage.locked = {ONE}
    storage.errors = {TWO: SerializationError("a value")}
    troubled.add(200, child=child)
    await until(lambda: len(storage.outcomes) == 199)
    assert type(storage.outcomes[TWO]) is Failed
    assert [ONE in jobs for jobs, skips in storage.calls if not skips].count(True) == 1
    # The next search waits again.
    storage.locked = set()
    await advance_until(lambda: not state.jobs, troubled.clock, 0.1)
    troubled.add(1)
    await until(lambda: not state.jobs)
    assert storage.calls[-1] == ({UUID(int=201)}, False)


async def test_outcomes_refused_at_the_end_are_all_replaced() -> None:
    made = Buffer(Troubled())
    made.storage.errors = {UUID(int=n): SerializationError("a value") for n in range(1, 61)}
    made.add(70)
    made.loop.close()
    await made.loop.run()
    await made.loop.finish()
    refused = [one.int for one, outcome in made.storage.outcomes.items() if type(outcome) is Failed]
    assert (len(made.storage.outcomes), sorted(refused)) == (70, [*range(1, 61)])


async def test_refused_outcome_of_a_locked_job_is_counted_once(troubled: Buffer) -> None:
    storage, state = troubled.storage, troubled.state
    storage.locked = {ONE}
    troubled.add(1)
    await until(lambda: state.deferred)
    storage.errors, storage.locked = {TWO: SerializationError("a value")}, {ONE, TWO}
    troubled.add(2)
    await until(lambda: THREE in storage.outcomes)
    assert len(state.deferred) == 2
    troubled.add(1)
    await until(lambda: FOUR in storage.outcomes)
    assert state.load(0.0).backlog == 2
    storage.locked = {ONE}
    await advance_until(lambda: TWO in storage.outcomes, troubled.clock, 0.1)
    await until(lambda: len(state.jobs) == 1)
    assert state.load(0.0).backlog == 1


async def test_loop_that_closes_tries_locked_jobs_once_more() -> None:
    for unlocked in (True, False):
        with logged() as lines:
            made = Buffer(Troubled())
        made.storage.locked = {ONE, TWO}
        closing = asyncio.ensure_future(made.loop.run())
        made.add(2)
        await until(lambda made=made: len(made.state.deferred) == 2)
        made.loop.close()
        await closing
        made.storage.calls.clear()
        if unlocked:
            made.storage.locked = {TWO}
        made.add(1)
        await made.loop.finish()
        assert set(made.storage.outcomes) == ({ONE, THREE} if unlocked else {THREE})
        assert made.storage.calls == [({THREE}, True), ({ONE, TWO}, False), ({ONE, TWO}, True)]
        made.loop.report_left()
        assert lines.messages.count("settlements_given_up") == 1
        await made.loop.run()  # does nothing


async def test_outcomes_that_arrive_as_the_loop_closes_are_searched_for_odd_ones() -> None:
    made = Buffer(Troubled())
    made.storage.errors = {TWO: StatementFailedError("odd")}
    made.add(3)
    made.loop.close()
    await made.loop.run()
    await made.loop.finish()
    assert set(made.storage.outcomes) == {ONE, THREE}
