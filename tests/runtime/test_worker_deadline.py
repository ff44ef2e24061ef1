"""The deadline: when it passes, when it is extended, and how a handler reacts to its cancellation."""

from __future__ import annotations

import asyncio

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.handler import Handler, Lines
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.errors import LeaseLostError
from zeke_queue.model import RowState
from zeke_queue.task.context import JobContext

COMPLETED, FAILED, RETRY, CREATED = RowState.COMPLETED, RowState.FAILED, RowState.RETRY, RowState.CREATED
ACTIVE, CANCELLED, EXPIRED = RowState.ACTIVE, RowState.CANCELLED, RowState.EXPIRED

BEATING = {"lease": 15.0, "heartbeat_interval": 5.0}


async def test_handler_past_its_deadline_is_interrupted_and_retried(place: Place) -> None:
    work = Handler(place, expire_in=60, retry_delay=100, retry_backoff=False)
    async with place.working() as worker:
        job_id = await work.begin()
        place.clock.advance(59.9)
        await turns()
        assert work.cancelled == []
        place.clock.advance(0.1)
        await until(lambda: place.state(job_id) is RETRY)
        await worker.drain()
    job = await place.job(job_id)
    assert job.history[-1].error["type"] == "Expired"
    assert "60 s" in job.history[-1].error["message"]


async def test_job_past_its_deadline_before_its_claim_is_answered_expires(place: Place) -> None:
    """Otherwise it would alternate forever if answers take longer than its limit."""
    work = Handler(place, expire_in=3, retry_limit=0)
    answer = place.storage.held["claim"] = asyncio.Event()
    async with place.working():
        job_id = await place.send(work.task)
        await until(lambda: place.state(job_id) is ACTIVE)
        place.clock.advance(3)
        answer.set()
        await until(lambda: place.state(job_id) is EXPIRED or work.started)
    job = await place.job(job_id)
    assert (work.started, job.row_state, job.attempt) == ([], EXPIRED, 1)
    assert job.output["type"] == "Expired"


async def test_each_of_many_deadlines_is_kept(place: Place) -> None:
    work = Handler(place, retry_limit=0)
    async with place.working():
        sent = {}
        for seconds in (300, 100, 200, 50):
            sent[seconds] = await place.send(work.task, expire_in=seconds)
            await until(lambda: len(work.started) == len(sent))
        for seconds in (50, 100, 200, 300):
            place.clock.advance(seconds - 1 - (place.clock.monotonic()))
            await turns()
            assert sent[seconds] not in work.cancelled
            place.clock.advance(1)
            await until(lambda at=seconds: sent[at] in work.cancelled)
    assert work.cancelled == [sent[seconds] for seconds in (50, 100, 200, 300)]


async def test_extended_deadline_is_kept(place: Place) -> None:
    started = asyncio.Event()

    @place.catalog.task("long", expire_in=60, retry_limit=0)
    async def long(job: JobContext) -> None:
        await job.extend(100)
        started.set()
        await asyncio.Event().wait()

    async with place.working():
        job_id = await place.send(long)
        await until(started.is_set)
        place.clock.advance(99)
        await turns()
        assert place.state(job_id) is ACTIVE
        place.clock.advance(1)
        await until(lambda: place.state(job_id) is EXPIRED)


async def test_deadline_is_extended_on_the_clock_of_the_worker(place: Place) -> None:
    moved: list[float] = []
    own = FrozenClock()
    own.advance(5000)

    @place.catalog.task("long")
    async def long(job: JobContext) -> None:
        await job.extend(100)
        moved.append(job.deadline - own.monotonic())

    async with place.working(clock=own):
        await place.send(long)
        await until(lambda: moved)
    assert moved == [100]


async def test_extending_a_lost_job_raises_lease_lost(place: Place) -> None:
    told: list[bool] = []
    go = asyncio.Event()

    @place.catalog.task("long")
    async def long(job: JobContext) -> None:
        await go.wait()
        with pytest.raises(LeaseLostError):
            await job.extend(100)
        told.append(job.cancelled)

    async with place.working() as worker:
        job_id = await place.send(long)
        await until(lambda: place.state(job_id) is ACTIVE)
        await place.queue.cancel(job_id)
        go.set()
        await until(lambda: told)
        await worker.drain()
    assert told == [True]
    assert (await place.job(job_id)).row_state is CANCELLED


async def test_job_expires_whatever_its_handler_does_when_cancelled(place: Place) -> None:
    @place.catalog.task("stubborn", expire_in=60, retry_limit=0)
    async def stubborn(how: str) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "raises":
                raise ValueError("something else") from None
        return "too late"

    async with place.working() as worker:
        sent = [await place.send(stubborn, how) for how in ("returns", "raises")]
        await until(lambda: all(place.state(job_id) is ACTIVE for job_id in sent))
        await turns()
        place.clock.advance(60)
        await until(lambda: all(place.state(job_id) is EXPIRED for job_id in sent))
        await worker.drain()


async def test_handler_that_ignores_its_cancellation_is_cancelled_again_and_logged(
    place: Place, lines: Lines
) -> None:
    asked = 0

    @place.catalog.task("ignores-cancel", expire_in=60, retry_limit=0)
    async def ignores_cancel() -> None:
        nonlocal asked
        while asked < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked += 1

    async with place.working(lease=1000, heartbeat_interval=10) as worker:
        job_id = await place.send(ignores_cancel)
        await until(lambda: place.state(job_id) is ACTIVE)
        await turns()
        for times in (1, 2, 3):
            place.clock.advance(60)
            await until(lambda at=times: asked == at)
            await turns()
        await worker.drain()
    assert "cancellation_ignored" in lines.messages
