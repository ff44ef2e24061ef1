"""Retention: what moves to the archive, what is purged from it, and what never is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import ENDS, Driver
from tests.conformance.planting import Plant
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import JobEvent, JobQuery, RowState
from zeke_queue.storage import Storage

DAY = 86_400


async def test_ended_job_is_archived_after_its_retention_and_not_at_it(jobs: Driver) -> None:
    async def check(end: RowState) -> None:
        job_id = await jobs.ended(end)
        jobs.clock.advance(DAY)
        assert await jobs.storage.archive(DAY, 100) == 0
        jobs.clock.advance(0.000001)
        assert await jobs.storage.archive(DAY, 100) == 1
        assert (await jobs.look(job_id)).archived_on == jobs.clock.now()

    await check_each_async(ENDS, check)


async def test_jobs_that_have_ended_are_deleted_with_their_events(storage: Storage, jobs: Driver) -> None:
    ended = [await jobs.ended(end) for end in ENDS]
    parent, awaited = await jobs.running(), jobs.new_id()
    await storage.insert_child(jobs.new(id=awaited, parent=parent.id), parent.attempt)
    await storage.cancel([awaited])
    running = (await jobs.running()).id
    waiting = await jobs.send()
    await storage.append_events([JobEvent(job, 1, "log", '{"n": 1}') for job in (*ended, running)])
    for archived in (ended[:2], ended[2:]):
        given = [*archived, awaited, waiting, running, parent.id, jobs.new_id()]
        assert await storage.delete_jobs(given) == set(archived)
        assert await storage.get(archived) == {}
        jobs.clock.advance(1)
        await storage.archive(0, 100)
    assert {event.job_id for event in await storage.events(dict.fromkeys([*ended, running], 0))} == {running}
    await jobs.complete(parent)
    assert await storage.delete_jobs([awaited, awaited]) == {awaited}


async def test_archived_job_differs_in_its_archive_date_only(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running(
        data='{"n": 1}', meta='{"m": 1}', parent=jobs.new_id(), group_key="g", slot_seconds=60
    )
    await jobs.fail(job, retry_in=0)
    await jobs.complete(await jobs.claim_one(), '{"out": 1}')
    before = await jobs.look(job.id)
    jobs.clock.advance(10)
    await storage.archive(1, 100)
    assert await jobs.look(job.id) == replace(before, archived_on=jobs.clock.now())


async def test_job_without_a_plausible_end_is_archived_long_enough_after_it_is_found(
    jobs: Driver, plant: Plant
) -> None:
    async def check(ahead: timedelta | None, *, is_odd: bool) -> None:
        job = await jobs.look(await jobs.ended(RowState.FAILED))
        now = jobs.clock.now()
        await plant(replace(job, completed_on=None if ahead is None else now + ahead))
        assert await jobs.storage.archive(DAY, 100) == 0
        assert ((await jobs.look(job.id)).completed_on == now) is is_odd
        jobs.clock.advance(DAY)
        assert await jobs.storage.archive(DAY, 100) == 0
        jobs.clock.advance(0.000001)
        assert await jobs.storage.archive(DAY, 100) == is_odd
        jobs.clock.advance(DAY)
        assert await jobs.storage.archive(DAY, 100) == (not is_odd)

    cases = [
        (None, True),
        (timedelta(days=300_000), True),
        (timedelta(days=1, microseconds=1), True),
        (timedelta(days=1), False),
    ]
    await check_each_async(cases, lambda ahead, is_odd: check(ahead, is_odd=is_odd))


async def test_archived_job_is_not_live(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.ended(RowState.COMPLETED)
    clock.advance(10)
    await storage.archive(1, 100)
    assert await storage.queue_stats() == []
    assert (await storage.find(JobQuery())).jobs == []
    assert [job.id for job in (await storage.find(JobQuery(archived=True))).jobs] == [job_id]
    assert await storage.archive(1, 100) == 0


async def test_waiting_and_running_jobs_are_not_archived(storage: Storage, jobs: Driver) -> None:
    ids = [await jobs.send(), (await jobs.running("a")).id, await jobs.send("b", delay=DAY * 9000)]
    retried = await jobs.running("c")
    await jobs.fail(retried, retry_in=1)
    jobs.clock.advance(DAY * 5000)
    assert await storage.archive(0, 100) == 0
    assert len(await storage.get([*ids, retried.id])) == 4


async def test_defect_6_job_waiting_past_its_keep_until_is_not_archived(jobs: Driver, plant: Plant) -> None:
    job = await jobs.look(await jobs.send())
    await plant(replace(job, keep_until=jobs.clock.now() + timedelta(days=14)))
    jobs.clock.advance(DAY * 30)
    assert await jobs.storage.archive(0, 100) == 0
    assert [claimed.id for claimed in await jobs.claim()] == [job.id]


async def test_requeued_job_is_not_archived(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    failed, cancelled = await jobs.ended(RowState.FAILED), await jobs.ended(RowState.CANCELLED)
    clock.advance(DAY)
    await storage.retry([failed])
    await storage.resume([cancelled])
    clock.advance(DAY)
    assert await storage.archive(DAY / 2, 100) == 0


async def test_job_that_ended_twice_in_one_instant_is_archived_once(storage: Storage, jobs: Driver) -> None:
    job_id = await jobs.send()
    await storage.cancel([job_id])
    await storage.resume([job_id])
    await storage.cancel([job_id])
    jobs.clock.advance(1)
    assert await storage.archive(0, 100) == 1
    assert (await jobs.look(job_id)).archived_on == jobs.clock.now()


async def test_oldest_ends_are_archived_first_up_to_the_limit(storage: Storage, jobs: Driver) -> None:
    ids = []
    for _ in range(3):
        ids.append(await jobs.ended(RowState.COMPLETED))
        jobs.clock.advance(1)
    assert await storage.archive(0, 2) == 2
    assert [(await jobs.look(job_id)).archived_on is None for job_id in ids] == [False, False, True]
    assert await storage.archive(0, 2) == 1


async def test_archived_job_is_purged_after_its_retention_and_not_at_it(jobs: Driver) -> None:
    job_id = await jobs.ended(RowState.COMPLETED)
    jobs.clock.advance(DAY + 1)
    await jobs.storage.archive(DAY, 100)
    jobs.clock.advance(7 * DAY)
    assert await jobs.storage.purge(7 * DAY, 100) == 0
    jobs.clock.advance(0.000001)
    assert await jobs.storage.purge(7 * DAY, 100) == 1
    assert await jobs.storage.get([job_id]) == {}


async def test_live_jobs_are_not_purged(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.ended(RowState.COMPLETED)
    clock.advance(DAY * 365)
    assert await storage.purge(0, 100) == 0
    assert job_id in await storage.get([job_id])


async def test_oldest_archived_jobs_are_purged_first_up_to_the_limit(storage: Storage, jobs: Driver) -> None:
    ids = []
    for _ in range(3):
        ids.append(await jobs.ended(RowState.COMPLETED))
        jobs.clock.advance(1)
        await storage.archive(0, 100)
    jobs.clock.advance(1)
    assert await storage.purge(0, 2) == 2
    assert list(await storage.get(ids)) == [ids[2]]


async def test_events_are_purged_with_their_job(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    purged, kept = await jobs.ended(RowState.COMPLETED), await jobs.ended(RowState.COMPLETED, "other")
    await storage.append_events([JobEvent(job_id, 1, "log", "{}") for job_id in (purged, kept)])
    clock.advance(1)
    assert await storage.archive(0, 1) == 1
    assert len(await storage.events({purged: 0})) == 1
    clock.advance(1)
    assert await storage.purge(0, 100) == 1
    assert await storage.events({purged: 0}) == []
    assert len(await storage.events({kept: 0})) == 1


async def test_events_of_missing_jobs_are_purged(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    archived = await jobs.ended(RowState.COMPLETED)
    clock.advance(1)
    assert await storage.archive(0, 100) == 1
    live, missing, late = await jobs.send(), UUID(int=1), UUID(int=2**128 - 1)
    written = [JobEvent(job_id, 1, "log", "{}") for job_id in (archived, live, missing, missing, late)]
    await storage.append_events(written)
    assert await storage.purge(DAY, 1) == 0
    left = [len(await storage.events({job_id: 0})) for job_id in (archived, live, missing, late)]
    assert left == [1, 1, 0, 0]


async def test_purged_id_can_be_used_again(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.ended(RowState.COMPLETED)
    clock.advance(1)
    await storage.archive(0, 100)
    clock.advance(1)
    await storage.purge(0, 100)
    assert await storage.insert([jobs.new(id=job_id)]) == [job_id]
    assert (await jobs.claim_one()).attempt == 1


async def test_batch_without_length_is_refused(storage: Storage) -> None:
    async def check(verb: str, limit: int) -> None:
        arguments = [60.0, limit] if verb in ("archive", "purge") else [limit]
        with pytest.raises(InvalidOptionError, match=f"^limit: must be at least 1, got {limit}$"):
            async with storage.transaction() as transaction:
                await getattr(storage if arguments[1:] else transaction, verb)(*arguments)

    verbs = ("archive", "purge", "lock_expired", "lock_due_schedules")
    await check_each_async([(verb, limit) for verb in verbs for limit in (0, -1)], check)


async def test_outcome_of_a_child_is_kept_as_long_as_its_parent_is_live(
    storage: Storage, jobs: Driver
) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    plain = await jobs.send("errand", parent=parent.id)
    for job in await jobs.claim("errand"):
        await jobs.complete(job, '{"done": true}')
    for _ in range(3):
        jobs.clock.advance(8 * DAY)
        await storage.archive(DAY, 100)
        jobs.clock.advance(8 * DAY)
        await storage.purge(7 * DAY, 100)
        assert list(await storage.get([child, plain])) == [child]
    again = await jobs.claim_one()
    assert (again.id, await storage.insert([jobs.new("errand", id=child)])) == (parent.id, [child])
    await jobs.complete(again)
    jobs.clock.advance(8 * DAY)
    await storage.archive(DAY, 100)
    jobs.clock.advance(8 * DAY)
    assert await storage.purge(7 * DAY, 100) == 2
    assert await storage.get([child, parent.id]) == {}
