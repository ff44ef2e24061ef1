"""What ended lately, in spans of time, and how long due jobs have waited."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.cases import check_each_async
from tests.clocks import START, FrozenClock
from tests.conformance.driver import Driver
from tests.conformance.planting import Plant
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import RowState, Throughput
from zeke_queue.storage import Storage


def nothing(begin: datetime, **fields: Any) -> Throughput:
    """Return a span in which nothing happened but this."""
    return Throughput(begin, 0, 0, 0, None, None, None, None)._replace(**fields)


async def ran(
    jobs: Driver, clock: FrozenClock, *, wait: float = 0.0, run: float = 0.0, name: str = "mail"
) -> None:
    """Keep a job due for some time, and then run and complete it."""
    await jobs.send(name)
    clock.advance(wait)
    job = await jobs.claim_one(name)
    clock.advance(run)
    assert await jobs.complete(job)


async def test_buckets_are_aligned_and_the_last_one_contains_now(
    storage: Storage, clock: FrozenClock
) -> None:
    clock.advance(61.5)
    expected = [nothing(START + timedelta(seconds=60 * number)) for number in (-1, 0, 1)]
    assert await storage.throughput((), 121, 60) == expected


async def test_job_counts_in_the_bucket_of_its_end(storage: Storage, jobs: Driver) -> None:
    jobs.clock.advance(59.999999)
    await jobs.ended(RowState.COMPLETED)
    jobs.clock.advance(0.000001)
    await jobs.ended(RowState.FAILED)
    await jobs.ended(RowState.EXPIRED)
    await jobs.ended(RowState.CANCELLED)
    await storage.cancel([await jobs.send()])
    jobs.clock.advance(59.999999)
    await jobs.send()
    await jobs.running("post")
    none = {"wait_median": 0.0, "wait_95": 0.0, "run_median": 0.0, "run_95": 0.0}
    assert await storage.throughput((), 61, 60) == [
        nothing(START, completed=1, **none),
        nothing(START + timedelta(seconds=60), failed=2, cancelled=2, **none),
    ]


@pytest.mark.parametrize("archives", [False, True])
async def test_job_that_ended_before_the_first_bucket_does_not_count(
    storage: Storage, jobs: Driver, *, archives: bool
) -> None:
    await jobs.ended(RowState.COMPLETED)
    if archives:
        assert await storage.archive(-1, 100) == 1
    jobs.clock.advance(59.999999)
    assert [one.completed for one in await storage.throughput((), 60, 60)] == [1]
    jobs.clock.advance(0.000001)
    assert [one.completed for one in await storage.throughput((), 60, 60)] == [0]
    assert [one.completed for one in await storage.throughput((), 61, 60)] == [1, 0]


async def test_archived_jobs_are_counted(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await ran(jobs, clock, wait=2, run=3)
    before = await storage.throughput((), 3600, 600)
    assert sum(one.completed for one in before) == 1
    await storage.archive(-1, 100)
    assert await storage.throughput((), 3600, 600) == before


async def test_requeued_job_is_not_counted(storage: Storage, jobs: Driver) -> None:
    failed, cancelled = await jobs.ended(RowState.FAILED), await jobs.ended(RowState.CANCELLED)
    await storage.retry([failed])
    await storage.resume([cancelled])
    assert await storage.throughput((), 60, 60) == [nothing(START)]


async def test_throughput_can_be_limited_to_queues(storage: Storage, jobs: Driver) -> None:
    for name in ("mail", "mail", "post", "Mail"):
        await jobs.ended(RowState.COMPLETED, name)

    async def completed(*names: str) -> int:
        (span,) = await storage.throughput(names, 60, 60)
        return span.completed

    assert [await completed(), await completed("mail"), await completed("post", "Mail")] == [4, 2, 2]
    assert await completed("nobody") == 0


async def test_wait_counts_from_the_due_time_and_run_is_the_last_attempt(jobs: Driver) -> None:
    await jobs.send(delay=100.0)
    jobs.clock.advance(102)
    first = await jobs.claim_one()
    jobs.clock.advance(50)
    await jobs.fail(first, retry_in=30.0)
    jobs.clock.advance(33.5)
    await jobs.complete(await jobs.claim_one())
    jobs.clock.advance(-0.5)  # the storage's clock is set back, and then a job ends
    second = await jobs.running("post")
    jobs.clock.advance(-1)
    await jobs.fail(second)
    (span,) = await jobs.storage.throughput((), 3600, 3600)
    assert span == Throughput(START, 1, 1, 0, 0.0, 3.5, 0.0, 0.0)


async def test_cancelled_and_unstarted_jobs_have_no_durations(storage: Storage, jobs: Driver) -> None:
    running = await jobs.running()
    jobs.clock.advance(5)
    await storage.cancel([running.id])
    await storage.cancel([await jobs.send()])
    assert await storage.throughput((), 60, 60) == [nothing(START, cancelled=2)]


async def test_percentiles_are_values_by_the_nearest_rank(storage: Storage, jobs: Driver) -> None:
    async def check(times: list[float], median: float, ninety_five: float) -> None:
        waited, run = f"waited {len(times)} {median}", f"run {len(times)} {median}"
        for seconds in times:
            await ran(jobs, jobs.clock, wait=seconds, name=waited)
        (day,) = await storage.throughput([waited], 86_400, 86_400)
        assert (day.completed, day.wait_median, day.wait_95) == (len(times), median, ninety_five)
        assert (day.run_median, day.run_95) == (0.0, 0.0)
        for seconds in times:
            await ran(jobs, jobs.clock, run=seconds, name=run)
        (day,) = await storage.throughput([run], 86_400, 86_400)
        assert (day.run_median, day.run_95) == (median, ninety_five)

    cases = [
        ([3.0], 3.0, 3.0),
        ([3.0, 1.0], 1.0, 3.0),
        ([5.0, 1.0, 3.0], 3.0, 5.0),
        ([float(n) for n in range(1, 21)], 10.0, 19.0),
        ([float(n) for n in range(1, 22)], 11.0, 20.0),
        ([float(n) for n in range(1, 41)], 20.0, 38.0),
        ([0.000001, 2.5], 0.000001, 2.5),
    ]
    await check_each_async(cases, check)


async def test_invalid_span_or_step_is_refused(storage: Storage) -> None:
    async def check(span: float, step: float, message: str) -> None:
        with pytest.raises(InvalidOptionError, match=message):
            await storage.throughput((), span, step)

    cases = [
        (0, 1, "^span: .* got 0$"),
        (700_000, 3600, "^span: .* got 700000$"),
        (60, 0.5, "^step: .* got 0.5$"),
        (3600, 1, "3600 spans"),
    ]
    await check_each_async(cases, check)


# Lag


async def lags(storage: Storage) -> dict[str, float]:
    stats = await storage.queue_stats()
    return {one.name: one.oldest_due_age for one in stats if one.oldest_due_age is not None}


async def test_queue_without_due_jobs_has_no_lag(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    assert await lags(storage) == {}
    await jobs.ended(RowState.COMPLETED, "post")
    await jobs.running("post")
    await jobs.send(delay=10.0)
    clock.advance(9.999999)
    assert await lags(storage) == {}
    clock.advance(0.000001)
    assert await lags(storage) == {"mail": 0.0}


async def test_lag_is_the_longest_wait_of_any_priority(storage: Storage, jobs: Driver) -> None:
    for priority, delay in ((1, 3.0), (0, 1.0), (-1, 2.5), (2, 60.0)):
        await jobs.send(priority=priority, delay=delay)
        await jobs.send("post", priority=-priority, delay=delay + 1)
    await jobs.send("Post", delay=60.0)
    jobs.clock.advance(5)
    assert await lags(storage) == {"mail": 4.0, "post": 3.0}
    await jobs.claim(limit=1)
    assert await lags(storage) == {"mail": 4.0, "post": 3.0}  # the first claim took the urgent jobs
    await jobs.claim(limit=1)
    assert await lags(storage) == {"mail": 2.5, "post": 3.0}


async def test_lag_of_a_retry_counts_from_its_due_time(storage: Storage, jobs: Driver) -> None:
    jobs.clock.advance(5)
    await jobs.fail(await jobs.running(), retry_in=2.0)
    jobs.clock.advance(3)
    assert await lags(storage) == {"mail": 1.0}


async def test_paused_queue_has_a_lag(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await jobs.send()
    await storage.pause_queue("mail", paused=True)
    clock.advance(7)
    assert await lags(storage) == {"mail": 7.0}


async def test_lags_are_sorted_by_the_bytes_of_their_names(storage: Storage, jobs: Driver) -> None:
    for name in ("b", "a-b", "A", "ab", "ä"):
        await jobs.send(name)
        await jobs.send(name, priority=1)
    assert list(await lags(storage)) == ["A", "a-b", "ab", "b", "ä"]


async def test_job_waiting_for_a_child_has_no_lag(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    await jobs.wait_for(child, parent)
    clock.advance(4)
    assert await lags(storage) == {"errand": 4.0}


async def test_lag_of_a_job_due_since_the_earliest_time_counts_from_it(jobs: Driver, plant: Plant) -> None:
    job = await jobs.look(await jobs.send())
    long_ago = job.start_after.min.replace(tzinfo=job.start_after.tzinfo)
    await plant(replace(job, start_after=long_ago))
    assert await lags(jobs.storage) == {"mail": (jobs.clock.now() - long_ago).total_seconds()}
