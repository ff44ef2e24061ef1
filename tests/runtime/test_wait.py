"""Waiting for the end of a job, and watching it on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver, is_kept_waiting, soon
from tests.conformance.storages import on_both_storages
from tests.runtime.catalogs import mail_catalog
from tests.runtime.workers.place import advance_until, turns
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import (
    JobCancelledError,
    JobExpiredError,
    JobFailedError,
    JobNotFoundError,
    ResultTimeoutError,
    StorageUnavailableError,
)
from zeke_queue.model import Job, JobEvent, JobStatus, RowState
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.run import Run
from zeke_queue.watch.job_watcher import OUTAGE_TIMEOUT, READ_BURST, READS_PER_SECOND

News = AsyncGenerator["Job | JobEvent"]

NOBODY = UUID("0193aaaa-0000-7000-8000-00000000dead")


async def next_of(changes: News) -> JobStatus:
    job = await soon(anext(changes))
    assert isinstance(job, Job)
    return job.status


@asynccontextmanager
async def watching(queue: Queue, job_id: UUID, first: JobStatus = JobStatus.QUEUED) -> AsyncIterator[News]:
    """Watch a job during the block, after its first status."""
    async with aclosing(parts_of(queue).runs.watch(job_id)) as changes:
        assert await next_of(changes) is first
        yield changes


async def rest_of(changes: News) -> list[JobStatus]:
    async def collect() -> list[JobStatus]:
        return [job.status async for job in changes if isinstance(job, Job)]

    return await soon(collect())


# The result


@on_both_storages
async def test_result_is_the_output(queue: Queue, jobs: Driver) -> None:
    run = await queue.trigger("clean")
    waiting = asyncio.ensure_future(run.result())
    claimed = await jobs.claim_one("clean")
    assert await jobs.complete(claimed, '{"swept": 3}')
    assert await soon(waiting) == {"swept": 3}


def run_of(queue: Queue, job_id: UUID) -> Run[Any]:
    return Run(parts_of(queue).runs, job_id, "any")


async def test_result_of_an_ended_job_is_returned_at_once(queue: Queue, jobs: Driver) -> None:
    job = await jobs.running("clean")
    await jobs.complete(job, "5")
    assert await soon(run_of(queue, job.id).result()) == 5
    assert await soon(run_of(queue, job.id).result(timeout=0)) == 5


@on_both_storages
async def test_result_of_a_job_that_did_not_complete_is_an_error_by_its_end(
    queue: Queue, jobs: Driver
) -> None:
    async def check(end: RowState, kind: type[JobFailedError]) -> None:
        job_id = await jobs.ended(end)
        with pytest.raises(JobFailedError) as caught:
            await soon(run_of(queue, job_id).result())
        assert (type(caught.value), caught.value.job.id, caught.value.job.row_state) == (kind, job_id, end)
        assert ("boom" in str(caught.value)) is (end is not RowState.CANCELLED)

    cases = [
        (RowState.FAILED, JobFailedError),
        (RowState.EXPIRED, JobExpiredError),
        (RowState.CANCELLED, JobCancelledError),
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_result_of_an_unknown_job_is_an_error(queue: Queue) -> None:
    with pytest.raises(JobNotFoundError):
        await soon(run_of(queue, NOBODY).result())
    with pytest.raises(JobNotFoundError):
        await soon(run_of(queue, NOBODY).result(timeout=0))


@on_both_storages
async def test_late_result_is_a_timeout_and_the_job_continues(queue: Queue, jobs: Driver) -> None:
    run = await queue.trigger("clean")
    waiting = asyncio.ensure_future(run.result(timeout=30))
    assert await is_kept_waiting(asyncio.shield(waiting))
    jobs.clock.advance(30)
    with pytest.raises(ResultTimeoutError, match="30 s"):
        await soon(waiting)
    assert (await jobs.claim_one("clean")).id == run.id


# Watching


@on_both_storages
async def test_each_change_of_status_is_reported_once_in_order(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.send("mail")
    async with aclosing(parts_of(queue).runs.watch(job_id)) as changes:
        told = [await next_of(changes)]
        claimed = await jobs.claim_one()
        told.append(await next_of(changes))
        await jobs.fail(claimed, retry_in=0)
        told.append(await next_of(changes))
        again = await jobs.claim_one()
        told.append(await next_of(changes))
        await jobs.complete(again)
        told += await rest_of(changes)
    assert told == [
        JobStatus.QUEUED,
        JobStatus.EXECUTING,
        JobStatus.QUEUED,
        JobStatus.EXECUTING,
        JobStatus.COMPLETED,
    ]


async def test_ended_job_is_reported_once(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.ended(RowState.CANCELLED)
    assert await rest_of(parts_of(queue).runs.watch(job_id)) == [JobStatus.CANCELLED]
    assert await rest_of(parts_of(queue).runs.watch(job_id)) == [JobStatus.CANCELLED]


async def test_watching_an_unknown_job_is_an_error(queue: Queue) -> None:
    with pytest.raises(JobNotFoundError):
        await rest_of(parts_of(queue).runs.watch(NOBODY))


@on_both_storages
async def test_all_watchers_see_each_change_and_a_late_one_begins_with_the_present(
    queue: Queue, jobs: Driver
) -> None:
    job_id = await jobs.send()
    early = [parts_of(queue).runs.watch(job_id) for _ in range(3)]
    assert [await next_of(changes) for changes in early] == [JobStatus.QUEUED] * 3
    claimed = await jobs.claim_one()
    assert [await next_of(changes) for changes in early] == [JobStatus.EXECUTING] * 3
    late = parts_of(queue).runs.watch(job_id)
    assert await next_of(late) is JobStatus.EXECUTING
    await jobs.complete(claimed)
    assert [await rest_of(changes) for changes in (*early, late)] == [[JobStatus.COMPLETED]] * 4


@on_both_storages
async def test_closed_watcher_does_not_disturb_the_others(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.send()
    leaving, staying = parts_of(queue).runs.watch(job_id), parts_of(queue).runs.watch(job_id)
    assert [await next_of(leaving), await next_of(staying)] == [JobStatus.QUEUED] * 2
    await leaving.aclose()
    await queue.cancel(job_id)
    assert await rest_of(staying) == [JobStatus.CANCELLED]


async def test_requeued_job_is_not_taken_for_ended(watched: Queue, odd: Odd, clock: FrozenClock) -> None:
    # The job is retried while the first watch is still closing at the storage and before another watcher has
    # read its changes.
    jobs = Driver(odd, clock)
    odd.leaving = asyncio.Event()
    running = await jobs.running()
    slow = parts_of(watched).runs.watch(running.id)
    assert await next_of(slow) is JobStatus.EXECUTING
    waiting = asyncio.ensure_future(run_of(watched, running.id).result())
    await clock.sleep(0)
    await jobs.fail(running)
    with pytest.raises(JobFailedError):
        await soon(waiting)
    assert await watched.retry(running.id)
    again = asyncio.ensure_future(run_of(watched, running.id).result())
    await clock.sleep(0)
    await jobs.complete(await jobs.claim_one(), '"done"')
    assert await soon(again) == "done"
    odd.leaving.set()
    assert await rest_of(slow) == [JobStatus.FAILED]


@on_both_storages
async def test_closing_the_queue_fails_its_watchers(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.send()
    async with watching(queue, job_id) as changes:
        await queue.close()
        with pytest.raises(StorageUnavailableError, match="closed"):
            await soon(anext(changes))


@on_both_storages
async def test_closing_the_queue_fails_a_watcher_that_just_began(queue: Queue, jobs: Driver) -> None:
    coming = asyncio.ensure_future(anext(parts_of(queue).runs.watch(await jobs.send())))
    await queue.clock.sleep(0)
    await queue.close()
    with pytest.raises(StorageUnavailableError, match="closed"):
        await soon(coming)


async def test_closed_queue_refuses_watchers(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.send()
    await queue.close()
    with pytest.raises(StorageUnavailableError, match="closed"):
        await soon(anext(parts_of(queue).runs.watch(job_id)))
    with pytest.raises(StorageUnavailableError, match="closed"):
        await soon(run_of(queue, job_id).result())


async def test_cancelled_watchers_leave_no_tasks_behind(watched: Queue, odd: Odd, clock: FrozenClock) -> None:
    job_id = await Driver(odd, clock).send()
    before = asyncio.all_tasks()
    waiting = [asyncio.ensure_future(run_of(watched, job_id).result(timeout)) for timeout in (None, 30, None)]
    for moment in range(12):
        for _ in range(moment):
            await clock.sleep(0)
        waiting.append(asyncio.ensure_future(run_of(watched, job_id).result()))
        waiting.pop(0).cancel()
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await turns(20)
    assert asyncio.all_tasks() == before
    assert not odd._notifier.has_waiters  # the storage's record for watchers


# When the storage misbehaves: these watch through a storage that does so on purpose


class Odd(MemoryStorage):
    """A storage that records its reads, and answers as set by a test."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.looked_up: list[int] = []
        self.away = False
        self.answers: list[dict[UUID, Job]] = []
        self.leaving: asyncio.Event | None = None

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Any]:
        async with super().subscribe() as watch:
            yield watch
            if self.leaving is not None:
                await self.leaving.wait()

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        self.looked_up.append(len(ids))
        if self.away:
            raise StorageUnavailableError("the server is starting up")
        return self.answers.pop(0) if self.answers else await super().get(ids)


