"""Progress and log events on a stream, and streams resumed where another one was lost."""

from __future__ import annotations

from uuid import UUID

from tests.cases import check_each_async
from tests.conformance.driver import Driver
from tests.web.conftest import on_both_storages
from tests.web.live.conftest import written
from tests.web.live.tab import Open, Tab
from zeke_queue.model import JobEvent, JobStatus, RowState
from zeke_queue.storage import Storage
from zeke_queue.web.sse.frames import Seen, decode_event_id, encode_event_id


def log(job_id: UUID, number: int, attempt: int = 1) -> JobEvent:
    return JobEvent(job_id, attempt, "log", f'{{"level":"info","message":"line {number}","n":{number}}}')


def progress(job_id: UUID, value: float) -> JobEvent:
    return JobEvent(job_id, 1, "progress", f'{{"value":{value},"message":"half"}}')


def numbers(*tabs: Tab) -> list[int]:
    return [event.json["fields"]["n"] for tab in tabs for event in tab.named("log")]


@on_both_storages
async def test_progress_and_log_have_their_own_events(tab: Open, jobs: Driver, storage: Storage) -> None:
    claimed = await jobs.running()
    async with tab(claimed.id) as read:
        await read.until(lambda read: read.statuses == ["EXECUTING"])
        at = written(jobs.clock)
        await storage.append_events([progress(claimed.id, 0.5), log(claimed.id, 7)])
        await read.until(lambda read: len(read.events) == 3)
        half, line = read.named("progress", "log")
    assert half.json == {"attempt": 1, "at": at, "value": 0.5, "message": "half"}
    assert line.json == {"attempt": 1, "at": at, "level": "info", "message": "line 7", "fields": {"n": 7}}


async def test_lines_come_within_their_attempt(tab: Open, jobs: Driver, storage: Storage) -> None:
    claimed = await jobs.running()
    await storage.append_events([log(claimed.id, n) for n in range(3)])
    async with tab(claimed.id) as read:
        await read.until(lambda read: len(read.events) == 4)
        await storage.append_events([log(claimed.id, 3)])
        await jobs.complete(claimed)
        events = await read.rest()
    assert [event.name for event in events] == ["status", *["log"] * 4, "status", "close"]


@on_both_storages
async def test_resumed_stream_repeats_and_loses_nothing(tab: Open, jobs: Driver, storage: Storage) -> None:
    job_id = await jobs.send()
    async with tab(job_id) as first:
        await first.until(lambda read: read.statuses == ["QUEUED"])
        claimed = await jobs.claim_one()
        await first.until(lambda read: read.statuses == ["QUEUED", "EXECUTING"] or read.done)
        await storage.append_events([log(job_id, n) for n in range(3)])
        await first.until(lambda read: numbers(read) == [0, 1, 2])
        await jobs.complete(claimed)
        await first.rest()

    async def check(lost_after: int, way: str) -> None:
        kept = first.events[:lost_after]
        seen = [event.id for event in kept if event.id is not None][-1]
        how = {"last_event_id": seen} if way == "header" else {"query": f"lastEventId={seen}"}
        async with tab(job_id, **how) as second:
            rest = await second.rest()
        shown = [
            event.json["status"] if event.name == "status" else event.json["fields"]["n"]
            for event in [*kept, *rest]
            if event.name != "close" and "outputFollows" not in event.json
        ]
        # A stream lost before the job began and resumed after its end does not show that it ran.
        assert shown == ["QUEUED", *["EXECUTING"][: lost_after - 1], 0, 1, 2, "COMPLETED"]
        assert rest[-1].name == "close"

    await check_each_async([(lost, way) for lost in range(1, 7) for way in ("header", "query")], check)


async def test_resumed_stream_of_an_unchanged_job_repeats_nothing(tab: Open, jobs: Driver) -> None:
    claimed = await jobs.running()
    await jobs.storage.append_events([log(claimed.id, 1)])
    async with tab(claimed.id) as first:
        await first.until(lambda read: numbers(read) == [1])
    async with tab(claimed.id, last_event_id=first.events[-1].id) as second:
        await jobs.storage.append_events([log(claimed.id, 2)])
        await second.until(lambda read: numbers(read) == [2])
        assert second.statuses == []


async def test_resumed_stream_of_a_retried_job_ends(tab: Open, jobs: Driver, storage: Storage) -> None:
    job_id = await jobs.ended(RowState.FAILED)
    async with tab(job_id) as first:
        await first.rest()
    await storage.retry([job_id])
    claimed = await jobs.claim_one()
    await jobs.fail(claimed)
    async with tab(job_id, last_event_id=first.events[0].id) as second:
        assert [event.name for event in await second.rest()] == ["status", "close"]


async def test_invalid_event_id_is_ignored(tab: Open, jobs: Driver, storage: Storage) -> None:
    claimed = await jobs.running()
    await storage.append_events([log(claimed.id, 1)])
    async with tab(claimed.id) as first:
        await first.until(lambda read: numbers(read) == [1])
    seen = first.events[-1].id
    assert seen is not None

    async def check(event_id: str) -> None:
        async with tab(claimed.id, last_event_id=event_id) as second:
            await second.until(lambda read: numbers(read) == [1])
            assert second.statuses == ["EXECUTING"]

    cases = {
        "other job": encode_event_id(jobs.new_id(), Seen(1, JobStatus.EXECUTING, 99)),
        "cut": seen[:-2],
        "changed": seen[:-6] + ("A" if seen[-6] != "A" else "B") + seen[-5:],
        "junk": "42",
        "longer": seen * 50,
        "empty": "",
        "accents": "é" * 30,
    }
    await check_each_async(cases, check)


async def test_changed_event_id_is_detected(jobs: Driver) -> None:
    job_id = jobs.new_id()
    for other in (Seen(3, None, 7), Seen(3, JobStatus.CANCELLED, 7, closed=True)):
        assert decode_event_id(job_id, encode_event_id(job_id, other)) == other
    seen = Seen(3, JobStatus.QUEUED, 2**40)
    text = encode_event_id(job_id, seen)
    assert decode_event_id(job_id, text) == seen
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for at in range(len(text)):
        for letter in letters:
            if letter != text[at]:
                assert decode_event_id(job_id, text[:at] + letter + text[at + 1 :]) in (None, seen)
