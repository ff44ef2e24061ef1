"""Whose time ran out: the deadline of an attempt, and the lease of a worker."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, BOOM, Driver, lock_expired, soon
from tests.conformance.planting import Plant
from zeke_queue.model import ExpiredJob, Extended, Failed, RowState
from zeke_queue.storage import Storage


async def test_attempt_is_expired_after_its_deadline_and_not_at_it(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(lease=10_000)
    job = await jobs.running(
        expire_in=60, retry_limit=4, retry_delay=2, retry_backoff=False, retry_delay_max=9
    )
    jobs.clock.advance(60)
    assert await lock_expired(storage, 100) == []
    jobs.clock.advance(0.000001)
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


async def test_waiting_and_ended_jobs_never_expire(storage: Storage, jobs: Driver) -> None:
    await jobs.ended(RowState.COMPLETED)
    await jobs.fail(await jobs.running(), retry_in=1)
    await jobs.send("other")
    jobs.clock.advance(1_000_000)
    assert await lock_expired(storage, 100) == []


async def test_worker_without_heartbeat_loses_its_jobs(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(ANNA, lease=15)
    await jobs.heartbeat(BERT, lease=60)
    lost = await jobs.running(worker=ANNA)
    await jobs.running(worker=BERT)
    jobs.clock.advance(15)
    assert await lock_expired(storage, 100) == []
    jobs.clock.advance(0.5)
    expected = [(lost.id, "lease", ANNA)]
    assert [(job.id, job.reason, job.worker) for job in await lock_expired(storage, 100)] == expected


async def test_silent_worker_keeps_its_jobs_until_it_had_time_to_renew_its_lease(
    storage: Storage, jobs: Driver
) -> None:
    await jobs.heartbeat(ANNA, lease=15)
    lost = await jobs.running(worker=ANNA)
    unregistered = await jobs.running(worker=BERT)
    late = await jobs.running(worker=ANNA, expire_in=20)
    jobs.clock.advance(30)
    for uptime, found in ((0.0, False), (15.0, False), (15.1, True), (1e12, True)):
        async with storage.transaction() as transaction:
            overdue = await transaction.lock_expired(10, uptime)
        expected = {unregistered.id: "lease", late.id: "deadline"} | ({lost.id: "lease"} if found else {})
        assert {job.id: job.reason for job in overdue} == expected, uptime


async def test_heartbeat_renews_the_lease(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await jobs.heartbeat(lease=15)
    await jobs.running()
    for _ in range(5):
        clock.advance(14)
        await jobs.heartbeat(lease=15)
    assert await lock_expired(storage, 100) == []


async def test_unregistered_or_deregistered_worker_has_no_lease(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    lost = [(job.id, "lease")]
    assert [(late.id, late.reason) for late in await lock_expired(storage, 100)] == lost
    await jobs.heartbeat()
    assert await lock_expired(storage, 100) == []
    await storage.deregister(ANNA)
    assert [(late.id, late.reason) for late in await lock_expired(storage, 100)] == lost


async def test_deadline_is_the_reason_even_for_a_lost_worker(storage: Storage, jobs: Driver) -> None:
    await jobs.running(expire_in=5)
    jobs.clock.advance(6)
    assert [late.reason for late in await lock_expired(storage, 100)] == ["deadline"]


async def test_oldest_deadlines_come_first_up_to_the_limit(storage: Storage, jobs: Driver) -> None:
    ids = [(await jobs.running(expire_in=seconds)).id for seconds in (30, 10, 20, 10)]
    jobs.clock.advance(60)
    assert [late.id for late in await lock_expired(storage, 100)] == [ids[1], ids[3], ids[2], ids[0]]
    assert [late.id for late in await lock_expired(storage, 2)] == [ids[1], ids[3]]


async def test_extension_sets_the_deadline_from_now(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(lease=1e6)
    job = await jobs.running(expire_in=100_000)
    jobs.clock.advance(90_050)
    assert await storage.extend([Extended(job.id, 1, 30)]) == {job.id}
    assert (await jobs.look(job.id)).expire_in == 90_080
    jobs.clock.advance(30)
    assert await lock_expired(storage, 100) == []
    jobs.clock.advance(1)
    assert len(await lock_expired(storage, 100)) == 1


async def test_extension_is_fenced_by_the_attempt(storage: Storage, jobs: Driver) -> None:
    stale, ended = await jobs.running(), await jobs.running()
    await jobs.release(stale)
    await jobs.claim_one(worker=BERT)
    await jobs.complete(ended)
    asked = [Extended(stale.id, 1, 99), Extended(ended.id, 1, 99), Extended(jobs.new_id(), 1, 99)]
    assert await storage.extend([]) == await storage.extend(asked) == set()
    assert (await jobs.look(stale.id)).expire_in == 3600
    assert await storage.extend([*asked, Extended(stale.id, 2, 99)]) == {stale.id}


async def test_extension_in_a_transaction_counts_from_its_commit(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running(expire_in=60)
    for commits in (False, True):
        with suppress(ZeroDivisionError):
            async with storage.transaction() as transaction:
                assert await transaction.lock_attempt(job.id, 1)
                assert await transaction.extend([Extended(job.id, 1, 99)]) == {job.id}
                assert await transaction.extend([Extended(job.id, 2, 99)]) == set()
                assert (await jobs.look(job.id)).expire_in == 60
                if not commits:
                    raise ZeroDivisionError
        assert (await jobs.look(job.id)).expire_in == (99 if commits else 60)


async def test_extension_does_not_wait_for_an_insert_into_the_slot_of_the_job(jobs: Driver) -> None:
    key = "__pgboss__singleton_queue"
    job = await jobs.running(singleton_key=key)
    async with jobs.storage.transaction() as transaction:
        await jobs.send(within=transaction, singleton_key=key)
        assert await soon(jobs.storage.extend([Extended(job.id, 1, 60)])) == {job.id}


async def test_extension_does_not_wait_for_the_lock_of_an_inactive_job(jobs: Driver) -> None:
    mine, waiting = await jobs.running(), await jobs.send("post")
    async with jobs.storage.transaction() as transaction:
        assert await transaction.cancel([waiting]) == {waiting}
        asked = [Extended(mine.id, 1, 60), Extended(waiting, 1, 60)]
        assert await soon(jobs.storage.extend(asked)) == {mine.id}


async def test_expired_job_is_locked_and_settled_in_one_transaction(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running(expire_in=5)
    jobs.clock.advance(6)
    async with storage.transaction() as transaction:
        (late,) = await transaction.lock_expired(10)
        failed = Failed(late.id, late.attempt, 2.0, BOOM, RowState.EXPIRED)
        assert await transaction.settle(failed=[failed]) == {job.id}
        assert await transaction.lock_expired(10) == []
    assert (await jobs.look(job.id)).row_state is RowState.RETRY


async def test_concurrent_sweeps_lock_different_jobs(storage: Storage, jobs: Driver) -> None:
    ids = [(await jobs.running(expire_in=5)).id for _ in range(3)]
    jobs.clock.advance(6)
    async with storage.transaction() as first, storage.transaction() as second:
        assert [late.id for late in await first.lock_expired(2)] == ids[:2]
        assert [late.id for late in await second.lock_expired(2)] == ids[2:]
    assert [late.id for late in await lock_expired(storage, 10)] == ids


async def test_job_fetched_by_pgboss_has_a_deadline_and_no_lease(jobs: Driver, plant: Plant) -> None:
    job = await jobs.look(await jobs.send(expire_in=900))
    await plant(replace(job, row_state=RowState.ACTIVE, started_on=jobs.clock.now(), attempt=1))
    jobs.clock.advance(900)
    assert await lock_expired(jobs.storage, 100) == []
    jobs.clock.advance(1)
    expected = [(job.id, "deadline", None)]
    assert [(late.id, late.reason, late.worker) for late in await lock_expired(jobs.storage, 100)] == expected


@pytest.mark.parametrize("years", [300_000, -300_000])
async def test_duration_beyond_the_calendar_does_not_hide_other_expired_jobs(
    storage: Storage, jobs: Driver, clock: FrozenClock, plant: Plant, years: int
) -> None:
    late = await jobs.running(expire_in=60)
    odd = await jobs.look(await jobs.send("other"))
    odd = replace(odd, row_state=RowState.ACTIVE, started_on=clock.now(), expire_in=years * 31_536_000.0)
    await plant(odd)
    clock.advance(61)
    found = [job.id for job in await lock_expired(storage, 100)]
    assert found == ([late.id] if years > 0 else [odd.id, late.id])
