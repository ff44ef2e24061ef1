"""The heartbeat: which jobs a worker loses, and which it does not take for lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.runtime.workers.handler import Handler, Lines
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.model import RowState

COMPLETED, FAILED, RETRY, CREATED = RowState.COMPLETED, RowState.FAILED, RowState.RETRY, RowState.CREATED
ACTIVE, CANCELLED, EXPIRED = RowState.ACTIVE, RowState.CANCELLED, RowState.EXPIRED

BEATING = {"lease": 15.0, "heartbeat_interval": 5.0}


# What is taken away


async def test_only_the_cancelled_job_is_interrupted_at_the_next_heartbeat(
    place: Place, lines: Lines
) -> None:
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        sent = [await work.begin() for _ in range(3)]
        await place.queue.cancel(sent[1])
        await turns()
        assert work.cancelled == []
        place.clock.advance(5)
        await until(lambda: work.cancelled)
        work.go.set()
        await worker.drain()
    assert work.cancelled == [sent[1]]
    jobs = [await place.job(job_id) for job_id in sent]
    assert [job.row_state for job in jobs] == [COMPLETED, CANCELLED, COMPLETED]
    assert jobs[1].output is None
    assert "job_cancelled" in lines.messages


async def test_waiting_job_is_not_started_after_its_cancellation(place: Place) -> None:
    ran: list[int] = []
    go = asyncio.Event()

    @place.catalog.task("quick")
    async def quick(n: int) -> None:
        ran.append(n)
        if n == 1:
            await go.wait()

    async with place.working(concurrency=1, lease=15, heartbeat_interval=1) as worker:
        await place.send(quick, 0)
        await worker.drain()  # it is known to be quick from here on, and claimed ahead
        sent = [await place.send(quick, n) for n in (1, 2, 3)]
        await until(lambda: [place.state(job_id) for job_id in sent] == [ACTIVE] * 3)
        await place.queue.cancel(sent[1])
        beats = place.storage.calls.count("heartbeat")
        place.clock.advance(1)
        await until(lambda: place.storage.calls.count("heartbeat") > beats)
        await turns()
        go.set()
        await worker.drain()
    assert ran == [0, 1, 3]
    assert [(await place.job(job_id)).row_state for job_id in sent] == [COMPLETED, CANCELLED, COMPLETED]


async def test_job_claimed_during_a_heartbeat_is_not_lost(place: Place) -> None:
    """A claim is in flight at the same time as a heartbeat's answer."""
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        first = await work.begin()
        beat = place.storage.held["heartbeat"] = asyncio.Event()
        place.clock.advance(5)
        await until(lambda: place.storage.calls[-1] == "heartbeat")
        second = await place.send(work.task)
        await until(lambda: len(work.started) == 2)
        beat.set()
        await turns()
        assert work.cancelled == []
        work.go.set()
        await worker.drain()
    assert {(await place.job(job_id)).row_state for job_id in (first, second)} == {COMPLETED}


@pytest.mark.parametrize("answered", [True, False])
async def test_job_settled_during_a_heartbeat_is_not_lost(
    place: Place,
    lines: Lines,
    answered: bool,  # noqa: FBT001
) -> None:
    work = Handler(place, concurrency_limit=3)
    async with place.working(**BEATING) as worker:
        job_id = await work.begin()
        beat = place.storage.late["heartbeat"] = asyncio.Event()
        settle = place.storage.held["settle"] = asyncio.Event()
        place.clock.advance(5)
        await until(lambda: place.storage.calls[-1] == "heartbeat")
        work.go.set()
        await until(lambda: place.state(job_id) is COMPLETED)
        if answered:
            settle.set()
            await turns()
        beat.set()
        await turns()
        settle.set()
        await worker.drain()
    assert "lease_lost" not in lines.messages


async def test_result_of_a_cancelled_job_is_not_stored(place: Place, lines: Lines) -> None:
    work = Handler(place)
    async with place.working() as worker:
        job_id = await work.begin()
        await place.queue.cancel(job_id)
        work.go.set()
        await until(lambda: work.finished)
        await worker.drain()
    assert (await place.job(job_id)).row_state is CANCELLED
    assert "lease_lost" in lines.messages
    assert "job_completed" not in lines.messages


# A heartbeat that hangs


async def test_hanging_heartbeat_does_not_end_the_lease(place: Place) -> None:
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        job_id = await work.begin()
        hangs = place.storage.late["heartbeat"] = asyncio.Event()
        for _ in range(6):
            beats = place.storage.calls.count("heartbeat")
            place.clock.advance(5)
            await until(lambda beats=beats: place.storage.calls.count("heartbeat") > beats)
            place.storage.late.pop("heartbeat", None)
            await turns()
        assert work.cancelled == []
        hangs.set()
        work.go.set()
        await worker.drain()
    assert (await place.job(job_id)).row_state is COMPLETED


async def test_lease_ends_while_every_heartbeat_hangs(place: Place, lines: Lines) -> None:
    work = Handler(place)
    async with place.working(**BEATING):
        await work.begin()
        hang = place.storage.late["heartbeat"] = asyncio.Event()
        await place.advance(23)
        assert "lease_ended" in lines.messages
        hang.set()
        work.go.set()
