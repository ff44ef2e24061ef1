"""When a drain ends: nothing is due, and no job is held."""

from __future__ import annotations

import asyncio

from tests.cases import check_each_async
from tests.runtime.workers.place import Place, turns, until


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
