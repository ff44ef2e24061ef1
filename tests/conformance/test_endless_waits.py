"""Waits that would never end are refused: for a job that does not exist, and in a cycle."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.cases import check_each_async
from tests.conformance.driver import Driver
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
