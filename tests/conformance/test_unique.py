"""Uniqueness: what a singleton key and a slot refuse, and what frees them.

The four rules are pg-boss 9's partial unique indexes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BOOM, ENDS, Driver
from zeke_queue.model import Completed, Failed, NewJob, Released, RowState
from zeke_queue.storage import Storage

SINGLETON_QUEUE = "__pgboss__singleton_queue"


# Singleton keys


async def test_key_admits_one_waiting_job(jobs: Driver) -> None:
    await jobs.send(singleton_key="anna")
    assert await jobs.refused(singleton_key="anna")


async def test_key_admits_one_running_job(jobs: Driver) -> None:
    await jobs.running(singleton_key="anna")
    assert await jobs.refused(singleton_key="anna")


async def test_key_admits_one_job_waiting_for_a_retry(jobs: Driver) -> None:
    await jobs.fail(await jobs.running(singleton_key="anna"), retry_in=60)
    assert await jobs.refused(singleton_key="anna")


async def test_ended_job_releases_its_key(jobs: Driver) -> None:
    async def check(end: RowState) -> None:
        await jobs.ended(end, end.value, singleton_key="anna")
        await jobs.send(end.value, singleton_key="anna")

    await check_each_async(ENDS, check)


async def test_keys_are_separate_by_queue_and_value(jobs: Driver) -> None:
    await jobs.send("mail", singleton_key="anna")
    await jobs.send("post", singleton_key="anna")
    await jobs.send("mail", singleton_key="bert")
    await jobs.send("mail", singleton_key="Anna")
    await jobs.send("mail", singleton_key="")
    await jobs.send("mail")
    await jobs.send("mail")


async def test_first_of_two_conflicting_jobs_of_a_call_wins(storage: Storage, jobs: Driver) -> None:
    first, second = jobs.new(singleton_key="anna"), jobs.new(singleton_key="anna")
    assert await storage.insert([second, first]) == [second.id, None]


async def test_refused_job_is_not_stored_and_does_not_refuse_the_others_of_its_call(
    storage: Storage, jobs: Driver
) -> None:
    await jobs.send(singleton_key="anna")
    sent = [jobs.new(), jobs.new(singleton_key="anna"), jobs.new(singleton_key="bert")]
    assert await storage.insert(sent) == [sent[0].id, None, sent[2].id]
    assert await storage.get([sent[1].id]) == {}


async def test_repeated_send_does_not_conflict_with_itself(storage: Storage, jobs: Driver) -> None:
    job = jobs.new(singleton_key="anna", slot_seconds=60)
    assert await storage.insert([job]) == [job.id]
    assert await storage.insert([job]) == [job.id]


# Slots


async def test_slot_admits_one_job(jobs: Driver, clock: FrozenClock) -> None:
    await jobs.send(slot_seconds=60)
    clock.advance(59)
    assert await jobs.refused(slot_seconds=60)
    clock.advance(1)
    await jobs.send(slot_seconds=60)


async def test_slots_are_aligned_to_the_epoch(jobs: Driver, clock: FrozenClock) -> None:
    clock.advance(7 * 60 + 31)
    job = await jobs.look(await jobs.send(slot_seconds=300))
    assert job.singleton_on == datetime(2026, 1, 5, 12, 5)  # noqa: DTZ001 - the column has no zone
    assert job.start_after == clock.now()


async def test_completed_job_holds_its_slot(jobs: Driver) -> None:
    await jobs.ended(RowState.COMPLETED, slot_seconds=60)
    assert await jobs.refused(slot_seconds=60)


async def test_job_that_did_not_complete_releases_its_slot(jobs: Driver) -> None:
    async def check(end: RowState) -> None:
        await jobs.ended(end, end.value, slot_seconds=60)
        await jobs.send(end.value, slot_seconds=60)

    await check_each_async([RowState.EXPIRED, RowState.CANCELLED, RowState.FAILED], check)


async def test_archived_job_releases_its_slot(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await jobs.ended(RowState.COMPLETED, slot_seconds=3600)
    clock.advance(10)
    assert await storage.archive(5, 100) == 1
    await jobs.send(slot_seconds=3600)


async def test_key_divides_a_slot(jobs: Driver) -> None:
    await jobs.send(slot_seconds=60)
    await jobs.send(slot_seconds=60, singleton_key="anna")
    await jobs.send(slot_seconds=60, singleton_key="bert")
    assert await jobs.refused(slot_seconds=60)
    assert await jobs.refused(slot_seconds=60, singleton_key="anna")


async def test_key_with_a_slot_does_not_conflict_with_a_key_without(jobs: Driver) -> None:
    await jobs.send(singleton_key="anna")
    await jobs.send(slot_seconds=60, singleton_key="anna")
    assert await jobs.refused(singleton_key="anna")


async def test_slots_of_different_lengths_conflict_at_an_equal_start(jobs: Driver) -> None:
    await jobs.send(slot_seconds=60)
    assert await jobs.refused(slot_seconds=3600)


async def test_offset_uses_the_next_slot_and_starts_there(jobs: Driver, clock: FrozenClock) -> None:
    clock.advance(10)
    await jobs.send(slot_seconds=60)
    debounced = await jobs.look(await jobs.send(slot_seconds=60, slot_offset=60))
    assert debounced.start_after == datetime(2026, 1, 5, 12, 1, tzinfo=UTC)
    assert await jobs.refused(slot_seconds=60, slot_offset=60)


async def test_job_of_the_next_slot_may_start_later(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.look(await jobs.send(slot_seconds=60, slot_offset=60, delay=300))
    assert job.start_after == clock.now() + timedelta(seconds=300)


# pg-boss's singleton queues: one job waits, and others may run meanwhile


async def test_singleton_queue_admits_one_waiting_and_one_running_job(jobs: Driver) -> None:
    await jobs.running(singleton_key=SINGLETON_QUEUE)
    await jobs.send(singleton_key=SINGLETON_QUEUE)
    assert await jobs.refused(singleton_key=SINGLETON_QUEUE)


async def test_singleton_queue_may_have_a_key(jobs: Driver) -> None:
    await jobs.send(singleton_key=SINGLETON_QUEUE)
    await jobs.send(singleton_key=f"{SINGLETON_QUEUE}_anna")
    assert await jobs.refused(singleton_key=f"{SINGLETON_QUEUE}_anna")


async def test_key_that_resembles_the_prefix_is_an_ordinary_key(jobs: Driver) -> None:
    await jobs.running(singleton_key="__pgbossXXsingleton_queue")
    assert await jobs.refused(singleton_key="__pgbossXXsingleton_queue")


@pytest.fixture
async def poisoned(jobs: Driver) -> tuple[Failed, NewJob]:
    """A is active and B waits under one key, so A can't return to waiting: A's failure, and B."""
    a = await jobs.running(singleton_key=SINGLETON_QUEUE, worker=ANNA)
    b = jobs.new(singleton_key=SINGLETON_QUEUE)
    await jobs.storage.insert([b])
    return Failed(a.id, a.attempt, 5.0, BOOM), b


async def test_defect_1_job_whose_slot_is_taken_fails_and_names_the_holder(
    storage: Storage, jobs: Driver, clock: FrozenClock, poisoned: tuple[Failed, NewJob]
) -> None:
    failure, b = poisoned
    clock.advance(1)
    assert await storage.settle(failed=[failure]) == {failure.id}
    a = await jobs.look(failure.id)
    assert (a.row_state, a.completed_on, a.worker) == (RowState.FAILED, clock.now(), ANNA)
    assert (a.output["message"], a.output["superseded_by"]) == ("boom", str(b.id))
    assert [(attempt.attempt, attempt.row_state) for attempt in a.history] == [(1, RowState.FAILED)]
    assert (await jobs.look(b.id)).row_state is RowState.CREATED


async def test_defect_1_rest_of_the_batch_is_settled(jobs: Driver, poisoned: tuple[Failed, NewJob]) -> None:
    failure, _ = poisoned
    done, failing, snoozed = [await jobs.running("other") for _ in range(3)]
    changed = await jobs.storage.settle(
        completed=[Completed(done.id, 1, "1")],
        failed=[Failed(failing.id, 1, 9.0, BOOM), failure],
        released=[Released(snoozed.id, 1, 9.0)],
    )
    assert changed == {done.id, failing.id, failure.id, snoozed.id}
    expected = [RowState.COMPLETED, RowState.RETRY, RowState.FAILED, RowState.CREATED]
    assert await jobs.states([done.id, failing.id, failure.id, snoozed.id]) == expected


async def test_defect_1_job_whose_slot_is_taken_does_not_stop_the_sweep(
    storage: Storage, jobs: Driver, clock: FrozenClock, poisoned: tuple[Failed, NewJob]
) -> None:
    failure, _ = poisoned
    innocent = await jobs.running("other", expire_in=60)
    ended = await jobs.ended(RowState.COMPLETED, "other")
    clock.advance(7200)
    async with storage.transaction() as transaction:
        late = await transaction.lock_expired(100)
        await transaction.settle(failed=[Failed(job.id, job.attempt, 1.0, BOOM) for job in late])
    assert {job.id for job in late} == {failure.id, innocent.id}
    assert await jobs.states([failure.id, innocent.id]) == [RowState.FAILED, RowState.RETRY]
    assert await storage.archive(3600, 100) == 1
    assert (await jobs.look(ended)).archived_on == clock.now()


async def test_released_job_whose_slot_is_taken_fails(jobs: Driver, poisoned: tuple[Failed, NewJob]) -> None:
    failure, b = poisoned
    assert await jobs.storage.settle(released=[Released(failure.id, failure.attempt)]) == {failure.id}
    a = await jobs.look(failure.id)
    assert (a.row_state, a.output["superseded_by"]) == (RowState.FAILED, str(b.id))


async def test_final_failure_needs_no_slot(jobs: Driver, poisoned: tuple[Failed, NewJob]) -> None:
    failure, _ = poisoned
    assert await jobs.storage.settle(failed=[failure._replace(retry_in=None)]) == {failure.id}
    assert "superseded_by" not in (await jobs.look(failure.id)).output


async def test_repeated_superseded_settlement_counts(
    storage: Storage, poisoned: tuple[Failed, NewJob]
) -> None:
    failure, _ = poisoned
    await storage.settle(failed=[failure])
    assert await storage.settle(failed=[failure], repeated=True) == {failure.id}
    assert await storage.settle(failed=[failure._replace(retry_in=None)], repeated=True) == set()


async def test_slot_of_a_failed_and_a_released_job_goes_to_the_lower_id(jobs: Driver) -> None:
    async def check(lower: str, states: list[RowState]) -> None:
        pair = [await jobs.running(lower, singleton_key=SINGLETON_QUEUE) for _ in range(2)]
        failing, released = sorted(pair, key=lambda job: job.id, reverse=lower != "failed")
        await jobs.storage.settle(
            failed=[Failed(failing.id, failing.attempt, 1.0, BOOM)],
            released=[Released(released.id, released.attempt)],
        )
        assert await jobs.states([failing.id, released.id]) == states

    cases = [("failed", [RowState.RETRY, RowState.FAILED]), ("released", [RowState.FAILED, RowState.CREATED])]
    await check_each_async(cases, check)


async def test_one_of_two_jobs_of_a_call_returns_to_their_slot(storage: Storage, jobs: Driver) -> None:
    a = await jobs.running(singleton_key=SINGLETON_QUEUE)
    b = await jobs.running(singleton_key=SINGLETON_QUEUE)
    failures = [Failed(job.id, job.attempt, 5.0, BOOM) for job in (a, b)]
    assert await storage.settle(failed=failures) == {a.id, b.id}
    assert await jobs.states([a.id, b.id]) == [RowState.RETRY, RowState.FAILED]


# Who is in the way


async def test_conflicts_of_new_jobs_are_found_together(storage: Storage, jobs: Driver) -> None:
    await jobs.running(singleton_key=SINGLETON_QUEUE)
    plain = await jobs.ended(RowState.COMPLETED, slot_seconds=60)
    keyed = await jobs.send(slot_seconds=60, singleton_key="anna")
    held = await jobs.send(singleton_key="anna")
    free = [jobs.new(), jobs.new(singleton_key="bert"), jobs.new(singleton_key=SINGLETON_QUEUE)]
    slot = jobs.new(slot_seconds=60)
    refused = [jobs.new(singleton_key="anna"), slot, jobs.new(slot_seconds=60, singleton_key="anna")]
    assert await storage.find_conflicts([*free, *refused]) == [None, None, None, held, plain, keyed]
    waiting = await jobs.send(singleton_key=SINGLETON_QUEUE)
    jobs.clock.advance(60)
    assert await storage.find_conflicts([slot, free[2], *free[:2]]) == [None, waiting, None, None]
    assert await storage.find_conflicts([]) == []


async def test_conflict_of_an_ended_job_is_found_by_its_id(storage: Storage, jobs: Driver) -> None:
    async def check(rule: dict[str, Any]) -> None:
        name = str(rule)
        ended = await jobs.ended(RowState.CANCELLED, name, **rule)
        assert await storage.find_conflicts([ended]) == [None]
        other = await jobs.send(name, **rule)
        assert await storage.find_conflicts([jobs.new().id, other, ended]) == [None, None, other]

    rules = [{"singleton_key": "anna"}, {"slot_seconds": 60}, {"slot_seconds": 60, "singleton_key": "anna"}]
    await check_each_async([*rules, {"singleton_key": SINGLETON_QUEUE}], check)


async def test_transaction_finds_the_conflicts_of_its_own_changes(storage: Storage, jobs: Driver) -> None:
    old = await jobs.send(singleton_key="anna")
    rival = jobs.new(singleton_key="anna")
    async with storage.transaction() as transaction:
        assert await transaction.find_conflicts([rival, old]) == [old, None]
        await transaction.cancel([old])
        assert await transaction.find_conflicts([rival, old]) == [None, None]
        new = await jobs.send(within=transaction, singleton_key="anna")
        assert await transaction.find_conflicts([rival, old]) == [new, new]
