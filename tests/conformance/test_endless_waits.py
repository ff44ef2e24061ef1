"""Waits that would never end are refused: for no job, in a cycle, and again for a job that has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from tests.cases import check_each_async
from tests.conformance.driver import Driver
from tests.conformance.planting import Plant
from zeke_queue.core import waits
from zeke_queue.model import RowState, Waiting
from zeke_queue.storage import Storage


async def test_wait_for_an_unknown_job_is_refused(storage: Storage, jobs: Driver) -> None:
    parent, unknown = await jobs.running(), jobs.new_id()
    for repeated in (False, True):
        waiting = [Waiting(parent.id, parent.attempt, unknown)]
        assert await storage.suspend(waiting, repeated=repeated) == (set(), {parent.id: ()}, set())
    stored = await jobs.look(parent.id)
    assert (stored.row_state, stored.waits_for) == (RowState.ACTIVE, None)


async def test_wait_for_a_purged_job_is_refused(storage: Storage, jobs: Driver) -> None:
    errand, parent = await jobs.ended(RowState.COMPLETED, "errand"), await jobs.running()
    jobs.clock.advance(10)
    assert await storage.archive(5, 10) == 1
    jobs.clock.advance(10)
    assert await storage.purge(5, 10) == 1
    assert await storage.suspend([Waiting(parent.id, 1, errand)]) == (set(), {parent.id: ()}, set())


async def test_second_wait_for_one_end_is_refused(storage: Storage, jobs: Driver) -> None:
    async def check(*, archived: bool) -> None:
        errand, parent = await jobs.ended(RowState.COMPLETED, "errand"), await jobs.running()
        if archived:
            jobs.clock.advance(10)
            assert await storage.archive(5, 10)
        jobs.clock.advance(10)
        assert await jobs.wait_for(errand, parent)
        jobs.clock.advance(10)
        parent = await jobs.claim_one()
        for repeated in (False, True):
            waiting = [Waiting(parent.id, parent.attempt, errand)]
            assert await storage.suspend(waiting, repeated=repeated) == (set(), {parent.id: (errand,)}, set())
        stored = await jobs.look(parent.id)
        assert (stored.row_state, stored.waits_for) == (RowState.ACTIVE, None)
        assert await jobs.complete(parent)

    await check_each_async([False, True], lambda archived: check(archived=archived))


async def test_wait_for_an_ended_job_is_allowed_after_anything_else(storage: Storage, jobs: Driver) -> None:
    first, second = (
        await jobs.ended(RowState.FAILED, "errand"),
        await jobs.ended(RowState.COMPLETED, "errand"),
    )
    jobs.clock.advance(10)
    parent = await jobs.running()
    assert await jobs.wait_for(first, parent)
    assert await jobs.wait_for(second, parent := await jobs.claim_one()), "another job"
    jobs.clock.advance(1)
    assert await jobs.wait_for(first, parent := await jobs.claim_one()), "another job"
    jobs.clock.advance(1)
    assert await jobs.release(parent := await jobs.claim_one())
    assert await jobs.wait_for(first, parent := await jobs.claim_one()), "a snooze"
    assert await jobs.fail(parent := await jobs.claim_one(), retry_in=0)
    assert await jobs.wait_for(first, parent := await jobs.claim_one()), "a retry"
    assert await storage.retry([first]) == {first}
    again = await jobs.claim_one("errand")
    jobs.clock.advance(10)
    assert await jobs.complete(again)
    assert await jobs.wait_for(first, await jobs.claim_one()), "another end of the same job"


async def test_job_that_waits_for_ended_jobs_in_turn_pauses(storage: Storage, jobs: Driver) -> None:
    errands = [await jobs.ended(RowState.COMPLETED, "errand") for _ in range(2)]
    jobs.clock.advance(10)
    assert await storage.archive(5, 1) == 1
    parent = await jobs.running()
    assert await jobs.wait_for(errands[0], parent)
    for errand in (errands[1], errands[0], errands[1]):
        assert await jobs.wait_for(errand, await jobs.claim_one())
        jobs.clock.advance(0.9)
        assert await jobs.claim() == []
        jobs.clock.advance(0.1)
    # What ends during the attempt may be what the handler could not know yet.
    last, parent = await jobs.running("errand"), await jobs.claim_one()
    assert await jobs.complete(last)
    assert await jobs.wait_for(last.id, parent)
    assert await jobs.complete(await jobs.claim_one())


async def test_job_that_waits_again_for_one_with_an_odd_end_pauses(jobs: Driver, plant: Plant) -> None:
    async def check(end: datetime | None) -> None:
        odd, parent = await jobs.look(await jobs.ended(RowState.COMPLETED, "errand")), await jobs.running()
        await plant(replace(odd, completed_on=end))
        assert await jobs.wait_for(odd.id, parent)
        assert await jobs.wait_for(odd.id, await jobs.claim_one())
        assert await jobs.claim() == []
        jobs.clock.advance(1)
        assert await jobs.complete(await jobs.claim_one())

    await check_each_async([None, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)], check)


async def test_wait_that_closes_a_cycle_is_refused(storage: Storage, jobs: Driver) -> None:
    async def check(length: int) -> None:
        members = [await jobs.running(f"member-{length}") for _ in range(length)]
        for member, following in pairwise(members):
            assert await jobs.wait_for(following.id, member)
        last = members[-1]
        chain = tuple(member.id for member in members)
        waiting = [Waiting(last.id, last.attempt, chain[0])]
        assert await storage.suspend(waiting) == (set(), {last.id: chain}, set())
        stored = await jobs.look(last.id)
        assert (stored.row_state, stored.waits_for) == (RowState.ACTIVE, None)
        assert await jobs.fail(last)
        assert length == 1 or (await jobs.look(members[-2].id)).waits_for is None

    await check_each_async([1, 2, 3, 5], check)


async def test_chain_of_waits_ends_with_a_job_that_waits_for_none(storage: Storage, jobs: Driver) -> None:
    members = [await jobs.running() for _ in range(3)]
    for member, following in reversed([*pairwise(members)]):
        assert await jobs.wait_for(following.id, member)
    another = await jobs.running()
    assert await jobs.wait_for(members[0].id, another)
    assert (await jobs.look(another.id)).waits_for == members[0].id


async def test_chain_of_waits_is_bounded(
    storage: Storage, jobs: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "WAIT_CHAIN_MAX", 3)
    first, second, third, fourth = [await jobs.running() for _ in range(4)]
    for member, following in ((third, fourth), (second, third)):
        assert await jobs.wait_for(following.id, member)
    refused = await storage.suspend([Waiting(first.id, 1, second.id)])
    assert refused == (set(), {first.id: (second.id, third.id, fourth.id)}, set())
    assert await jobs.wait_for(third.id, first)
