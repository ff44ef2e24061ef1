"""Jobs that wait for others: sent once, awaited without occupying a slot, resumed, cancelled together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, BOOM, ENDS, Driver, is_kept_waiting, rolled_back, soon
from tests.conformance.planting import Plant
from zeke_queue.errors import InvalidOptionError, LeaseLostError
from zeke_queue.model import Claimed, Completed, Failed, QueueSettings, RowState, Waiting
from zeke_queue.storage import Storage

CENTURY = timedelta(days=36_500)
SINGLE = "__pgboss__singleton_queue"


async def test_waiting_parent_is_created_and_not_claimable(jobs: Driver, clock: FrozenClock) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    clock.advance(3)
    assert await jobs.wait_for(child, parent)
    stored = await jobs.look(parent.id)
    assert (stored.row_state, stored.waits_for, stored.worker) == (RowState.CREATED, child, None)
    assert (stored.start_after, stored.keep_until) == (clock.now() + CENTURY, clock.now() + CENTURY)
    assert (stored.retry_count, stored.attempt, stored.completed_on) == (0, 1, None)
    clock.advance(3600)
    assert await jobs.claim() == []


async def end_child(jobs: Driver, end: RowState) -> None:
    """Claim the only job of the queue "errand", and end it."""
    held = await jobs.claim_one("errand")
    if end is RowState.CANCELLED:
        assert await jobs.storage.cancel([held.id]) == {held.id}
    elif end is RowState.COMPLETED:
        assert await jobs.complete(held)
    else:
        assert await jobs.fail(held, final=end)


async def test_every_end_of_a_child_resumes_its_parent(jobs: Driver, clock: FrozenClock) -> None:
    async def check(end: RowState) -> None:
        parent = await jobs.running(end.value)
        child = await jobs.insert_child(parent)
        assert await jobs.wait_for(child, parent)
        clock.advance(60)
        await end_child(jobs, end)
        stored = await jobs.look(parent.id)
        assert (stored.row_state, stored.waits_for) == (RowState.CREATED, None)
        assert stored.start_after == clock.now()
        again = await jobs.claim_one(end.value)
        assert (again.id, again.attempt, again.retry_count) == (parent.id, 2, 0)

    await check_each_async(ENDS, check)


async def test_retried_child_does_not_resume_its_parent(jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    assert await jobs.fail(await jobs.claim_one("errand"), retry_in=0)
    assert await jobs.release(await jobs.claim_one("errand"))
    assert (await jobs.look(parent.id)).waits_for == child
    assert await jobs.claim() == []


async def test_wait_for_an_ended_job_ends_at_once(jobs: Driver, clock: FrozenClock) -> None:
    async def check(end: RowState) -> None:
        parent = await jobs.running(end.value)
        child = await jobs.insert_child(parent)
        await end_child(jobs, end)
        assert await jobs.wait_for(child, parent)
        stored = await jobs.look(parent.id)
        assert (stored.row_state, stored.waits_for) == (RowState.CREATED, None)
        assert stored.start_after == clock.now()

    await check_each_async(ENDS, check)


async def test_several_jobs_may_wait_for_a_job_without_parent(jobs: Driver) -> None:
    errand = await jobs.send("errand")
    first, second = await jobs.running(), await jobs.running()
    assert await jobs.wait_for(errand, second)
    assert await jobs.wait_for(errand, first)
    stored = await jobs.look(errand)
    assert stored.awaited is True
    assert await jobs.complete(await jobs.claim_one("errand"))
    assert {job.id for job in await jobs.claim()} == {first.id, second.id}


async def test_child_is_inserted_once_with_its_parent(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child = jobs.new("errand", parent=parent.id, data='{"n": 1}')
    assert await storage.insert_child(child, 1) == child.id
    assert await storage.insert_child(child, 1) == child.id
    stored = await jobs.look(child.id)
    assert (stored.parent, stored.awaited, stored.data) == (parent.id, True, {"n": 1})
    assert len(await jobs.claim("errand")) == 1


async def test_archived_child_is_not_inserted_again(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child = jobs.new("errand", parent=parent.id)
    assert await storage.insert_child(child, 1) == child.id
    assert await jobs.complete(await jobs.claim_one("errand"))
    jobs.clock.advance(10)
    assert await storage.archive(5, 10) == 1
    assert await storage.insert_child(child, 1) == child.id
    assert await jobs.claim("errand") == []
    stored = await jobs.look(child.id)
    assert stored.awaited is True
    assert await jobs.wait_for(child.id, parent)
    assert (await jobs.look(parent.id)).waits_for is None


async def test_conflicting_child_is_not_inserted(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    await jobs.send("errand", singleton_key="k")
    child = jobs.new("errand", parent=parent.id, singleton_key="k")
    assert await storage.insert_child(child, 1) is None


async def lose(jobs: Driver, parent: Claimed, case: str) -> None:
    """Take a running job from its worker in one of several ways, or do nothing for a case without one."""
    if case == "cancelled":
        await jobs.storage.cancel([parent.id])
    elif case == "given to another":
        assert await jobs.release(parent)
        await jobs.claim_one(parent.name, worker=BERT)
    elif case == "settled":
        assert await jobs.complete(parent)


async def test_child_of_a_lost_parent_is_not_inserted(storage: Storage, jobs: Driver) -> None:
    async def check(case: str) -> None:
        parent = await jobs.running(case)
        await lose(jobs, parent, case)
        whose = {"unknown": jobs.new_id(), "no parent": None}.get(case, parent.id)
        with pytest.raises(LeaseLostError):
            await storage.insert_child(jobs.new("errand", parent=whose), parent.attempt)
        assert await jobs.claim("errand") == []

    await check_each_async(["cancelled", "given to another", "settled", "unknown", "no parent"], check)


async def test_wait_of_a_lost_job_changes_nothing(storage: Storage, jobs: Driver) -> None:
    async def check(case: str) -> None:
        parent = await jobs.running(case)
        child = await jobs.insert_child(parent)
        await lose(jobs, parent, case)
        if case == "waiting already":
            assert await jobs.wait_for(child, parent)
        which = jobs.new_id() if case == "unknown" else parent.id
        before = await storage.get([parent.id, child])
        assert await storage.suspend([Waiting(which, parent.attempt, child)]) == (set(), {}, set())
        assert await storage.get([parent.id, child]) == before

    await check_each_async(["cancelled", "given to another", "settled", "waiting already", "unknown"], check)


async def test_repeated_wait_after_a_lost_answer_counts(jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    assert await jobs.wait_for(child, parent, repeated=True)
    assert await jobs.complete(await jobs.claim_one("errand"))
    assert await jobs.wait_for(child, parent, repeated=True)
    await jobs.claim_one()
    assert not await jobs.wait_for(child, parent, repeated=True)


async def test_child_end_with_a_lost_answer_resumes_the_parent(jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    held = await jobs.claim_one("errand")
    assert await jobs.complete(held, "1")
    assert await jobs.complete(held, "1", repeated=True)
    assert (await jobs.claim_one()).id == parent.id


async def test_waiting_parent_uses_no_slot_of_a_limit(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    parent = await jobs.running()
    other = await jobs.send()
    assert await jobs.claim() == []
    assert await jobs.wait_for(await jobs.insert_child(parent), parent)
    assert (await jobs.claim_one()).id == other


async def test_parent_whose_slot_is_taken_fails_and_names_the_holder(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running(singleton_key=SINGLE)
    child = await jobs.insert_child(parent)
    rival = await jobs.send(singleton_key=SINGLE)
    assert await jobs.wait_for(child, parent)
    stored = await jobs.look(parent.id)
    assert (stored.row_state, stored.output["superseded_by"]) == (RowState.FAILED, str(rival))
    assert stored.waits_for is None


async def test_cancelled_parent_cancels_its_awaited_children(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    waiting, running = await jobs.insert_child(parent, "later"), await jobs.insert_child(parent)
    held = await jobs.claim_one("errand")
    retried = await jobs.insert_child(parent, "unlucky")
    assert await jobs.fail(await jobs.claim_one("unlucky"), retry_in=1.0)
    other = await jobs.send("errand", parent=parent.id)
    assert await jobs.wait_for(running, parent)
    assert await storage.cancel([parent.id]) == {parent.id, waiting, running, retried}
    assert (await jobs.look(parent.id)).waits_for is None
    assert (await jobs.look(other)).row_state is RowState.CREATED
    assert not await jobs.complete(held)


async def test_cancel_reaches_all_descendants_and_no_siblings(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child_id = await jobs.insert_child(parent)
    child = await jobs.claim_one("errand")
    grandchild = await jobs.insert_child(child, "small errand")
    assert await jobs.wait_for(grandchild, child)
    assert await jobs.wait_for(child_id, parent)
    stranger = await jobs.running("stranger")
    assert await jobs.wait_for(child_id, stranger)
    assert await storage.cancel([parent.id]) == {parent.id, child_id, grandchild}
    assert (await jobs.claim_one("stranger")).id == stranger.id


async def test_cancelling_an_ended_job_cancels_no_children(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.complete(parent)
    assert await storage.cancel([parent.id]) == set()
    assert (await jobs.look(child)).row_state is RowState.CREATED


async def test_cancelled_waiting_parent_is_due_at_once_when_resumed(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    assert await storage.cancel([parent.id]) == {parent.id, child}
    jobs.clock.advance(10)
    assert await storage.resume([parent.id]) == {parent.id, child}
    stored = await jobs.look(parent.id)
    assert (stored.waits_for, stored.start_after) == (None, jobs.clock.now())


async def test_resume_waiting_finds_parents_whose_child_ended_unnoticed(jobs: Driver, plant: Plant) -> None:
    ids: list[tuple[UUID, UUID]] = []
    for _ in range(3):
        parent = await jobs.running()
        child = await jobs.insert_child(parent)
        assert await jobs.wait_for(child, parent)
        ids.append((parent.id, child))
    for _, child in ids[:2]:
        # As pg-boss 9 completes a job, which knows nothing of those that wait.
        ended = replace(await jobs.look(child), row_state=RowState.COMPLETED, completed_on=jobs.clock.now())
        await plant(ended)
    assert await jobs.claim() == []
    jobs.clock.advance(1)
    assert await jobs.storage.resume_waiting(1) == 1
    assert await jobs.storage.resume_waiting(100) == 1
    assert await jobs.storage.resume_waiting(100) == 0
    assert [job.id for job in await jobs.claim()] == [parent for parent, _ in ids[:2]]
    with pytest.raises(InvalidOptionError):
        await jobs.storage.resume_waiting(0)


async def test_child_settled_again_after_an_unnoticed_end_resumes_its_parent(
    storage: Storage, jobs: Driver, plant: Plant
) -> None:
    """The first settlement was the last statement of its connection."""
    for verb in (storage.settle, storage.settle_unlocked):
        parent = await jobs.running()
        child = await jobs.insert_child(parent)
        assert await jobs.wait_for(child, parent)
        held = await jobs.claim_one("errand")
        end = {"row_state": RowState.COMPLETED, "completed_on": jobs.clock.now()}
        await plant(replace(await jobs.look(child), **end))
        assert await jobs.claim() == []
        await verb([Completed(child, held.attempt, None)], repeated=True)
        assert [job.id for job in await jobs.claim()] == [parent.id]


async def test_child_settled_in_a_transaction_resumes_its_parent_at_the_commit(jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    held = await jobs.claim_one("errand")
    failed = [Failed(held.id, held.attempt, None, BOOM)]
    async with rolled_back(jobs.storage) as transaction:
        assert await transaction.settle(failed=failed) == {child}
    assert (await jobs.look(parent.id)).waits_for == child
    async with jobs.storage.transaction() as transaction:
        assert await transaction.settle(failed=failed) == {child}
        assert await jobs.claim() == []
    assert (await jobs.claim_one()).id == parent.id


async def test_cancel_in_a_transaction_cancels_children(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    async with rolled_back(storage) as transaction:
        assert await transaction.cancel([parent.id]) == {parent.id, child}
    assert await jobs.states([parent.id, child]) == [RowState.CREATED, RowState.CREATED]
    assert (await jobs.look(parent.id)).waits_for == child
    async with storage.transaction() as transaction:
        assert await transaction.cancel([parent.id]) == {parent.id, child}
    assert await jobs.states([parent.id, child]) == [RowState.CANCELLED, RowState.CANCELLED]


async def test_parent_that_waits_during_the_commit_of_its_child_is_resumed(jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    async with jobs.storage.transaction() as transaction:
        assert await transaction.cancel([child]) == {child}
        waits = asyncio.ensure_future(jobs.wait_for(child, parent))
        assert await is_kept_waiting(waits)
    assert await soon(waits)
    assert (await jobs.claim_one()).id == parent.id


async def test_child_of_a_parent_being_cancelled_is_not_inserted(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child = jobs.new("errand", parent=parent.id)
    async with storage.transaction() as transaction:
        assert await transaction.cancel([parent.id]) == {parent.id}
        sends = asyncio.ensure_future(storage.insert_child(child, 1))
        assert await is_kept_waiting(sends)
    with pytest.raises(LeaseLostError):
        await soon(sends)
    assert await jobs.claim("errand") == []


async def test_resumed_parents_are_notified(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(ANNA)
    parent = await jobs.running()
    child = await jobs.insert_child(parent)
    assert await jobs.wait_for(child, parent)
    held = await jobs.claim_one("errand")
    await storage.set_idle(ANNA, ["mail"])
    sleeps = asyncio.ensure_future(storage.wait_for_jobs(["mail"], 60))
    assert await is_kept_waiting(sleeps)
    assert await jobs.complete(held)
    assert await soon(sleeps)


async def test_parent_whose_slot_is_taken_resumes_its_own_parent(storage: Storage, jobs: Driver) -> None:
    grand = await jobs.running("grand")
    parent_id = await jobs.insert_child(grand, singleton_key=SINGLE)
    assert await jobs.wait_for(parent_id, grand)
    parent = await jobs.claim_one("errand")
    child = await jobs.insert_child(parent, "small errand")
    await jobs.send("errand", singleton_key=SINGLE)
    assert await jobs.wait_for(child, parent)
    assert (await jobs.look(parent.id)).row_state is RowState.FAILED
    assert (await jobs.claim_one("grand")).id == grand.id


async def test_parent_whose_slot_is_taken_marks_no_job_as_awaited(jobs: Driver) -> None:
    other = await jobs.send("errand")
    parent = await jobs.running(singleton_key=SINGLE)
    await jobs.send(singleton_key=SINGLE)
    assert await jobs.wait_for(other, parent)
    stored = await jobs.look(other)
    assert stored.awaited is False


async def test_cancelled_waiting_parent_is_due_at_once_however_it_is_requeued(
    storage: Storage, jobs: Driver, plant: Plant, clock: FrozenClock
) -> None:
    parent = await jobs.running()
    assert await jobs.wait_for(await jobs.insert_child(parent), parent)
    clock.advance(5)
    await storage.cancel([parent.id])
    stored = await jobs.look(parent.id)
    assert (stored.start_after, stored.completed_on) == (clock.now(), clock.now())
    # As pg-boss 9 resumes a job.
    await plant(replace(stored, row_state=RowState.CREATED, completed_on=None))
    assert (await jobs.claim_one()).id == parent.id


async def test_resumed_parent_resumes_children_cancelled_with_it(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    alone, child_id = await jobs.insert_child(parent, "alone"), await jobs.insert_child(parent)
    child = await jobs.claim_one("errand")
    grandchild = await jobs.insert_child(child, "small errand")
    assert await jobs.wait_for(grandchild, child)
    assert await storage.cancel([alone]) == {alone}
    jobs.clock.advance(1)
    assert await storage.cancel([parent.id]) == {parent.id, child_id, grandchild}
    jobs.clock.advance(1)
    assert await storage.resume([parent.id]) == {parent.id, child_id, grandchild}
    family = [parent.id, child_id, grandchild, alone]
    assert await jobs.states(family) == [*[RowState.CREATED] * 3, RowState.CANCELLED]
    for job_id in family[:3]:
        assert (await jobs.look(job_id)).start_after == jobs.clock.now()


async def test_children_of_a_parent_whose_slot_is_taken_stay_cancelled(jobs: Driver) -> None:
    parent = await jobs.running(singleton_key=SINGLE)
    child_id = await jobs.insert_child(parent)
    child = await jobs.claim_one("errand")
    grandchild = await jobs.insert_child(child, "small errand")
    assert await jobs.wait_for(grandchild, child)
    assert await jobs.storage.cancel([parent.id]) == {parent.id, child_id, grandchild}
    await jobs.send(singleton_key=SINGLE)
    assert await jobs.storage.resume([parent.id]) == set()
    assert await jobs.states([parent.id, child_id, grandchild]) == [RowState.CANCELLED] * 3
    # One that is named needs no parent.
    assert await jobs.storage.resume([parent.id, child_id]) == {child_id, grandchild}


async def test_child_whose_slot_is_taken_stays_cancelled(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.running()
    child = await jobs.insert_child(parent, singleton_key="k")
    await storage.cancel([parent.id])
    await jobs.send("errand", singleton_key="k")
    assert await storage.resume([parent.id]) == {parent.id}
    assert (await jobs.look(child)).row_state is RowState.CANCELLED


async def test_only_the_running_attempt_can_be_locked(storage: Storage, jobs: Driver) -> None:
    async def check(case: str) -> None:
        job = await jobs.running(case)
        await lose(jobs, job, case)
        held = jobs.new_id() if case == "unknown" else job.id
        async with storage.transaction() as transaction:
            assert not await transaction.lock_attempt(held, job.attempt + (case == "another attempt"))

    await check_each_async(["cancelled", "another attempt", "settled", "unknown"], check)


async def test_locked_attempt_is_not_cancelled_or_settled(storage: Storage, jobs: Driver) -> None:
    job, other = await jobs.running(), await jobs.running("other")
    async with storage.transaction() as transaction:
        assert await transaction.lock_attempt(job.id, job.attempt)
        cancels = asyncio.ensure_future(storage.cancel([job.id]))
        settles = asyncio.ensure_future(jobs.complete(job))
        assert await is_kept_waiting(cancels)
        assert await is_kept_waiting(settles)
        assert await jobs.complete(other)
    assert (await soon(cancels) == {job.id}) is not await soon(settles)


async def test_child_end_waits_for_the_lock_of_its_parent(storage: Storage, jobs: Driver) -> None:
    grand = await jobs.running("grand")
    parent_id = await jobs.insert_child(grand)
    parent = await jobs.claim_one("errand")
    child = await jobs.insert_child(parent, "small errand")
    assert await jobs.wait_for(child, parent)
    held = await jobs.claim_one("small errand")
    async with rolled_back(storage) as transaction:
        assert await transaction.cancel([parent_id]) == {parent_id, child}
        ends = asyncio.ensure_future(jobs.complete(held))
        assert await is_kept_waiting(ends)
    assert await soon(ends)
    assert (await jobs.claim_one("errand")).id == parent_id


async def test_parent_locked_while_its_child_ends_is_resumed_later(storage: Storage, jobs: Driver) -> None:
    """It has no parent, so cancelling the waiting job locks only that one."""
    await jobs.send("errand")
    errand, waiting = await jobs.claim_one("errand"), await jobs.running()
    assert await jobs.wait_for(errand.id, waiting)
    async with rolled_back(storage) as transaction:
        assert await transaction.cancel([waiting.id]) == {waiting.id}
        ends = asyncio.ensure_future(jobs.complete(errand))
        assert await is_kept_waiting(ends)
    assert await soon(ends)
    assert (await jobs.claim_one()).id == waiting.id
