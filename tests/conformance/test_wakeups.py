"""Sleeping until there is work: which worker wakes, by which event, and that a sleep times out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, Driver, is_kept_waiting, soon
from tests.conformance.storages import also_forwarded_on_postgres
from zeke_queue.model import QueueSettings
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
