"""Whose time ran out: the deadline of an attempt, and the lease of a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, BOOM, Driver, lock_expired, soon
from tests.conformance.planting import Plant
from zeke_queue.model import ExpiredJob, Extended, Failed, RowState
from zeke_queue.storage import Storage


async def test_an_attempt_is_overdue_after_its_deadline_and_not_at_it(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.heartbeat(lease=10_000)
    job = await jobs.running(
        expire_in=60, retry_limit=4, retry_delay=2, retry_backoff=False, retry_delay_max=9
    )
    clock.advance(60)
    assert await lock_expired(storage, 100) == []
    clock.advance(0.000001)
    assert await lock_expired(storage, 100) == [
        ExpiredJob(
            id=job.id,
            name="mail",
            attempt=1,
            retry_count=0,
            retry_limit=4,
            retry_delay=2,
            retry_backoff=False,
            retry_delay_max=9,
            reason="deadline",
            worker=ANNA,
        )
    ]


async def test_waiting_and_ended_jobs_are_never_overdue(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.ended(RowState.COMPLETED)
    await jobs.fail(await jobs.running(), retry_in=1)
    await jobs.send("other")
    clock.advance(1_000_000)
    assert await lock_expired(storage, 100) == []


async def test_a_worker_that_fell_silent_loses_what_it_held(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.heartbeat(ANNA, lease=15)
    await jobs.heartbeat(BERT, lease=60)
    lost = await jobs.running(worker=ANNA)
    await jobs.running(worker=BERT)
    clock.advance(15)
    assert await lock_expired(storage, 100) == []
    clock.advance(0.5)
    assert [(job.id, job.reason, job.worker) for job in await lock_expired(storage, 100)] == [
        (lost.id, "lease", ANNA)
    ]


async def test_a_beat_keeps_the_lease(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await jobs.heartbeat(lease=15)
    await jobs.running()
    for _ in range(5):
        clock.advance(14)
        await jobs.heartbeat(lease=15)
    assert await lock_expired(storage, 100) == []


async def test_a_worker_that_left_loses_what_it_held_at_once(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat()
    job = await jobs.running()
    await storage.deregister(ANNA)
    assert [(late.id, late.reason) for late in await lock_expired(storage, 100)] == [(job.id, "lease")]


async def test_a_worker_that_never_beat_has_no_lease(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    assert [(late.id, late.reason) for late in await lock_expired(storage, 100)] == [(job.id, "lease")]


async def test_a_passed_deadline_is_the_reason_even_if_the_worker_is_dead_too(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.running(expire_in=5)
    clock.advance(6)
    assert [late.reason for late in await lock_expired(storage, 100)] == ["deadline"]


async def test_the_oldest_deadline_comes_first_and_the_limit_is_kept(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    ids = [(await jobs.running(expire_in=seconds)).id for seconds in (30, 10, 20, 10)]
    clock.advance(60)
    assert [late.id for late in await lock_expired(storage, 100)] == [ids[1], ids[3], ids[2], ids[0]]
    assert [late.id for late in await lock_expired(storage, 2)] == [ids[1], ids[3]]


async def test_an_extension_moves_the_deadline_to_so_many_seconds_from_now(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.heartbeat(lease=10_000)
    job = await jobs.running(expire_in=60)
    clock.advance(50)
    assert await storage.extend([Extended(job.id, 1, 30)]) == {job.id}
    assert (await jobs.look(job.id)).expire_in == 80
    clock.advance(30)
    assert await lock_expired(storage, 100) == []
    clock.advance(1)
    assert len(await lock_expired(storage, 100)) == 1


async def test_an_extension_is_fenced(storage: Storage, jobs: Driver) -> None:
    stale, ended = await jobs.running(), await jobs.running()
    await jobs.release(stale)
    await jobs.claim_one(worker=BERT)
    await jobs.complete(ended)
    asked = [Extended(stale.id, 1, 99), Extended(ended.id, 1, 99), Extended(jobs.new_id(), 1, 99)]
    assert await storage.extend(asked) == set()
    assert (await jobs.look(stale.id)).expire_in == 3600
    assert await storage.extend([*asked, Extended(stale.id, 2, 99)]) == {stale.id}


async def test_an_extension_does_not_wait_for_who_takes_the_jobs_place(
    storage: Storage, jobs: Driver
) -> None:
    key = "__pgboss__singleton_queue"
    job = await jobs.running(singleton_key=key)
    async with storage.transaction() as transaction:
        await jobs.send(within=transaction, singleton_key=key)
        assert await soon(storage.extend([Extended(job.id, 1, 60)])) == {job.id}


async def test_an_extension_waits_for_nobody_over_a_job_that_does_not_run(
    storage: Storage, jobs: Driver
) -> None:
    mine, waiting = await jobs.running(), await jobs.send("post")
    async with storage.transaction() as transaction:
        assert await transaction.cancel([waiting]) == {waiting}
        asked = [Extended(mine.id, 1, 60), Extended(waiting, 1, 60)]
        assert await soon(storage.extend(asked)) == {mine.id}


async def test_extending_nothing_extends_nothing(storage: Storage) -> None:
    assert await storage.extend([]) == set()


async def test_an_overdue_job_is_found_and_settled_in_one_transaction(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    job = await jobs.running(expire_in=5)
    clock.advance(6)
    async with storage.transaction() as transaction:
        (late,) = await transaction.lock_expired(10)
        failed = Failed(late.id, late.attempt, 2.0, BOOM, RowState.EXPIRED)
        assert await transaction.settle(failed=[failed]) == {job.id}
        assert await transaction.lock_expired(10) == []
    assert (await jobs.look(job.id)).state is RowState.RETRY


async def test_two_sweeps_at_once_find_different_jobs(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    ids = [(await jobs.running(expire_in=5)).id for _ in range(3)]
    clock.advance(6)
    async with storage.transaction() as first, storage.transaction() as second:
        assert [late.id for late in await first.lock_expired(2)] == ids[:2]
        assert [late.id for late in await second.lock_expired(2)] == ids[2:]
    assert [late.id for late in await lock_expired(storage, 10)] == ids


async def test_a_job_that_pg_boss_fetched_has_a_deadline_and_no_lease(
    storage: Storage, jobs: Driver, clock: FrozenClock, plant: Plant
) -> None:
    job = await jobs.look(await jobs.send(expire_in=900))
    await plant(replace(job, state=RowState.ACTIVE, started_on=clock.now(), attempt=1))
    clock.advance(900)
    assert await lock_expired(storage, 100) == []
    clock.advance(1)
    assert [(late.id, late.reason, late.worker) for late in await lock_expired(storage, 100)] == [
        (job.id, "deadline", None)
    ]


@pytest.mark.parametrize("years", [300_000, -300_000])
async def test_a_length_that_no_calendar_holds_does_not_keep_others_from_being_found(
    storage: Storage, jobs: Driver, clock: FrozenClock, plant: Plant, years: int
) -> None:
    late = await jobs.running(expire_in=60)
    odd = await jobs.look(await jobs.send("other"))
    odd = replace(odd, state=RowState.ACTIVE, started_on=clock.now(), expire_in=years * 31_536_000.0)
    await plant(odd)
    clock.advance(61)
    found = [job.id for job in await lock_expired(storage, 100)]
    assert found == ([late.id] if years > 0 else [odd.id, late.id])
