"""Sleeping until there is work: which worker wakes, by which event, and that a sleep times out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, Driver, is_kept_waiting, rolled_back, soon
from tests.conformance.storages import also_forwarded_on_postgres
from zeke_queue.model import Claimed, QueueSettings, Released, RowState
from zeke_queue.storage import Storage


@asynccontextmanager
async def sleeper(storage: Storage, *queues: str) -> AsyncIterator[asyncio.Task[bool]]:
    """Yield a worker that is marked as idle on these queues, and sleeps."""
    await storage.set_idle(ANNA, queues)
    task = asyncio.create_task(storage.wait_for_jobs(queues, 30))
    assert await is_kept_waiting(asyncio.shield(task))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def registered(jobs: Driver) -> None:
    """Register the worker Anna, so that senders can see that it sleeps."""
    await jobs.heartbeat(ANNA)


pytestmark = [pytest.mark.usefixtures("registered"), also_forwarded_on_postgres]


async def test_insert_wakes_a_worker_idle_on_its_queue(storage: Storage, jobs: Driver) -> None:
    async with sleeper(storage, "post", "mail") as asleep:
        await jobs.send("mail")
        assert await soon(asleep)


async def test_insert_into_another_queue_wakes_no_worker(storage: Storage, jobs: Driver) -> None:
    async with sleeper(storage, "mail") as asleep:
        await jobs.send("post")
        assert await is_kept_waiting(asyncio.shield(asleep))


async def test_insert_in_a_transaction_wakes_workers_at_the_commit(storage: Storage, jobs: Driver) -> None:
    async with sleeper(storage, "mail") as asleep:
        async with storage.transaction() as transaction:
            await jobs.send(within=transaction)
            assert await is_kept_waiting(asyncio.shield(asleep))
        assert await soon(asleep)


async def test_job_that_comes_due_in_a_transaction_wakes_no_worker(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with sleeper(storage, "mail") as asleep:
        async with storage.transaction() as transaction:
            assert await transaction.settle(released=[Released(job.id, job.attempt, 1.0)])
            jobs.clock.advance(2)
        assert await is_kept_waiting(asyncio.shield(asleep))


async def test_rolled_back_transaction_wakes_no_worker(storage: Storage, jobs: Driver) -> None:
    job = await jobs.send()
    async with sleeper(storage, "mail") as asleep:
        async with rolled_back(storage) as transaction:
            assert await transaction.cancel([job]) == {job}
        assert await is_kept_waiting(asyncio.shield(asleep))


async def test_wait_for_jobs_ends_after_its_timeout(storage: Storage, clock: FrozenClock) -> None:
    asleep = asyncio.create_task(storage.wait_for_jobs(["mail"], 0.05))
    for _ in range(5):
        await clock.sleep(0)
    clock.advance(0.05)
    assert await soon(asleep) is False


async def test_two_workers_may_wait_on_one_queue(storage: Storage, jobs: Driver) -> None:
    async with sleeper(storage, "mail") as first, sleeper(storage, "mail") as second:
        await jobs.send("mail")
        assert [await soon(first), await soon(second)] == [True, True]


async def test_released_job_wakes_an_idle_worker(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with sleeper(storage, "mail") as asleep:
        await jobs.release(job)
        assert await soon(asleep)


async def _retry_later(storage: Storage, jobs: Driver, job: Claimed) -> None:
    await jobs.fail(job, retry_in=60)


async def _snooze(storage: Storage, jobs: Driver, job: Claimed) -> None:
    await jobs.release(job, delay=60)


async def _snooze_in_a_transaction(storage: Storage, jobs: Driver, job: Claimed) -> None:
    async with storage.transaction() as transaction:
        await transaction.settle(released=[Released(job.id, job.attempt, 60)])


async def _wait_for_a_child(storage: Storage, jobs: Driver, job: Claimed) -> None:
    await jobs.wait_for(await jobs.insert_child(job), job)


LATER = (_retry_later, _snooze, _snooze_in_a_transaction, _wait_for_a_child)
"""Ways in which a running job makes room for another one, and is not due itself."""


@pytest.mark.parametrize("ends", LATER)
async def test_job_that_is_due_later_wakes_workers_of_a_limited_queue_only(
    storage: Storage, jobs: Driver, ends: Callable[[Storage, Driver, Claimed], Awaitable[None]]
) -> None:
    await storage.declare([QueueSettings("mail", concurrency_limit=1)], [])
    limited, unlimited = await jobs.running(), await jobs.running("post")
    waiting = await jobs.send()
    assert await jobs.claim("mail") == []
    async with sleeper(storage, "post") as asleep:
        await ends(storage, jobs, unlimited)
        assert await is_kept_waiting(asyncio.shield(asleep))
    async with sleeper(storage, "mail") as asleep:
        await ends(storage, jobs, limited)
        assert await soon(asleep)
    assert [job.id for job in await jobs.claim("mail")] == [waiting]


async def test_wait_in_turn_wakes_no_worker_before_its_pause_is_over(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    ended = [await jobs.ended(RowState.COMPLETED, "errand") for _ in range(2)]
    await jobs.wait_for(ended[0], job)
    jobs.clock.advance(1)
    job = await jobs.claim_one()
    async with sleeper(storage, "mail") as asleep:
        await jobs.wait_for(ended[1], job)
        assert await is_kept_waiting(asyncio.shield(asleep))


async def test_resumed_queue_wakes_an_idle_worker(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", None)], [])
    await storage.pause_queue("mail", paused=True)
    async with sleeper(storage, "mail") as asleep:
        await storage.pause_queue("mail", paused=False)
        assert await soon(asleep)


async def test_subscription_to_an_unchanged_job_reports_nothing(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with storage.subscribe() as watch:
        await watch.add([job.id])
        await jobs.complete(job)
        assert await soon(watch.wait(30)) == [job.id]
        waiting = asyncio.create_task(watch.wait(0.05))
        for _ in range(5):
            await jobs.clock.sleep(0)
        jobs.clock.advance(0.05)
        assert await soon(waiting) == []