@pytest.fixture
def odd(clock: FrozenClock) -> Odd:
    return Odd(clock)


@pytest.fixture
def watched(odd: Odd, clock: FrozenClock) -> Queue:
    return Queue(mail_catalog(), odd, clock=clock)


async def test_lost_notification_only_delays_a_change(
    watched: Queue, odd: Odd, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Driver(odd, clock)
    job_id = await jobs.send()
    async with watching(watched, job_id) as changes:
        monkeypatch.setattr(odd._notifier, "job", lambda job_id: None)  # the storage's own notification
        await watched.cancel(job_id)
        coming = asyncio.ensure_future(next_of(changes))
        delay = await advance_until(coming.done, clock, 0.1)
        assert coming.result() is JobStatus.CANCELLED
        assert delay <= 2.1


async def test_polls_become_rarer_while_nothing_changes(watched: Queue, odd: Odd, clock: FrozenClock) -> None:
    job_id = await Driver(odd, clock).send()
    async with aclosing(parts_of(watched).runs.watch(job_id)) as changes:
        await next_of(changes)
        for _ in range(600):
            clock.advance(0.1)
            await turns(5)
    assert len(odd.looked_up) <= 36


async def test_watchers_share_their_queries(watched: Queue, odd: Odd, clock: FrozenClock) -> None:
    jobs = Driver(odd, clock)
    ids = [await jobs.send() for _ in range(50)]
    watchers = [parts_of(watched).runs.watch(job_id) for job_id in ids for _ in range(4)]
    assert set(await asyncio.gather(*map(next_of, watchers))) == {JobStatus.QUEUED}
    assert Counter(odd.looked_up) == {50: 1}
    await odd.cancel(ids)
    assert set(await asyncio.gather(*map(next_of, watchers))) == {JobStatus.CANCELLED}
    await asyncio.gather(*map(rest_of, watchers))


async def test_query_that_returns_an_earlier_stage_reports_no_change(
    watched: Queue, odd: Odd, clock: FrozenClock
) -> None:
    jobs = Driver(odd, clock)
    job_id = await jobs.send()
    before = await odd.get([job_id])
    claimed = await jobs.claim_one()
    odd.answers = [await odd.get([job_id]), before, before]
    async with watching(watched, job_id, JobStatus.EXECUTING) as changes:
        coming = asyncio.ensure_future(next_of(changes))
        await advance_until(lambda: not odd.answers, clock, 0.1)
        assert not coming.done()
        await jobs.complete(claimed)
        assert await soon(coming) is JobStatus.COMPLETED


async def test_query_that_returns_an_earlier_end_ends_nothing(
    watched: Queue, odd: Odd, clock: FrozenClock
) -> None:
    jobs = Driver(odd, clock)
    job_id = await jobs.ended(RowState.FAILED)
    before = await odd.get([job_id])
    await odd.retry([job_id])
    claimed = await jobs.claim_one()
    odd.answers = [await odd.get([job_id]), before]
    async with watching(watched, job_id, JobStatus.EXECUTING) as changes:
        coming = asyncio.ensure_future(next_of(changes))
        await advance_until(lambda: not odd.answers, clock, 0.1)
        await jobs.complete(claimed)
        assert await soon(coming) is JobStatus.COMPLETED


async def test_job_deleted_while_it_is_watched_is_an_error(
    watched: Queue, odd: Odd, clock: FrozenClock
) -> None:
    job_id = await Driver(odd, clock).send()
    async with watching(watched, job_id) as changes:
        odd.answers = [{}]
        coming = asyncio.ensure_future(next_of(changes))
        await advance_until(coming.done, clock)
        with pytest.raises(JobNotFoundError):
            coming.result()


async def test_short_outages_do_not_add_up(watched: Queue, odd: Odd, clock: FrozenClock) -> None:
    job_id = await Driver(odd, clock).send()
    async with watching(watched, job_id) as changes:
        coming = asyncio.ensure_future(next_of(changes))
        for second in range(300):
            odd.away = second % 60 < 40
            clock.advance(1)
            await turns(10)
        assert not coming.done()
        odd.away = False
        await odd.cancel([job_id])
        await advance_until(coming.done, clock)
        assert coming.result() is JobStatus.CANCELLED


async def test_long_outage_fails_the_result(watched: Queue, odd: Odd, clock: FrozenClock) -> None:
    odd.away = True
    waiting = asyncio.ensure_future(run_of(watched, NOBODY).result())
    assert OUTAGE_TIMEOUT <= await advance_until(waiting.done, clock) <= OUTAGE_TIMEOUT + 5
    with pytest.raises(StorageUnavailableError):
        waiting.result()


async def test_timeout_ends_the_wait_while_the_storage_hangs(
    watched: Queue, odd: Odd, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()

    async def hang(ids: object) -> dict[UUID, Job]:
        await hanging.wait()
        return {}

    monkeypatch.setattr(odd, "get", hang)
    waiting = asyncio.ensure_future(run_of(watched, NOBODY).result(timeout=5))
    assert await advance_until(waiting.done, clock) == 5
    with pytest.raises(ResultTimeoutError):
        waiting.result()


async def test_without_notifications_all_jobs_share_one_query_an_interval(
    watched: Queue, odd: Odd, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd._notifier, "job", lambda job_id: None)
    jobs = Driver(odd, clock)
    ids: list[UUID] = []
    watchers: list[News] = []
    for _ in range(40):  # they are requested in order, each with its own heartbeat
        ids.append(await jobs.send())
        watchers.append(parts_of(watched).runs.watch(ids[-1]))
        assert await next_of(watchers[-1]) is JobStatus.QUEUED
        clock.advance(0.05)
    for _ in range(100):
        clock.advance(0.1)
        await turns(10)
    odd.looked_up.clear()
    for _ in range(100):
        clock.advance(0.1)
        await turns(10)
    assert len(odd.looked_up) <= 25  # in ten seconds; separate reads would be 200
    assert sum(odd.looked_up) <= 300
    await odd.cancel(ids)
    coming = [asyncio.ensure_future(anext(one)) for one in watchers]
    assert await advance_until(lambda: all(one.done() for one in coming), clock, 0.1) <= 2.1
    for one in watchers:
        await one.aclose()


async def test_number_of_queries_is_limited_when_many_jobs_change(
    watched: Queue, odd: Odd, clock: FrozenClock
) -> None:
    jobs = Driver(odd, clock)
    ids = [await jobs.send() for _ in range(500)]
    watchers = [parts_of(watched).runs.watch(job_id) for job_id in ids]
    await asyncio.gather(*map(next_of, watchers))
    odd.looked_up.clear()
    for job_id in ids:  # a hundred a second
        await odd.cancel([job_id])
        clock.advance(0.01)
        await turns(10)
    for _ in range(3):
        clock.advance(0.1)
        await turns(10)
    assert set(await asyncio.gather(*map(next_of, watchers))) == {JobStatus.CANCELLED}
    assert len(odd.looked_up) <= READ_BURST + 5.3 * READS_PER_SECOND
