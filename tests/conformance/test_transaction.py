"""Transactions: unseen before the commit, without a trace after a rollback, and only equals wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import BOOM, Driver, is_kept_waiting, rolled_back, soon
from tests.conformance.storages import FORWARDED, also_forwarded_on_postgres
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import Completed, Failed, JobQuery, Released, RowState
from zeke_queue.storage import Storage


async def test_job_is_invisible_before_the_commit(storage: Storage, jobs: Driver) -> None:
    async with storage.transaction() as transaction:
        job_id = await jobs.send(within=transaction)
        assert await storage.get([job_id]) == {}
        assert (await storage.find(JobQuery())).jobs == []
        assert await storage.queue_stats() == []
        assert await jobs.claim() == []
    assert [job.id for job in await jobs.claim()] == [job_id]


async def test_rolled_back_job_is_not_stored(storage: Storage, jobs: Driver) -> None:
    async with rolled_back(storage) as transaction:
        job_id = await jobs.send(within=transaction, singleton_key="anna")
    assert await storage.get([job_id]) == {}
    assert await jobs.claim() == []
    await jobs.send(singleton_key="anna")


async def test_transaction_sees_its_own_changes(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    async with storage.transaction() as transaction:
        job_id = await jobs.send(within=transaction, singleton_key="anna")
        assert await transaction.insert([jobs.new(singleton_key="anna")]) == [None]
        assert await transaction.insert([jobs.new(id=job_id)]) == [job_id]
        assert await transaction.cancel([job_id]) == {job_id}
        assert await transaction.cancel([job_id]) == set()
        await jobs.send(within=transaction, singleton_key="anna")
    assert (await jobs.look(job_id)).row_state is RowState.CANCELLED


async def test_rollback_restores_settled_and_cancelled_jobs(storage: Storage, jobs: Driver) -> None:
    a, b, c = [await jobs.running() for _ in range(3)]
    waiting = await jobs.send("other")
    ids = [a.id, b.id, c.id, waiting]
    before = [await jobs.look(job_id) for job_id in ids]
    async with rolled_back(storage) as transaction:
        await transaction.settle(
            completed=[Completed(a.id, 1, "1")],
            failed=[Failed(b.id, 1, 1.0, BOOM)],
            released=[Released(c.id, 1)],
        )
        assert await transaction.cancel([waiting]) == {waiting}
    assert [await jobs.look(job_id) for job_id in ids] == before
    assert await jobs.complete(a)
    assert [job.id for job in await jobs.claim("other")] == [waiting]


async def test_changes_are_invisible_to_others_until_the_commit(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with storage.transaction() as transaction:
        await transaction.settle(completed=[Completed(job.id, 1, "1")])
        assert (await jobs.look(job.id)).row_state is RowState.ACTIVE
        assert (await storage.queue_stats())[0].row_counts == {RowState.ACTIVE: 1}
    assert (await jobs.look(job.id)).row_state is RowState.COMPLETED


async def test_claim_skips_jobs_changed_by_an_open_transaction(storage: Storage, jobs: Driver) -> None:
    cancelled, other = await jobs.send(priority=9), await jobs.send()
    async with rolled_back(storage) as transaction:
        await transaction.cancel([cancelled])
        assert [job.id for job in await soon(jobs.claim())] == [other]
    assert [job.id for job in await jobs.claim()] == [cancelled]


async def test_claim_skips_jobs_locked_by_a_transaction(storage: Storage, jobs: Driver) -> None:
    async def check(number: int, others: dict[str, Any], limit: int) -> None:
        queues = (f"mail-{number}", f"post-{number}")
        held = [await jobs.send(queues[0], priority=9) for _ in range(3)]
        free = [await jobs.send(queues[number % 2], **others) for _ in range(3)]
        async with rolled_back(storage) as transaction:
            await transaction.cancel(held)
            claimed = await soon(jobs.claim(*queues, limit=limit))
            assert [job.id for job in claimed] == free[:limit]

    same_queue, other_queue = {"priority": 0}, {"priority": 9}
    cases = [(0, same_queue, 1), (1, other_queue, 1), (2, same_queue, 2), (3, other_queue, 2)]
    await check_each_async(cases, check)


@pytest.mark.parametrize("opened", FORWARDED[1:], indirect=True)
async def test_given_connection_commits_or_rolls_back_what_a_transaction_on_it_sent(
    storage: Storage, jobs: Driver, emptied_dsn: str
) -> None:
    async with await AsyncConnection.connect(emptied_dsn) as connection:
        for end, stored in ((connection.rollback, 0), (connection.commit, 1)):
            async with storage.transaction(connection) as transaction:
                assert transaction.connection is connection
                job_id = await jobs.send(within=transaction)
            assert await storage.get([job_id]) == {}
            await end()
            assert len(await storage.get([job_id])) == stored


@also_forwarded_on_postgres
async def test_callbacks_run_in_order_at_the_commit_and_in_reverse_at_the_rollback(
    storage: Storage, jobs: Driver
) -> None:
    told: list[str] = []
    for opening in (storage.transaction(), rolled_back(storage)):
        before = [*told]
        async with opening as transaction:
            for word in ("first", "second"):
                transaction.on_commit(lambda word=word: told.append(f"{word} done"))
                transaction.on_rollback(lambda word=word: told.append(f"{word} undone"))
            await jobs.send(within=transaction)
            assert told == before
    assert told == ["first done", "second done", "second undone", "first undone"]


async def test_cancelled_transaction_is_rolled_back(storage: Storage, jobs: Driver) -> None:
    opened = asyncio.Event()

    async def send_and_hang() -> None:
        async with storage.transaction() as transaction:
            await jobs.send(within=transaction)
            opened.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(send_and_hang())
    await opened.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await jobs.claim() == []


async def test_insert_of_a_conflicting_job_waits_for_the_commit_and_is_refused(jobs: Driver) -> None:
    async def check(rule: dict[str, Any]) -> None:
        async with jobs.storage.transaction() as transaction:
            await jobs.send(within=transaction, **rule)
            second = asyncio.create_task(jobs.refused(**rule))
            assert await is_kept_waiting(second)
        assert await soon(second)

    rules = [{"singleton_key": "anna"}, {"slot_seconds": 60}, {"slot_seconds": 60, "singleton_key": "bert"}]
    await check_each_async(rules, check)


async def test_conflicting_insert_succeeds_after_the_rollback(storage: Storage, jobs: Driver) -> None:
    async with rolled_back(storage) as transaction:
        await jobs.send(within=transaction, singleton_key="anna")
        second = asyncio.create_task(jobs.send(singleton_key="anna"))
        assert await is_kept_waiting(second)
    job_id = await soon(second)
    assert [job.id for job in await jobs.claim()] == [job_id]


async def test_insert_of_the_same_id_waits_and_returns_it(storage: Storage, jobs: Driver) -> None:
    job = jobs.new(data="1")
    async with storage.transaction() as transaction:
        await transaction.insert([job])
        again = asyncio.create_task(storage.insert([job]))
        assert await is_kept_waiting(again)
    assert await soon(again) == [job.id]
    assert len(await jobs.claim()) == 1


async def test_insert_waits_for_a_transaction_that_may_free_its_key(storage: Storage, jobs: Driver) -> None:
    holder = await jobs.send(singleton_key="anna")
    async with storage.transaction() as transaction:
        await transaction.cancel([holder])
        second = asyncio.create_task(jobs.refused(singleton_key="anna"))
        assert await is_kept_waiting(second)
    assert not await soon(second)


async def test_inserts_with_other_keys_do_not_wait(storage: Storage, jobs: Driver) -> None:
    async with storage.transaction() as first:
        await jobs.send(within=first, singleton_key="anna")
        await soon(jobs.send(singleton_key="bert"))
        await soon(jobs.send("post", singleton_key="anna"))
        async with storage.transaction() as second:
            await soon(jobs.send(within=second, singleton_key="carl"))
    assert len(await jobs.claim("mail", "post")) == 4


async def test_cancel_waits_for_a_transaction_that_settles_the_job(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with storage.transaction() as transaction:
        await transaction.settle(completed=[Completed(job.id, 1, None)])
        cancelling = asyncio.create_task(storage.cancel([job.id]))
        assert await is_kept_waiting(cancelling)
    assert await soon(cancelling) == set()
    assert (await jobs.look(job.id)).row_state is RowState.COMPLETED


async def test_settlement_waits_for_a_transaction_that_cancels_the_job(jobs: Driver) -> None:
    job = await jobs.running()
    async with rolled_back(jobs.storage) as transaction:
        await transaction.cancel([job.id])
        completing = asyncio.create_task(jobs.complete(job))
        assert await is_kept_waiting(completing)
    assert await soon(completing)


async def test_deadlock_fails_one_of_the_two_transactions(storage: Storage, jobs: Driver) -> None:
    ready = asyncio.Barrier(2)

    async def take_both(one: str, other: str) -> None:
        async with storage.transaction() as transaction:
            await transaction.insert([jobs.new(singleton_key=one)])
            await ready.wait()
            await transaction.insert([jobs.new(singleton_key=other)])

    outcomes = await soon(
        asyncio.gather(take_both("anna", "bert"), take_both("bert", "anna"), return_exceptions=True)
    )
    assert sorted((outcome is None) for outcome in outcomes) == [False, True]
    # The caller may repeat it, as after an outage.
    assert any(isinstance(outcome, StorageUnavailableError) for outcome in outcomes)
    assert {job.singleton_key for job in (await storage.find(JobQuery())).jobs} == {"anna", "bert"}


async def test_conflicting_retry_in_a_transaction_is_superseded(storage: Storage, jobs: Driver) -> None:
    key = "__pgboss__singleton_queue"
    running = await jobs.running(singleton_key=key)
    async with storage.transaction() as transaction:
        waiting = await jobs.send(within=transaction, singleton_key=key)
        failed = [Failed(running.id, 1, 1.0, BOOM)]
        assert await transaction.settle(failed=failed) == {running.id}
    job = await jobs.look(running.id)
    assert (job.row_state, job.output["superseded_by"]) == (RowState.FAILED, str(waiting))


async def test_final_failure_does_not_wait_for_the_slot(storage: Storage, jobs: Driver) -> None:
    key = "__pgboss__singleton_queue"
    running = await jobs.running(singleton_key=key)
    async with rolled_back(storage) as transaction:
        await jobs.send(within=transaction, singleton_key=key)
        assert await soon(asyncio.ensure_future(jobs.fail(running)))
        assert (await jobs.look(running.id)).row_state is RowState.FAILED


async def test_outcome_of_an_earlier_attempt_does_not_lock_the_job(storage: Storage, jobs: Driver) -> None:
    key = "__pgboss__singleton_queue"
    given_back, superseded = await jobs.running(), await jobs.running(singleton_key=key)
    assert await jobs.release(given_back)
    await jobs.send(singleton_key=key, delay=60)
    failed = [Failed(job.id, job.attempt, 1.0, BOOM) for job in (given_back, superseded)]
    async with storage.transaction() as transaction:
        assert await transaction.settle(failed=failed) == {superseded.id}
        assert [job.id for job in await jobs.claim()] == [given_back.id]


async def test_slot_freed_and_taken_in_one_transaction_changes_its_holder(jobs: Driver) -> None:
    old = await jobs.send(singleton_key="anna")
    async with jobs.storage.transaction() as transaction:
        await transaction.cancel([old])
        new = await jobs.send(within=transaction, singleton_key="anna")
    assert await jobs.storage.find_conflicts([jobs.new(singleton_key="anna")]) == [new]
    assert await jobs.refused(singleton_key="anna")
