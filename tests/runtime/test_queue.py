"""Looking at jobs, cancelling them, and bringing them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from zeke_queue.errors import JobNotFound, Refused
from zeke_queue.model import JobFilter, JobState

if TYPE_CHECKING:
    from tests.clocks import FrozenClock
    from tests.conformance.driver import Driver
    from zeke_queue.queue import Queue

NOBODY = UUID("0193aaaa-0000-7000-8000-00000000dead")
DAY = 86_400


async def state(queue: Queue, job_id: UUID) -> JobState:
    job = await queue.get(job_id)
    assert job is not None
    return job.state


# Looking


async def test_a_job_that_never_was_is_none(queue: Queue) -> None:
    assert await queue.get(NOBODY) is None


async def test_a_run_of_a_job_that_was_sent_elsewhere_is_found_by_its_id(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.send("mail")
    run = await queue.run(job_id)
    assert (run.id, run.task) == (job_id, "mail")


async def test_a_run_of_a_job_that_never_was_is_an_error(queue: Queue) -> None:
    with pytest.raises(JobNotFound, match=str(NOBODY)):
        await queue.run(NOBODY)


async def test_jobs_are_listed_newest_first_and_counted_by_state(queue: Queue, jobs: Driver) -> None:
    first, second = await queue.send("clean"), await queue.send("clean")
    await jobs.claim("clean", limit=1)
    assert [job.id for job in await queue.find(JobFilter(names=("clean",)))] == [second, first]
    (count,) = await queue.count()
    assert count.states == {JobState.CREATED: 1, JobState.ACTIVE: 1}


# Cancelling


async def test_a_job_that_waits_or_runs_is_cancelled(queue: Queue, jobs: Driver) -> None:
    waiting = await jobs.send("clean", delay=60)
    running = await jobs.running("clean")
    for job_id in (waiting, running.id):
        assert await queue.cancel(job_id) is True
        assert await state(queue, job_id) is JobState.CANCELLED


async def test_a_run_cancels_its_job(queue: Queue) -> None:
    run = await queue.trigger("clean")
    assert await run.cancel() is True
    assert await state(queue, run.id) is JobState.CANCELLED


async def test_a_job_that_has_ended_is_not_cancelled(queue: Queue, jobs: Driver) -> None:
    assert await queue.cancel(await jobs.ended(JobState.COMPLETED)) is False


# Bringing back


@pytest.mark.parametrize(
    ("ended", "verb", "back"),
    [
        (JobState.CANCELLED, "resume", JobState.CREATED),
        (JobState.FAILED, "retry", JobState.RETRY),
        (JobState.EXPIRED, "retry", JobState.RETRY),
    ],
)
async def test_an_ended_job_is_brought_back_by_its_verb(
    queue: Queue, jobs: Driver, ended: JobState, verb: str, back: JobState
) -> None:
    job_id = await jobs.ended(ended)
    assert await getattr(queue, verb)(job_id) is True
    assert await state(queue, job_id) is back


@pytest.mark.parametrize("ended", [JobState.COMPLETED, JobState.CANCELLED])
async def test_what_did_not_fail_is_not_retried(queue: Queue, jobs: Driver, ended: JobState) -> None:
    job_id = await jobs.ended(ended)
    assert await queue.retry(job_id) is False
    assert await state(queue, job_id) is ended


@pytest.mark.parametrize("ended", [JobState.COMPLETED, JobState.FAILED])
async def test_what_was_not_cancelled_is_not_resumed(queue: Queue, jobs: Driver, ended: JobState) -> None:
    job_id = await jobs.ended(ended)
    assert await queue.resume(job_id) is False
    assert await state(queue, job_id) is ended


async def test_an_archived_job_is_not_brought_back(queue: Queue, jobs: Driver, clock: FrozenClock) -> None:
    failed, cancelled = await jobs.ended(JobState.FAILED), await jobs.ended(JobState.CANCELLED)
    clock.advance(2 * DAY)
    assert await queue.storage.archive(DAY, 10) == 2
    assert await queue.retry(failed) is False
    assert await queue.resume(cancelled) is False


@pytest.mark.parametrize("verb", ["cancel", "resume", "retry"])
async def test_a_job_that_never_was_can_not_be_looked_after(queue: Queue, verb: str) -> None:
    with pytest.raises(JobNotFound):
        await getattr(queue, verb)(NOBODY)


@pytest.mark.parametrize(("ended", "verb"), [(JobState.CANCELLED, "resume"), (JobState.FAILED, "retry")])
@pytest.mark.parametrize(
    "rule",
    [
        {"singleton_key": "k"},
        {"slot_seconds": 60},
        {"slot_seconds": 3600, "singleton_key": "k"},
        {"slot_seconds": 7},
    ],
)
async def test_a_job_whose_place_another_one_has_stays_and_the_other_is_named(
    queue: Queue, jobs: Driver, ended: JobState, verb: str, rule: dict[str, Any]
) -> None:
    job_id = await jobs.ended(ended, **rule)
    holder = await jobs.send(**rule)
    with pytest.raises(Refused) as caught:
        await getattr(queue, verb)(job_id)
    assert caught.value.holder == holder
    assert str(holder) in str(caught.value)
    assert await state(queue, job_id) is ended


@pytest.mark.parametrize(("seconds", "later"), [(60, 50), (3600, 3000), (7, 500), (86_400, 400_000)])
async def test_the_place_of_a_job_is_the_slot_it_had_and_not_the_one_of_now(
    queue: Queue, jobs: Driver, clock: FrozenClock, seconds: int, later: int
) -> None:
    job_id = await jobs.ended(JobState.FAILED, slot_seconds=seconds)
    holder = await jobs.send(slot_seconds=seconds)
    clock.advance(later)
    with pytest.raises(Refused) as caught:
        await queue.retry(job_id)
    assert caught.value.holder == holder
