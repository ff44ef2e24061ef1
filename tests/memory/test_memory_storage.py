"""What simulations ask of the memory storage: when work is due, freedom in claims, every row at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, Driver, rolled_back
from zeke_queue.errors import SerializationError, UsageError
from zeke_queue.model import Completed, JobEvent, NewJob, QueueCapacity, QueueSettings, RowState, Schedule
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def storage(clock: FrozenClock) -> MemoryStorage:
    return MemoryStorage(clock)


@pytest.fixture
def jobs(storage: MemoryStorage, clock: FrozenClock) -> Driver:
    return Driver(storage, clock)


# When there will be work


async def test_next_due_is_none_without_waiting_jobs(storage: MemoryStorage, jobs: Driver) -> None:
    await jobs.running()
    assert storage.next_due(["mail", "never-heard-of"]) is None


async def test_next_due_is_the_start_of_the_next_deferred_job(
    storage: MemoryStorage, jobs: Driver, clock: FrozenClock
) -> None:
    for name, delay in (("mail", 30), ("mail", 10), ("post", 20), ("other", 5)):
        await jobs.send(name, delay=delay)
    assert storage.next_due(["mail", "post"]) == clock.now() + timedelta(seconds=10)


async def test_next_due_of_a_due_job_is_not_in_the_future(
    storage: MemoryStorage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.send()
    await jobs.send(delay=10, priority=5)
    due = storage.next_due(["mail"])
    assert due is not None
    assert due <= clock.now()
    assert len(await jobs.claim()) == 1


async def test_next_due_ignores_cancelled_and_moved_jobs(
    storage: MemoryStorage, jobs: Driver, clock: FrozenClock
) -> None:
    await storage.cancel([await jobs.send(delay=5)])
    job = await jobs.running()
    await jobs.fail(job, retry_in=60)
    assert storage.next_due(["mail"]) == clock.now() + timedelta(seconds=60)


async def test_next_due_ignores_paused_and_full_queues(storage: MemoryStorage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await jobs.send("post")
    await jobs.running("mail")
    await jobs.send("mail")
    await storage.pause_queue("post", paused=True)
    assert storage.next_due(["mail", "post"]) is None


async def test_next_due_ignores_jobs_locked_by_a_transaction(
    storage: MemoryStorage, jobs: Driver, clock: FrozenClock
) -> None:
    job_id = await jobs.send()
    async with rolled_back(storage) as transaction:
        await transaction.cancel([job_id])
        assert storage.next_due(["mail"]) is None
    assert storage.next_due(["mail"]) == clock.now()


async def test_next_due_changes_nothing(storage: MemoryStorage, jobs: Driver) -> None:
    sent = [await jobs.send() for _ in range(3)]
    for _ in range(3):
        storage.next_due(["mail"])
    assert [job.id for job in await jobs.claim()] == sent


# The freedom of SKIP LOCKED


async def test_relaxed_claim_skips_rows_but_never_loses_them(clock: FrozenClock) -> None:
    storage = MemoryStorage(clock, entropy=SeededEntropy(7), freedom=0.5)
    jobs = Driver(storage, clock)
    sent = [jobs.new() for _ in range(100)]
    await storage.insert(sent)
    first = await jobs.claim()
    assert 0 < len(first) < 100
    found = {job.id for job in first}
    while len(found) < 100:
        found |= {job.id for job in await jobs.claim()}
    assert found == {job.id for job in sent}


async def test_equal_seeds_skip_equal_rows() -> None:
    claims: list[list[int]] = []
    for _ in range(2):
        clock = FrozenClock()
        storage = MemoryStorage(clock, entropy=SeededEntropy(7), freedom=0.3)
        jobs = Driver(storage, clock)
        sent = [jobs.new() for _ in range(50)]
        await storage.insert(sent)
        claims.append([sent.index(next(s for s in sent if s.id == job.id)) for job in await jobs.claim()])
    assert claims[0] == claims[1]


def test_relaxed_claim_needs_a_random_source(clock: FrozenClock) -> None:
    with pytest.raises(UsageError, match="entropy"):
        MemoryStorage(clock, freedom=0.1)


# Every row at once


async def test_dump_has_every_committed_row(storage: MemoryStorage, jobs: Driver, clock: FrozenClock) -> None:
    archived = await jobs.ended(RowState.COMPLETED)
    clock.advance(1)
    await storage.archive(0, 10)
    live = await jobs.send()
    await jobs.heartbeat()
    await storage.put_schedule(Schedule("report", "0 * * * *", "reports"))
    await storage.declare([QueueSettings("mail", 3)], [])
    await storage.append_events([JobEvent(live, 1, "log", "{}")])
    async with storage.transaction() as transaction:
        await jobs.send(within=transaction)
        dump = storage.dump()
    assert ([job.id for job in dump.jobs], [job.id for job in dump.archive]) == ([live], [archived])
    assert [schedule.name for schedule in dump.schedules] == ["report"]
    assert dump.queues == [QueueSettings("mail", 3)]
    assert [worker.id for worker in dump.workers] == [ANNA]
    assert [event.job_id for event in dump.events] == [live]


async def test_planted_row_is_stored_unchanged_and_replaces_its_predecessor(
    storage: MemoryStorage, jobs: Driver, clock: FrozenClock
) -> None:
    job = await jobs.look(await jobs.send(singleton_key="anna"))
    planted = replace(job, singleton_key="bert", keep_until=clock.now(), data={"n": 1}, output=[1])
    storage.plant([planted])
    assert storage.dump().jobs == [planted]
    assert await jobs.refused(singleton_key="bert")
    await jobs.send(singleton_key="anna")
    storage.plant([replace(planted, row_state=RowState.CANCELLED, archived_on=clock.now())])
    assert [archived.id for archived in storage.dump().archive] == [job.id]


# A verb happens whole or not at all


async def test_insert_with_an_invalid_payload_stores_nothing(storage: MemoryStorage, jobs: Driver) -> None:
    with pytest.raises(SerializationError):
        await storage.insert([jobs.new(), jobs.new(data="{")])
    assert storage.dump().jobs == []


async def test_settlement_with_an_invalid_output_settles_nothing(
    storage: MemoryStorage, jobs: Driver
) -> None:
    a, b = await jobs.running(), await jobs.running()
    with pytest.raises(SerializationError):
        await storage.settle(completed=[Completed(a.id, 1, None), Completed(b.id, 1, '"\\u0000"')])
    assert {job.row_state for job in storage.dump().jobs} == {RowState.ACTIVE}


async def test_statement_cancelled_during_a_wait_changes_nothing(
    storage: MemoryStorage, jobs: Driver
) -> None:
    async with storage.transaction() as transaction:
        await jobs.send(within=transaction, singleton_key="anna")
        waiting = asyncio.create_task(storage.insert([jobs.new(), jobs.new(singleton_key="anna")]))
        await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert len(storage.dump().jobs) == 1


# Transactions of memory


async def test_commit_and_its_callbacks_are_atomic(storage: MemoryStorage, jobs: Driver) -> None:
    seen: list[int] = []
    async with storage.transaction() as transaction:
        transaction.on_commit(lambda: seen.append(len(storage.dump().jobs)))
        await jobs.send(within=transaction)
    assert seen == [1]


async def test_memory_transaction_has_no_connection(storage: MemoryStorage) -> None:
    with pytest.raises(UsageError, match="connection"):
        storage.transaction(object())
    async with storage.transaction() as transaction:
        assert transaction.connection is None


async def test_ended_transaction_refuses_calls(storage: MemoryStorage, jobs: Driver) -> None:
    async with storage.transaction() as transaction:
        pass
    with pytest.raises(UsageError, match="ended"):
        await transaction.insert([jobs.new()])


async def test_jobs_under_a_moving_clock_are_each_claimed_once(
    storage: MemoryStorage, clock: FrozenClock
) -> None:
    jobs = Driver(storage, clock)
    sent = [NewJob(jobs.new_id(), f"q{n % 3}", delay=n * 7 % 100, priority=n % 5) for n in range(500)]
    await storage.insert(sent)
    found: list[object] = []
    capacity = [QueueCapacity(f"q{n}", 5) for n in range(3)]
    for _ in range(200):
        claimed = await storage.claim(ANNA, capacity, 9)
        await storage.settle(completed=[Completed(job.id, job.attempt, None) for job in claimed])
        found += [job.id for job in claimed]
        clock.advance(1)
    assert sorted(map(str, found)) == sorted(str(job.id) for job in sent)
