"""Looking at jobs: by id, by filter, in numbers."""

from __future__ import annotations

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from zeke_queue.errors import BadOption
from zeke_queue.model import JobFilter, JobState, QueueCount
from zeke_queue.storage.store import Storage


async def test_jobs_are_got_by_id_live_or_archived(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    archived = await jobs.ended(JobState.COMPLETED)
    clock.advance(1)
    await storage.archive(0, 100)
    live, unknown = await jobs.send(), jobs.new_id()
    found = await storage.get([live, archived, unknown])
    assert {job_id: job.state for job_id, job in found.items()} == {
        live: JobState.CREATED,
        archived: JobState.COMPLETED,
    }
    assert await storage.get([]) == {}


async def test_a_value_does_not_change_with_its_job(storage: Storage, jobs: Driver) -> None:
    job_id = await jobs.send()
    seen = await jobs.look(job_id)
    await storage.cancel([job_id])
    assert seen.state is JobState.CREATED


async def test_jobs_are_found_newest_first_a_page_at_a_time(storage: Storage, jobs: Driver) -> None:
    ids = [await jobs.send() for _ in range(5)]
    first = await storage.find(JobFilter(limit=3))
    assert [job.id for job in first] == ids[:1:-1]
    rest = await storage.find(JobFilter(limit=3, before=first[-1].id))
    assert [job.id for job in rest] == [ids[1], ids[0]]


async def test_jobs_are_found_by_queue_state_and_parent(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.send("parents")
    child = await jobs.send("mail", parent=parent)
    failed = await jobs.ended(JobState.FAILED, "post")

    async def found(**filters: object) -> set[object]:
        return {job.id for job in await storage.find(JobFilter(**filters))}  # type: ignore[arg-type]

    assert await found(names=("mail", "post")) == {child, failed}
    assert await found(states=(JobState.FAILED, JobState.ACTIVE)) == {failed}
    assert await found(parent=parent) == {child}
    assert await found(names=("mail",), states=(JobState.FAILED,)) == set()
    assert await found() == {parent, child, failed}


async def test_archived_jobs_are_found_when_asked_for(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    archived = await jobs.ended(JobState.COMPLETED)
    clock.advance(1)
    await storage.archive(0, 100)
    live = await jobs.send()
    assert [job.id for job in await storage.find(JobFilter(archived=True))] == [archived]
    assert [job.id for job in await storage.find(JobFilter())] == [live]


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_of_no_length_or_too_long_a_one_is_refused(storage: Storage, limit: int) -> None:
    with pytest.raises(BadOption, match="limit"):
        await storage.find(JobFilter(limit=limit))


async def test_live_jobs_are_counted_by_queue_and_state(storage: Storage, jobs: Driver) -> None:
    assert await storage.count() == []
    await jobs.ended(JobState.FAILED, "post")
    await jobs.running("post")
    await jobs.send("post")
    await jobs.send("post")
    await jobs.send("mail")
    assert await storage.count() == [
        QueueCount("mail", {JobState.CREATED: 1}),
        QueueCount("post", {JobState.FAILED: 1, JobState.ACTIVE: 1, JobState.CREATED: 2}),
    ]


async def test_queues_are_counted_in_the_order_of_their_bytes(storage: Storage, jobs: Driver) -> None:
    for name in ("b", "a-b", "A", "ab", "ä"):
        await jobs.send(name)
    assert [count.name for count in await storage.count()] == ["A", "a-b", "ab", "b", "ä"]


async def test_the_storage_tells_its_time(storage: Storage, clock: FrozenClock) -> None:
    assert await storage.now() == clock.now()
    clock.advance(1.000001)
    assert await storage.now() == clock.now()
