"""Settling: completing, failing and releasing, each only by the worker that holds the attempt."""

from __future__ import annotations

from datetime import timedelta

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, BOOM, Driver
from zeke_queue.model import Attempt, Completed, Failed, Released, RowState
from zeke_queue.storage import Storage

CENTURY = timedelta(days=36_500)


async def test_completed_job_keeps_its_output(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    clock.advance(2)
    assert await jobs.complete(job, '{"sent": 3}')
    stored = await jobs.look(job.id)
    assert (stored.row_state, stored.output) == (RowState.COMPLETED, {"sent": 3})
    assert (stored.worker, stored.attempt, stored.completed_on) == (ANNA, 1, clock.now())


async def test_failed_job_with_retries_waits_for_the_next(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    clock.advance(2)
    assert await jobs.fail(job, retry_in=1.2345678)
    stored = await jobs.look(job.id)
    assert (stored.row_state, stored.worker, stored.completed_on) == (RowState.RETRY, None, None)
    assert stored.start_after == clock.now() + timedelta(microseconds=1_234_568)
    assert stored.output == {"type": "ValueError", "message": "boom", "traceback": None}


async def test_final_failure_ends_the_job(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    clock.advance(2)
    assert await jobs.fail(job)
    stored = await jobs.look(job.id)
    assert (stored.row_state, stored.worker, stored.completed_on) == (RowState.FAILED, ANNA, clock.now())
    assert await jobs.claim() == []


async def test_expiry_without_retries_ends_as_expired(jobs: Driver) -> None:
    retried, expired = await jobs.running(), await jobs.running()
    assert await jobs.fail(retried, retry_in=1, final=RowState.EXPIRED)
    assert await jobs.fail(expired, final=RowState.EXPIRED)
    assert await jobs.states([retried.id, expired.id]) == [RowState.RETRY, RowState.EXPIRED]


async def test_history_lists_each_failed_attempt(jobs: Driver, clock: FrozenClock) -> None:
    first = await jobs.running(worker=ANNA)
    at_first = clock.advance(1)
    await jobs.fail(first, retry_in=0, output='{"type": "A", "message": "one", "traceback": null}')
    second = await jobs.claim_one(worker=BERT)
    at_second = clock.advance(0.123456)
    await jobs.fail(second, output='{"type": "B", "message": "two", "traceback": "t"}')
    assert (await jobs.look(first.id)).history == (
        Attempt(1, at_first, RowState.RETRY, {"type": "A", "message": "one", "traceback": None}, ANNA),
        Attempt(2, at_second, RowState.FAILED, {"type": "B", "message": "two", "traceback": "t"}, BERT),
    )


async def test_history_keeps_the_last_25_attempts(jobs: Driver) -> None:
    job = await jobs.running()
    for _ in range(27):
        await jobs.fail(job, retry_in=0)
        job = await jobs.claim_one()
    assert [attempt.attempt for attempt in (await jobs.look(job.id)).history] == list(range(3, 28))


async def test_completed_job_keeps_the_history_of_its_failures(jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.fail(job, retry_in=0)
    await jobs.complete(await jobs.claim_one(), '"fine"')
    stored = await jobs.look(job.id)
    assert (stored.output, len(stored.history)) == ("fine", 1)


async def test_released_job_uses_no_retry(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    clock.advance(2)
    assert await jobs.release(job, delay=30)
    stored = await jobs.look(job.id)
    assert (stored.row_state, stored.worker, stored.retry_count) == (RowState.CREATED, None, 0)
    assert stored.start_after == clock.now() + timedelta(seconds=30)
    assert (stored.history, stored.output, stored.completed_on) == ((), None, None)


async def test_released_retry_is_not_counted_again(jobs: Driver) -> None:
    await jobs.fail(await jobs.running(), retry_in=0)
    await jobs.release(await jobs.claim_one())
    again = await jobs.claim_one()
    assert (again.retry_count, again.attempt) == (1, 3)


async def test_requeued_job_is_kept_for_a_century(jobs: Driver, clock: FrozenClock) -> None:
    retried, released = await jobs.running(), await jobs.running()
    clock.advance(1000)
    await jobs.fail(retried, retry_in=5)
    await jobs.release(released)
    for job_id in (retried.id, released.id):
        assert (await jobs.look(job_id)).keep_until == clock.now() + CENTURY


async def test_outcomes_of_every_kind_settle_in_one_call(storage: Storage, jobs: Driver) -> None:
    a, b, c, d = [await jobs.running() for _ in range(4)]
    changed = await storage.settle(
        completed=[Completed(a.id, 1, "1")],
        failed=[Failed(b.id, 1, 5.0, BOOM), Failed(c.id, 1, None, BOOM)],
        released=[Released(d.id, 1)],
    )
    assert changed == {a.id, b.id, c.id, d.id}
    expected = [RowState.COMPLETED, RowState.RETRY, RowState.FAILED, RowState.CREATED]
    assert await jobs.states([a.id, b.id, c.id, d.id]) == expected


async def test_unknown_job_is_not_settled(storage: Storage, jobs: Driver) -> None:
    known = await jobs.running()
    outcomes = [Completed(jobs.new_id(), 1, None), Completed(known.id, 1, None)]
    assert await storage.settle(completed=outcomes) == {known.id}
    assert await storage.settle() == set()


async def test_defect_2_completion_of_an_earlier_attempt_is_fenced(jobs: Driver) -> None:
    stale = await jobs.running(worker=ANNA)
    await jobs.fail(stale, retry_in=0, final=RowState.EXPIRED)
    rightful = await jobs.claim_one(worker=BERT)
    assert not await jobs.complete(stale, '"late"')
    assert (await jobs.look(stale.id)).row_state is RowState.ACTIVE
    assert await jobs.complete(rightful, '"mine"')
    assert (await jobs.look(stale.id)).output == "mine"


async def test_failure_or_release_of_an_earlier_attempt_is_fenced(jobs: Driver) -> None:
    stale = await jobs.running()
    await jobs.release(stale)
    await jobs.claim_one(worker=BERT)
    before = await jobs.look(stale.id)
    assert not await jobs.fail(stale, retry_in=1)
    assert not await jobs.release(stale)
    assert await jobs.look(stale.id) == before


async def test_defect_3_unclaimed_job_cannot_fail(storage: Storage, jobs: Driver) -> None:
    job_id = await jobs.send()
    before = await jobs.look(job_id)
    for attempt in (0, 1):
        assert await storage.settle(failed=[Failed(job_id, attempt, 1.0, BOOM)]) == set()
    assert await jobs.look(job_id) == before


async def test_ended_job_is_not_settled_again(jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.complete(job, "1")
    before = await jobs.look(job.id)
    assert not await jobs.complete(job, "2")
    assert not await jobs.fail(job, retry_in=0)
    assert not await jobs.release(job)
    assert await jobs.look(job.id) == before


async def test_repeated_completion_after_a_lost_answer_counts(jobs: Driver) -> None:
    for output in ('{"b":1.0,"a":2}', None):
        job = await jobs.running()
        await jobs.complete(job, output)
        assert await jobs.complete(job, output, repeated=True)
    assert (await jobs.look(job.id)).output is None


async def test_repeated_failure_after_a_lost_answer_counts(jobs: Driver) -> None:
    retried, failed, expired = [await jobs.running() for _ in range(3)]
    for repeated in (False, True):
        assert await jobs.fail(retried, retry_in=10, repeated=repeated)
        assert await jobs.fail(failed, repeated=repeated)
        assert await jobs.fail(expired, final=RowState.EXPIRED, repeated=repeated)
    assert len((await jobs.look(retried.id)).history) == 1


async def test_repeated_release_after_a_lost_answer_counts(jobs: Driver) -> None:
    job = await jobs.running()
    assert await jobs.release(job, delay=10)
    assert await jobs.release(job, delay=10, repeated=True)


async def test_repeated_settlement_settles_the_rest_of_its_batch(jobs: Driver) -> None:
    job = await jobs.running()
    assert await jobs.complete(job, "1", repeated=True)
    assert (await jobs.look(job.id)).row_state is RowState.COMPLETED


async def test_repeated_settlement_does_not_count_another_end(storage: Storage, jobs: Driver) -> None:
    other_output, cancelled, failed = [await jobs.running() for _ in range(3)]
    await jobs.complete(other_output, "1")
    await storage.cancel([cancelled.id])
    await jobs.fail(failed)
    for job in (other_output, cancelled, failed):
        assert not await jobs.complete(job, "2", repeated=True)
        assert not await jobs.release(job, repeated=True)
        assert not await jobs.fail(job, retry_in=3, repeated=True)


async def test_repeated_settlement_does_not_count_a_later_attempt(jobs: Driver) -> None:
    first = await jobs.running()
    await jobs.release(first)
    await jobs.complete(await jobs.claim_one(worker=BERT), "1")
    assert not await jobs.complete(first, "1", repeated=True)


async def test_large_batch_is_settled_completely(storage: Storage, jobs: Driver) -> None:
    await storage.insert([jobs.new() for _ in range(500)])
    claimed = await jobs.claim(free=500, limit=500)
    changed = await storage.settle(completed=[Completed(job.id, job.attempt, "{}") for job in claimed])
    assert changed == {job.id for job in claimed}
    assert (await storage.queue_stats())[0].row_counts == {RowState.COMPLETED: 500}
