"""Sending: what becomes of a new job, and what happens when it is sent twice."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from itertools import product
from typing import Any

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from zeke_queue.model import Job, JobQuery, NewJob, RowState
from zeke_queue.storage import Storage

CENTURY = timedelta(days=36_500)


async def test_new_job_is_stored_with_every_sent_column(storage: Storage, jobs: Driver) -> None:
    as_sent: dict[str, Any] = {
        "id": jobs.new_id(),
        "name": "mail",
        "priority": 7,
        "retry_limit": 9,
        "retry_delay": 4,
        "retry_backoff": False,
        "retry_delay_max": 60,
        "expire_in": 12.25,
        "singleton_key": "anna",
        "policy": "stately",
        "group_key": "tenant-1",
        "parent": jobs.new_id(),
    }
    sent = NewJob(data='{"to":"anna"}', meta='{"trace":"t1"}', delay=90.5, **as_sent)
    assert await storage.insert([sent]) == [sent.id]
    assert await jobs.look(sent.id) == Job(
        row_state=RowState.CREATED,
        data={"to": "anna"},
        meta={"trace": "t1"},
        attempt=0,
        retry_count=0,
        start_after=jobs.clock.now() + timedelta(seconds=90.5),
        created_on=jobs.clock.now(),
        keep_until=jobs.clock.now() + CENTURY,
        **dict.fromkeys(("started_on", "singleton_on", "completed_on", "output", "worker")),
        **as_sent,
    )


async def test_job_without_options_has_the_defaults(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.look(await jobs.send())
    assert (job.data, job.meta, job.parent, job.retry_delay_max) == (None, None, None, None)
    assert (job.priority, job.retry_limit, job.retry_delay, job.retry_backoff) == (0, 3, 1, True)
    assert (job.start_after, job.expire_in) == (clock.now(), 3600.0)


async def test_start_time_overrides_a_delay(jobs: Driver, clock: FrozenClock) -> None:
    instant = clock.now() + timedelta(days=400, microseconds=1)
    job = await jobs.look(await jobs.send(start_at=instant, delay=5))
    assert job.start_after == instant


async def test_jobs_of_a_batch_are_stored_like_single_ones(storage: Storage, jobs: Driver) -> None:
    """Postgres has a statement for each."""
    now, options = jobs.clock.now(), list[dict[str, Any]]()
    for start, rule, number in product(
        [{}, {"delay": 1.0000005}, *({"start_at": now + timedelta(seconds=n)} for n in (-60, 5, 900))],
        [{}, {"slot_seconds": 60}, {"slot_seconds": 60, "slot_offset": 60}, {"singleton_key": "anna"}],
        range(2),
    ):
        options.append(
            {"priority": number, "retry_limit": number, "expire_in": 1.5 + number, **start, **rule}
        )
    many = [jobs.new(f"many {place}", **one) for place, one in enumerate(options)]
    assert await storage.insert(many) == [job.id for job in many]
    for job in many:
        single = await jobs.look(await jobs.send(**(asdict(job) | {"id": jobs.new_id(), "name": "single"})))
        assert await storage.cancel([single.id])
        stored = await jobs.look(job.id)
        ended = {"row_state": RowState.CANCELLED, "completed_on": now}
        assert replace(stored, id=single.id, name="single", **ended) == await jobs.look(single.id)


async def test_insert_returns_jobs_in_the_order_of_its_arguments(storage: Storage, jobs: Driver) -> None:
    sent = [jobs.new(name, priority=n) for n, name in enumerate(["b", "c", "a", "b"] * 50)]
    assert await storage.insert(sent) == [job.id for job in sent]
    assert len((await storage.find(JobQuery(limit=1000))).jobs) == 200


async def test_insert_of_no_jobs_changes_nothing(storage: Storage) -> None:
    assert await storage.insert([]) == []
    assert await storage.queue_stats() == []


async def test_repeated_insert_returns_its_id_and_changes_nothing(storage: Storage, jobs: Driver) -> None:
    job = jobs.new(data='{"n": 1}')
    await storage.insert([job])
    before = await jobs.look(job.id)
    jobs.clock.advance(10)
    repeated = NewJob(job.id, "mail", '{"n": 2}', priority=5)
    assert await storage.insert([repeated]) == [job.id]
    assert await jobs.look(job.id) == before


async def test_insert_of_an_ended_or_archived_job_does_not_run_it_again(
    storage: Storage, jobs: Driver
) -> None:
    job_id = await jobs.ended(RowState.COMPLETED)
    for archived in (0, 1):
        jobs.clock.advance(100 * archived)
        assert await storage.archive(10, 100) == archived
        assert await storage.insert([NewJob(job_id, "mail")]) == [job_id]
        assert await jobs.claim() == []


async def test_duplicate_id_in_a_call_is_one_job(storage: Storage, jobs: Driver) -> None:
    job = jobs.new()
    assert await storage.insert([job, job]) == [job.id, job.id]
    assert len(await jobs.claim()) == 1


async def test_first_queue_by_name_wins_for_a_duplicate_id(storage: Storage, jobs: Driver) -> None:
    job_id = jobs.new_id()
    assert await storage.insert([jobs.new("b", id=job_id), jobs.new("a", id=job_id)]) == [job_id, job_id]
    assert (await jobs.look(job_id)).name == "a"


async def test_call_may_mix_new_and_repeated_jobs(storage: Storage, jobs: Driver) -> None:
    known, unknown = jobs.new(), jobs.new()
    await storage.insert([known])
    assert await storage.insert([unknown, known]) == [unknown.id, known.id]
    assert len(await jobs.claim()) == 2


async def test_payload_is_returned_as_jsonb_stores_it(jobs: Driver) -> None:
    await jobs.send(data='{"bb":1E2, "a":1.50, "c":"\\u00e9", "a":[1.0,true,null]}')
    claimed = await jobs.claim_one()
    assert claimed.data == '{"a": [1.0, true, null], "c": "é", "bb": 100}'.encode()


async def test_payload_null_differs_from_no_payload(jobs: Driver) -> None:
    first = await jobs.running(data="null")
    second = await jobs.running()
    assert (first.data, second.data) == (b"null", None)


async def test_unusual_names_and_keys_are_stored_unchanged(jobs: Driver) -> None:
    name, key = "naïve'; -- \\ {x} %s", 'ключ 🗝 "%(n)s"'
    job = await jobs.running(name, singleton_key=key)
    assert (job.name, (await jobs.look(job.id)).singleton_key) == (name, key)


async def test_insert_needs_no_worker(storage: Storage, jobs: Driver) -> None:
    await jobs.send("nobody-serves-this")
    assert await storage.workers() == []
    assert (await storage.queue_stats())[0].row_counts == {RowState.CREATED: 1}


async def test_durations_are_rounded_to_the_microsecond(storage: Storage, jobs: Driver) -> None:
    for delay, kept in [(0.0000025, 2), (1.0000015, 1_000_001), (4.0000005, 4_000_000), (0.1 + 0.2, 300_000)]:
        job = await jobs.look(await jobs.send(delay=delay, expire_in=60 + delay))
        assert job.start_after - jobs.clock.now() == timedelta(microseconds=kept), delay
        assert timedelta(seconds=job.expire_in) == timedelta(seconds=60 + delay), delay
