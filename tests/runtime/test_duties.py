"""What a worker does beside running jobs: maintenance, schedules, and a warning where no worker has one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.conformance.driver import soon
from tests.runtime.catalogs import nothing
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.errors import UsageError
from zeke_queue.model import QueueCapacity, RowState, WorkerInfo
from zeke_queue.task.catalog import Catalog

LOST, OTHER = UUID(int=1), UUID(int=2)
BOTH = {"maintenance": True, "schedules": True}
SHORT = {"lease": 15.0, "heartbeat_interval": 5.0}


@pytest.fixture
def place() -> Place:
    catalog = Catalog()

    @catalog.task("work", retry_delay=0)
    async def work() -> str:
        return "done"

    catalog.task("tick")(nothing)
    catalog.schedule("each-minute", "* * * * *", task="tick")
    return Place(catalog)


async def lost_job(place: Place) -> UUID:
    """Send a job that a worker claims, whose lease then ends long before the job's deadline."""
    await place.storage.heartbeat(WorkerInfo(LOST, "host", 1, ("work",), 15.0))
    job_id = await place.send("work")
    await place.storage.claim(LOST, [QueueCapacity("work", 1)], 1)
    place.clock.advance(60)
    return job_id


def ticks(place: Place) -> list[RowState]:
    return [job.row_state for job in place.storage.dump().jobs if job.name == "tick"]


async def test_worker_rescues_lost_jobs_and_serves_ticks(place: Place) -> None:
    job_id = await lost_job(place)
    async with place.working(**BOTH, **SHORT):
        assert place.state(job_id) is RowState.ACTIVE, "its worker may have been cut off as well"
        await place.advance(14)
        assert place.state(job_id) is RowState.ACTIVE, "nor has the lease passed since"
        await place.advance(12)
        await until(lambda: place.state(job_id) is RowState.COMPLETED)
        assert not ticks(place), "the schedule starts from now"
        await place.advance(61)
        await until(lambda: ticks(place) == [RowState.COMPLETED])


async def test_worker_archives_and_purges(place: Place) -> None:
    await place.run_one("work")
    place.clock.advance(86_400 + 1)
    async with place.working(maintenance=True):
        await until(lambda: not place.storage.dump().jobs)
        assert len(place.storage.dump().archive) == 1


async def test_drained_worker_has_no_duties(place: Place) -> None:
    job_id = await lost_job(place)
    await place.drain(**BOTH)
    assert place.state(job_id) is RowState.ACTIVE


async def test_worker_of_no_concurrency_has_duties_alone(place: Place) -> None:
    opened: list[int] = []

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        opened.append(1)
        yield

    place.catalog.resources = resources
    job_id, late = await lost_job(place), await place.send("work")
    async with place.working(concurrency=0, **BOTH, **SHORT) as worker:
        await place.advance(26)
        await until(lambda: place.state(job_id) is RowState.RETRY)
        await place.advance(61)
        await until(lambda: ticks(place) == [RowState.CREATED])
        (info,) = [one for one in await place.storage.workers() if one.id == worker.id]
        assert (info.queues, info.duties) == ((), ("maintenance", "schedules"))
        with pytest.raises(UsageError, match="concurrency"):
            await worker.drain()
    assert (place.state(late), opened) == (RowState.CREATED, [])
    for options in ({}, {"maintenance": True, "tasks": ["work"]}):
        with pytest.raises(UsageError, match="concurrency"):
            place.worker(concurrency=0, **options)


async def test_duties_go_on_while_running_jobs_end(place: Place) -> None:
    running = asyncio.Event()

    @place.catalog.task("long", expire_in=3600)
    async def long() -> None:
        running.set()
        await place.clock.sleep(130)

    await place.send("long")
    worker = place.worker(schedules=True, shutdown_timeout=300)
    ended = asyncio.ensure_future(worker.run())
    await running.wait()
    worker.stop()
    await place.advance(125)
    assert ticks(place) == [RowState.CREATED] * 2
    await place.advance(10)
    await ended


async def test_each_duty_is_stored_with_the_worker(place: Place) -> None:
    for options, duties in (
        ({}, ()),
        ({"maintenance": True}, ("maintenance",)),
        ({"schedules": True}, ("schedules",)),
    ):
        async with place.working(**options) as worker:
            (info,) = await place.storage.workers()
            assert (info.id, info.duties) == (worker.id, duties)
            worker.stop()
        place.stop_advancing()


async def warnings(place: Place, worker: dict[str, Any], others: list[WorkerInfo], seconds: int) -> int:
    """Return how many warnings a worker logs in a number of seconds, while other workers are alive."""
    with logged() as lines:
        async with place.working(**SHORT, **worker):
            for _ in range(seconds // 5):
                for other in others:
                    await place.storage.heartbeat(other)
                await place.advance(1, 5)
        place.stop_advancing()
        return lines.messages.count("duty_missing")


async def test_duty_that_no_live_worker_has_is_reported_once(place: Place) -> None:
    helper = WorkerInfo(OTHER, "host", 2, (), 15.0, duties=("maintenance", "schedules"))
    assert await warnings(place, {}, [], 10) == 0, "others may be starting"
    assert await warnings(place, {}, [], 300) == 2
    assert await warnings(place, {"maintenance": True}, [], 300) == 1
    assert await warnings(place, {"maintenance": True, "schedules": True}, [], 300) == 0
    assert await warnings(place, {}, [helper], 300) == 0
    assert await warnings(place, {}, [], 300) == 2, "the helper has died"
    assert await warnings(place, {}, [replace(helper, duties=("schedules",))], 300) == 1


async def test_schedules_are_missed_only_where_the_catalog_has_some() -> None:
    place = Place()
    place.catalog.task("work")(nothing)
    assert await warnings(place, {}, [], 300) == 1


async def stopped_during_a_sweep(place: Place, monkeypatch: pytest.MonkeyPatch, archive: Any) -> Any:
    """Stop a worker that archives, in a way of the test's; returns its run."""
    begun = asyncio.Event()

    async def begin(*_: object, **__: object) -> int:
        begun.set()
        return await archive()

    monkeypatch.setattr(place.storage, "archive", begin)
    worker = place.worker(maintenance=True)
    running = asyncio.ensure_future(worker.run())
    await until(begun.is_set)
    worker.stop()
    return running


async def test_sweep_under_way_ends_before_the_worker(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    go, done = asyncio.Event(), []

    async def archive() -> int:
        await go.wait()
        done.append("archived")
        return 0

    running = await stopped_during_a_sweep(place, monkeypatch, archive)
    await turns()
    go.set()
    await soon(running)
    assert done == ["archived"]


async def test_sweep_that_hangs_is_cancelled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    began = place.clock.now()
    running = await stopped_during_a_sweep(place, monkeypatch, asyncio.Event().wait)
    place.keep_advancing()
    await soon(running)
    assert place.clock.now() - began < timedelta(minutes=1)


async def test_error_of_the_check_for_duties_does_not_end_the_worker(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> list[WorkerInfo]:
        raise psycopg.errors.InternalError_("an error of the server")

    monkeypatch.setattr(place.storage, "workers", fail)
    with logged() as lines:
        async with place.working(**SHORT):
            await place.advance(100, 5)
    assert "storage_error" in lines.messages
    assert "worker_part_failed" not in lines.messages
