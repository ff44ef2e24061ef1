"""What a person does to a job: cancel it, resume it, try it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, ENDS, Driver
from zeke_queue.model import RowState
from zeke_queue.storage import Storage

CENTURY = timedelta(days=36_500)


async def test_waiting_job_is_cancelled(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.send()
    clock.advance(5)
    assert await storage.cancel([job_id]) == {job_id}
    job = await jobs.look(job_id)
    assert (job.row_state, job.completed_on, job.output) == (RowState.CANCELLED, clock.now(), None)


async def test_running_job_is_cancelled_and_its_late_outcome_is_fenced(jobs: Driver) -> None:
    job = await jobs.running()
    assert await jobs.storage.cancel([job.id]) == {job.id}
    assert not await jobs.complete(job, "1")
    stored = await jobs.look(job.id)
    assert (stored.row_state, stored.worker, stored.output) == (RowState.CANCELLED, ANNA, None)


async def test_cancelled_retry_keeps_its_error(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.fail(job, retry_in=60)
    assert await storage.cancel([job.id]) == {job.id}
    stored = await jobs.look(job.id)
    assert (stored.row_state, stored.output["message"]) == (RowState.CANCELLED, "boom")


async def test_ended_job_is_not_cancelled(storage: Storage, jobs: Driver) -> None:
    async def check(end: RowState) -> None:
        job_id = await jobs.ended(end)
        before = await jobs.look(job_id)
        assert await storage.cancel([job_id]) == set()
        assert await jobs.look(job_id) == before

    await check_each_async(ENDS, check)


async def test_cancel_returns_the_cancelled_jobs(storage: Storage, jobs: Driver) -> None:
    waiting, ended, unknown = await jobs.send("a"), await jobs.ended(RowState.FAILED), jobs.new_id()
    assert await storage.cancel([ended, waiting, unknown]) == {waiting}
    assert await storage.cancel([]) == set()


async def test_resumed_job_is_due_at_once(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.send(delay=3600)
    await storage.cancel([job_id])
    clock.advance(10)
    assert await storage.resume([job_id]) == {job_id}
    job = await jobs.look(job_id)
    assert (job.row_state, job.start_after, job.completed_on) == (RowState.CREATED, clock.now(), None)
    assert job.keep_until == clock.now() + CENTURY
    assert (await jobs.claim_one()).id == job_id


async def test_resumed_job_has_no_worker(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await storage.cancel([job.id])
    await storage.resume([job.id])
    assert (await jobs.look(job.id)).worker is None
    again = await jobs.claim_one()
    assert (again.attempt, again.retry_count) == (2, 0)
    assert not await jobs.complete(job)


async def test_defect_4_only_cancelled_jobs_are_resumed(storage: Storage, jobs: Driver) -> None:
    ids = [await jobs.ended(end) for end in (RowState.COMPLETED, RowState.EXPIRED, RowState.FAILED)]
    ids += [await jobs.send("a"), (await jobs.running("b")).id]
    before = await storage.get(ids)
    assert await storage.resume(ids) == set()
    assert await storage.get(ids) == before


async def test_failed_or_expired_job_is_retried_at_once(storage: Storage, jobs: Driver) -> None:
    async def check(end: RowState) -> None:
        job_id = await jobs.ended(end, end.value)
        jobs.clock.advance(10)
        assert await storage.retry([job_id]) == {job_id}
        job = await jobs.look(job_id)
        assert (job.row_state, job.start_after, job.completed_on) == (RowState.RETRY, jobs.clock.now(), None)
        assert (job.worker, job.keep_until) == (None, jobs.clock.now() + CENTURY)
        assert (job.output["message"], len(job.history)) == ("boom", 1)
        again = await jobs.claim_one(end.value)
        assert (again.id, again.attempt, again.retry_count) == (job_id, 2, 1)

    await check_each_async([RowState.EXPIRED, RowState.FAILED], check)


async def test_retry_by_hand_raises_an_exhausted_retry_limit(storage: Storage, jobs: Driver) -> None:
    exhausted, fresh = (
        await jobs.ended(RowState.FAILED, retry_limit=0),
        await jobs.ended(RowState.FAILED, retry_limit=5),
    )
    await storage.retry([exhausted, fresh])
    assert [(await jobs.look(job_id)).retry_limit for job_id in (exhausted, fresh)] == [1, 5]


async def test_only_failed_and_expired_jobs_are_retried_by_hand(storage: Storage, jobs: Driver) -> None:
    ids = [
        await jobs.ended(RowState.COMPLETED),
        await jobs.ended(RowState.CANCELLED),
        await jobs.send("a"),
        (await jobs.running("b")).id,
        jobs.new_id(),
    ]
    assert await storage.retry(ids) == set()


async def test_archived_job_is_not_requeued(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    failed, cancelled = await jobs.ended(RowState.FAILED), await jobs.ended(RowState.CANCELLED)
    clock.advance(10)
    await storage.archive(1, 100)
    assert await storage.retry([failed]) == set()
    assert await storage.resume([cancelled]) == set()


async def test_job_that_conflicts_with_another_stays_ended(storage: Storage, jobs: Driver) -> None:
    async def check(rule: dict[str, Any]) -> None:
        name = f"queue of {next(iter(rule.values()))}"
        failed = await jobs.ended(RowState.FAILED, name, **rule)
        cancelled = await jobs.ended(RowState.CANCELLED, name, **rule)
        await jobs.send(name, **rule)
        before = [await jobs.look(failed), await jobs.look(cancelled)]
        assert await storage.retry([failed]) == set()
        assert await storage.resume([cancelled]) == set()
        assert [await jobs.look(failed), await jobs.look(cancelled)] == before

    singleton_queue = "__pgboss__singleton_queue"
    rules = [{"singleton_key": "anna"}, {"slot_seconds": 3600}, {"singleton_key": singleton_queue}]
    await check_each_async(rules, check)


async def test_conflicting_job_does_not_block_the_others_of_its_call(storage: Storage, jobs: Driver) -> None:
    held = await jobs.ended(RowState.FAILED, singleton_key="anna")
    free = await jobs.ended(RowState.FAILED, singleton_key="bert")
    await jobs.send(singleton_key="anna")
    assert await storage.retry([held, free]) == {free}


async def test_lower_id_wins_when_two_jobs_are_requeued_to_one_slot(storage: Storage, jobs: Driver) -> None:
    first = await jobs.ended(RowState.CANCELLED, singleton_key="anna")
    second = await jobs.ended(RowState.CANCELLED, singleton_key="anna")
    assert await storage.resume([second, first]) == {first}
    assert (await jobs.look(second)).row_state is RowState.CANCELLED
