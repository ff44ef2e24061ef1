"""When a drain ends: nothing is due, and no job is held."""

from __future__ import annotations

import asyncio

from tests.cases import check_each_async
from tests.runtime.workers.faulty import faulty_place
from tests.runtime.workers.place import PATIENCE, Place, turns, until
from zeke_queue.model import QueueSettings
from zeke_queue.storage.memory.locks import queue_lock


async def test_drain_does_not_wait_for_the_handler_of_a_cancelled_job() -> None:
    async def check(limit: int | None) -> None:
        place, running, cleaned = Place(), asyncio.Event(), asyncio.Event()

        @place.catalog.task("work", concurrency_limit=limit)
        async def work() -> None:
            running.set()
            try:
                await asyncio.Event().wait()
            finally:
                await cleaned.wait()

        job_id = await place.send(work)
        async with place.working(poll_interval=1e6, lease=15, heartbeat_interval=5) as worker:
            await running.wait()
            draining = asyncio.ensure_future(worker.drain())
            await turns()
            await place.queue.cancel(job_id)
            await place.advance(6)
            await until(draining.done)
            cleaned.set()

    await check_each_async([None, 2], check)


async def test_drain_waits_for_a_limited_queue_that_another_session_has_locked() -> None:
    place, ran = faulty_place(), 0

    @place.catalog.task("work", concurrency_limit=5)
    async def work() -> None:
        nonlocal ran
        ran += 1

    await place.storage.declare([QueueSettings("work", 5)], [])
    async with place.working() as worker:
        async with place.storage.real.transaction() as other:
            assert other.lock(queue_lock("work"))
            await place.send(work)
            await place.send(work)
            draining = asyncio.ensure_future(worker.drain())
            place.keep_advancing()
            await until(lambda: place.storage.calls.count("claim") >= 7)
            assert not draining.done()
        async with asyncio.timeout(PATIENCE):
            await draining
    assert ran == 2
