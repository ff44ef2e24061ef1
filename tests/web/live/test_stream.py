"""The stream of a job's status: all that clients of the earlier system rely on."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import on_both_storages
from tests.web.live.conftest import passes, settled, written
from tests.web.live.tab import Open
from zeke_queue.client.queue import Queue
from zeke_queue.model import Job, JobEvent, RowState
from zeke_queue.storage import Storage
from zeke_queue.web import close_app
from zeke_queue.web.sse.stream import RECONNECT_DELAYS, EventStream

NOBODY = UUID("0193aaaa-0000-7000-8000-00000000dead")


async def test_missing_job_is_not_found_before_the_stream_begins(tab: Open) -> None:
    async def check(job_id: Any) -> None:
        async with tab(job_id) as read:
            await read.rest()
            assert (read.status, read.text) == (404, '{"error":"Job not found"}')
            assert read.headers["content-type"] == "application/json"

    await check_each_async([NOBODY, "no-uuid", "0193aaaa", f"{NOBODY}0"], check)


@on_both_storages
async def test_stream_sends_the_status_and_each_change(tab: Open, jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.send()
    async with tab(job_id) as read:
        await read.until(lambda read: read.statuses == ["QUEUED"])
        claimed = await jobs.claim_one()
        await read.until(lambda read: read.statuses == ["QUEUED", "EXECUTING"])
        await jobs.fail(claimed, retry_in=0.0)
        await read.until(lambda read: read.statuses == ["QUEUED", "EXECUTING", "QUEUED"])
        claimed = await jobs.claim_one()
        await read.until(lambda read: len(read.statuses) == 4)
        await jobs.complete(claimed, '{"sent": 3, "näh": "a\\nb"}')
        at = written(clock)
        events = await read.rest()
    assert read.ended
    assert [event.name for event in events] == ["status"] * 5 + ["close"]
    assert [event.json for event in events[:2]] == [
        {"id": str(job_id), "status": "QUEUED", "taskId": "mail"},
        {"id": str(job_id), "status": "EXECUTING", "taskId": "mail"},
    ]
    assert events[4].json == {
        "id": str(job_id),
        "status": "COMPLETED",
        "taskId": "mail",
        "output": {"sent": 3, "näh": "a\nb"},
        "completedOn": at,
    }
    assert events[5].data == "complete"


async def test_ended_job_is_sent_at_once_with_its_output(tab: Open, jobs: Driver) -> None:
    async def check(state: RowState, status: str) -> None:
        async with tab(await jobs.ended(state)) as read:
            ended, close = await read.rest()
        assert ended.json["status"] == status
        assert {"output", "completedOn"} <= ended.json.keys()
        assert (close.name, close.data) == ("close", "complete")

    cases = [
        (RowState.COMPLETED, "COMPLETED"),
        (RowState.FAILED, "FAILED"),
        (RowState.EXPIRED, "FAILED"),
        (RowState.CANCELLED, "CANCELLED"),
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_stream_of_an_ended_job_starts_with_its_status(tab: Open, jobs: Driver) -> None:
    claimed = await jobs.running()
    await jobs.storage.append_events([JobEvent(claimed.id, 1, "log", '{"level":"info","message":"m"}')])
    await jobs.complete(claimed, '{"sent": 3}')
    async with tab(claimed.id) as read:
        first, log, last, close = await read.rest()
        assert read.chunks[1].count(b"event: ") == 1  # alone, so that it arrives in one piece
    assert (first.json, first.id) == (last.json | {"outputFollows": True}, None)
    assert (log.name, last.json["output"], close.name) == ("log", {"sent": 3}, "close")
    assert "outputFollows" not in last.json
    async with tab(claimed.id, last_event_id=log.id) as resumed:
        assert [event.name for event in await resumed.rest()] == ["status", "close"]
        assert resumed.events[0].json["output"] == {"sent": 3}


async def test_dashboard_of_the_earlier_system_shows_every_end(tab: Open, jobs: Driver) -> None:
    async def check(size: int, when: str) -> None:
        live = when == "live"
        claimed = await jobs.running()
        output = f'{{"text": "{"x" * size}"}}'
        if not live:
            await jobs.complete(claimed, output)
        async with tab(claimed.id) as read:
            if live:
                await read.until(lambda read: read.statuses == ["EXECUTING"])
                await jobs.complete(claimed, output)
            await read.rest()
        assert read.earlier["status"] == "COMPLETED"
        assert len(read.events[-2].json["output"]["text"]) == size
        assert ("output" in read.earlier) is (size < 65_000)
        assert len(read.named("status")) == live + (1 if size < 16_384 else 2)
        assert all("output" not in event.json for event in read.named("status")[:-1])

    await check_each_async(product((10, 16_000, 16_500, 70_000, 900_000), ("live", "ended")), check)


async def test_announcement_has_an_output_that_arrives_in_one_piece(tab: Open, jobs: Driver) -> None:
    async def check(size: int, *, inline: bool) -> None:
        claimed = await jobs.running()
        await jobs.storage.append_events([JobEvent(claimed.id, 1, "log", '{"level":"info","message":"m"}')])
        await jobs.complete(claimed, f'"{"x" * size}"')
        async with tab(claimed.id) as read:
            first, _, last, _ = await read.rest()
        assert first.json["outputFollows"]
        assert (first.json.get("output"), last.json["output"]) == ("x" * size if inline else None, "x" * size)

    await check_each_async([(16_000, True), (16_500, False)], lambda size, inline: check(size, inline=inline))


@on_both_storages
async def test_reconnecting_after_the_end_is_answered_204_until_the_job_changes(
    tab: Open, jobs: Driver
) -> None:
    job_id = await jobs.ended(RowState.FAILED)
    async with tab(job_id) as first:
        *_, status, close = await first.rest()
    assert close.id not in (None, status.id)
    async with tab(job_id, last_event_id=close.id) as again:
        assert (again.status, await again.rest()) == (204, [])
    async with tab(job_id, last_event_id=status.id) as lost:  # which may wait for ``close``
        assert [event.name for event in await lost.rest()] == ["close"]
    await jobs.storage.retry([job_id])
    async with tab(job_id, last_event_id=close.id) as retried:
        await retried.until(lambda read: read.statuses == ["QUEUED"])
        await jobs.fail(await jobs.claim_one())
        await retried.rest()
    async with tab(job_id, last_event_id=close.id) as failed_again:
        assert [event.json["status"] for event in (await failed_again.rest())[:-1]] == ["FAILED"]
    async with tab(await jobs.ended(RowState.FAILED), last_event_id=close.id) as other:
        assert (await other.rest())[-1].name == "close"


async def test_job_that_ends_again_in_its_attempt_has_a_new_end(
    tab: Open, jobs: Driver, clock: FrozenClock
) -> None:
    job_id = await jobs.ended(RowState.CANCELLED)
    async with tab(job_id) as first:
        *_, status, close = await first.rest()
    await jobs.storage.resume([job_id])
    clock.advance(60)
    await jobs.storage.cancel([job_id])
    for seen in (status.id, close.id):
        async with tab(job_id, last_event_id=seen) as again:
            ended, _ = await again.rest()
        assert ended.json == status.json | {"completedOn": written(clock)}


async def test_deleted_job_ends_the_stream_with_an_error(
    tab: Open, jobs: Driver, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(ids: object) -> dict[UUID, Job]:
        return {}

    job_id = await jobs.send()
    async with tab(job_id) as read:
        await read.until(lambda read: read.statuses == ["QUEUED"])
        monkeypatch.setattr(storage, "get", nothing)  # as if another program had deleted the row
        await storage.cancel([job_id])
        events = await read.rest()
    assert read.ended
    assert (events[-1].name, events[-1].data) == ("error", '{"error":"Job not found"}')
    assert read.statuses == ["QUEUED"]


async def test_wake_up_during_a_read_is_not_lost(clock: FrozenClock) -> None:
    class Busy:
        stalled = False
        reads = 0

        async def take(self) -> bytes | None:
            self.reads += 1
            if self.reads > 1:
                return None
            stream.wake()
            return b""

    async def connected() -> Any:
        await asyncio.Event().wait()

    async def sent(_message: Any) -> None:
        pass

    busy: Any = Busy()
    stream = EventStream(busy, clock=clock, timeout=300.0, keep_alive=15.0)
    running = asyncio.create_task(stream.run({"type": "http.response.start"}, connected, sent))
    await settled()
    done = running.done()
    running.cancel()
    await asyncio.wait([running])
    assert done


async def test_stream_times_out_after_five_minutes(tab: Open, jobs: Driver, clock: FrozenClock) -> None:
    async with tab(await jobs.send()) as read:
        await read.until(lambda read: read.statuses == ["QUEUED"])
        await passes(clock, 299, 10)
        assert not read.ended
        await passes(clock, 2)
        events = await read.rest()
    assert read.ended
    assert (events[-1].name, events[-1].data) == ("timeout", '{"message":"Stream timeout"}')


async def test_idle_stream_is_kept_alive_by_comments(tab: Open, jobs: Driver, clock: FrozenClock) -> None:
    async with tab(await jobs.send()) as read:
        await read.until(lambda read: read.statuses == ["QUEUED"])
        await passes(clock, 14)
        assert ": keep-alive\n\n" not in read.text
        await passes(clock, 2)
        assert read.text.count(": keep-alive\n\n") == 1
        await passes(clock, 60)
        assert 4 <= read.text.count(": keep-alive\n\n") <= 5
        assert [event.name for event in read.events] == ["status"]


async def test_stream_forbids_caching_and_says_when_to_reconnect(tab: Open, jobs: Driver) -> None:
    waits: set[int] = set()
    for _ in range(3):
        async with tab(await jobs.send()) as read:
            await read.until(lambda read: bool(read.statuses))
            first, _ = read.text.split("\n\n", 1)
            waits.add(int(first.removeprefix("retry: ")))
            assert read.status == 200
            assert read.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert read.headers["cache-control"] == "no-cache, no-transform"
            assert read.headers["x-accel-buffering"] == "no"
            assert "content-length" not in read.headers
    soonest, latest = RECONNECT_DELAYS
    assert all(soonest * 1000 <= wait <= latest * 1000 for wait in waits)
    assert len(waits) > 1


async def test_stopping_server_ends_streams_without_an_event(tab: Open, jobs: Driver, app: FastAPI) -> None:
    job_id = await jobs.send()
    async with tab(job_id) as read:
        await read.until(lambda read: read.statuses == ["QUEUED"])
        await close_app(app)
        events = await read.rest()
    assert read.ended
    assert [event.name for event in events] == ["status"]  # no event of ours that would puzzle old clients
    async with tab(job_id) as refused:
        await refused.rest()
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")


async def test_closed_queue_ends_streams(tab: Open, jobs: Driver, queue: Queue) -> None:
    async with tab(await jobs.send()) as read:
        await read.until(lambda read: read.statuses == ["QUEUED"])
        await queue.close()
        await read.rest()
        assert read.ended


async def test_redacted_values_are_not_streamed(tab: Open, jobs: Driver, storage: Storage) -> None:
    claimed = await jobs.running("login")
    said = '{"level":"info","message":"pw hunter2","pw":"hunter2"}'
    await storage.append_events([JobEvent(claimed.id, 1, "log", said)])
    await jobs.complete(claimed, '{"token": "t0k3n", "user": "ann"}')
    async with tab(claimed.id) as read:
        _, log, told, _ = await read.rest()
    assert log.name == "log"
    assert "hunter2" not in read.text
    assert "t0k3n" not in read.text
    assert told.json["output"]["user"] == "ann"
