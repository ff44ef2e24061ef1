"""When a drain ends: nothing is due, and no job is held."""

from __future__ import annotations

import asyncio
from typing import Literal

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


class _Gate(asyncio.Event):
    """Ends some waits at once, and holds the next ones."""

    def __init__(self, passes: int) -> None:
        super().__init__()
        self._passes = passes

    async def wait(self) -> Literal[True]:
        self._passes -= 1
        return self._passes >= 0 or await super().wait()


async def test_drain_waits_for_jobs_that_a_claim_under_way_does_not_see() -> None:
    async def check(number: int) -> None:
        place, go_on = faulty_place(), asyncio.Event()

        @place.catalog.task("work")
        async def work() -> None:
            await go_on.wait()

        async with place.working(poll_interval=1e6) as worker:
            await until(place.asleep)
            claims, gate = place.storage.calls.count("claim"), _Gate(number)
            place.storage.held["claim"] = gate
            earlier = asyncio.ensure_future(worker.drain())
            await until(lambda: place.storage.calls.count("claim") == claims + number + 1)
            await place.send(work)
            draining = asyncio.ensure_future(worker.drain())
            await turns()
            gate.set()
            await turns()
            assert not draining.done()
            go_on.set()
            await until(lambda: draining.done() and earlier.done())

    # The claims before a sleep are three.
    await check_each_async(range(3), check)


async def test_drain_waits_for_jobs_behind_the_handler_of_a_cancelled_one() -> None:
    place, began, cleaned = Place(), 0, asyncio.Event()

    @place.catalog.task("other")
    async def _other() -> None:
        """Do nothing; the task gives the worker a second queue."""

    @place.catalog.task("work", concurrency_limit=1)
    async def work() -> None:
        nonlocal began
        began += 1
        if began == 1:
            try:
                await asyncio.Event().wait()
            finally:
                await cleaned.wait()

    first = await place.send(work)
    async with place.working(lease=15, heartbeat_interval=5) as worker:
        await until(lambda: began)
        await place.send(work)
        await place.queue.cancel(first)
        draining = asyncio.ensure_future(worker.drain())
        await place.advance(12)
        assert (began, draining.done()) == (1, False)
        cleaned.set()
        place.keep_advancing()
        await until(draining.done)
        assert began == 2
