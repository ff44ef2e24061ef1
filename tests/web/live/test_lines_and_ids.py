"""Progress and log lines on a stream, and streams that go on where another one was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.driver import Driver
from tests.web.live.conftest import passes, written
from zeke_queue.model import JobEvent, JobState, RunStatus
from zeke_queue.web.live.frames import Seen, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tests.clocks import FrozenClock
    from tests.web.live.tab import Tab
    from zeke_queue.storage.store import Storage

    Open = Callable[..., Tab]


def log(job_id: UUID, number: int, attempt: int = 1) -> JobEvent:
    return JobEvent(job_id, attempt, "log", f'{{"level":"info","message":"line {number}","n":{number}}}')


def progress(job_id: UUID, value: float) -> JobEvent:
    return JobEvent(job_id, 1, "progress", f'{{"value":{value},"message":"half"}}')


def numbers(*tabs: Tab) -> list[int]:
    """Return the numbers of the log lines that tabs read."""
    return [event.json["fields"]["n"] for tab in tabs for event in tab.named("log")]


async def test_progress_and_lines_come_under_names_of_their_own(
    tab: Open, jobs: Driver, storage: Storage, clock: FrozenClock
) -> None:
    claimed = await jobs.running()
    async with tab(claimed.id) as read:
        await read.until(lambda read: read.statuses == ["EXECUTING"])
        at = written(clock)
        await storage.note([progress(claimed.id, 0.5), log(claimed.id, 7)])
        await read.until(lambda read: len(read.events) == 3)
        half, line = read.named("progress", "log")
    assert half.json == {"attempt": 1, "at": at, "value": 0.5, "message": "half"}
    assert line.json == {"attempt": 1, "at": at, "level": "info", "message": "line 7", "fields": {"n": 7}}


async def test_lines_come_between_the_beginning_of_their_attempt_and_its_end(
    tab: Open, jobs: Driver, storage: Storage
) -> None:
    claimed = await jobs.running()
    await storage.note([log(claimed.id, n) for n in range(3)])
    async with tab(claimed.id) as read:
        await read.until(lambda read: len(read.events) == 4)
        await storage.note([log(claimed.id, 3)])
        await jobs.complete(claimed)
        events = await read.rest()
    assert [event.name for event in events] == ["status", *["log"] * 4, "status", "close"]


async def test_all_lines_of_a_job_that_has_ended_are_told_before_its_end(
    tab: Open, jobs: Driver, storage: Storage
) -> None:
    claimed = await jobs.running()
    await storage.note([log(claimed.id, n) for n in range(2345)])
    await jobs.complete(claimed)
    async with tab(claimed.id) as read:
        events = await read.rest()
    assert numbers(read) == list(range(2345))
    assert [event.name for event in events[-2:]] == ["status", "close"]


@pytest.mark.parametrize("storage", ["memory"], indirect=True)  # whose notifications can be held back
async def test_a_line_of_which_nobody_was_told_comes_with_the_next_look(
    tab: Open, jobs: Driver, storage: Storage, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await jobs.running()
    async with tab(claimed.id) as read:
        await read.until(lambda read: read.statuses == ["EXECUTING"])
        monkeypatch.setattr(storage.bells, "job", lambda job_id: None)  # type: ignore[attr-defined]
        await storage.note([log(claimed.id, 1)])
        await passes(clock, 2.5, 0.5)
        assert numbers(read) == [1]


@pytest.mark.parametrize("way", ["header", "query"])
@pytest.mark.parametrize("lost_after", range(1, 8))
async def test_a_lost_stream_goes_on_without_a_status_twice_or_a_line_lost_or_twice(
    tab: Open, jobs: Driver, storage: Storage, lost_after: int, way: str
) -> None:
    job_id = await jobs.send()
    # Who lost the stream before the job began, and comes back after its end, is not told that it ran.
    steps = ["QUEUED", *["EXECUTING"][: lost_after - 1], 0, 1, 2, "COMPLETED"]

    async def live() -> None:
        claimed = await jobs.claim_one()
        await first.until(lambda read: read.statuses == ["QUEUED", "EXECUTING"] or read.done)
        await storage.note([log(job_id, n) for n in range(3)])
        await first.until(lambda read: numbers(read) == [0, 1, 2])
        await jobs.complete(claimed)

    async with tab(job_id) as first:
        await first.until(lambda read: read.statuses == ["QUEUED"])
        await live()
        await first.rest()
    kept = first.events[:lost_after]
    seen = [event.id for event in kept if event.id is not None][-1]
    how = {"last_event_id": seen} if way == "header" else {"query": f"lastEventId={seen}"}
    async with tab(job_id, **how) as second:
        rest = await second.rest()
    told = [
        event.json["status"] if event.name == "status" else event.json["fields"]["n"]
        for event in [*kept, *rest]
        if event.name != "close"
    ]
    assert told == steps
    assert rest[-1].name == "close"


async def test_a_stream_that_is_resumed_while_nothing_changed_says_nothing_twice(
    tab: Open, jobs: Driver, storage: Storage
) -> None:
    claimed = await jobs.running()
    await storage.note([log(claimed.id, 1)])
    async with tab(claimed.id) as first:
        await first.until(lambda read: numbers(read) == [1])
    async with tab(claimed.id, last_event_id=first.events[-1].id) as second:
        await storage.note([log(claimed.id, 2)])
        await second.until(lambda read: numbers(read) == [2])
        assert second.statuses == []


async def test_a_job_that_was_retried_since_tells_its_end_again(
    tab: Open, jobs: Driver, storage: Storage
) -> None:
    job_id = await jobs.ended(JobState.FAILED)
    async with tab(job_id) as first:
        await first.rest()
    await storage.retry([job_id])
    claimed = await jobs.claim_one()
    await jobs.fail(claimed)
    async with tab(job_id, last_event_id=first.events[0].id) as second:
        assert [event.name for event in await second.rest()] == ["status", "close"]


@pytest.mark.parametrize("change", ["other job", "cut", "changed", "junk", "longer", "empty", "accents"])
async def test_an_id_that_is_none_of_this_jobs_counts_as_none(
    tab: Open, jobs: Driver, storage: Storage, change: str
) -> None:
    claimed = await jobs.running()
    await storage.note([log(claimed.id, 1)])
    async with tab(claimed.id) as first:
        await first.until(lambda read: numbers(read) == [1])
    seen = first.events[-1].id
    assert seen is not None
    bad = {
        "other job": seal(jobs.new_id(), Seen(1, RunStatus.EXECUTING, 99)),
        "cut": seen[:-2],
        "changed": seen[:-6] + ("A" if seen[-6] != "A" else "B") + seen[-5:],
        "junk": "42",
        "longer": seen * 50,
        "empty": "",
        "accents": "é" * 30,
    }[change]
    async with tab(claimed.id, last_event_id=bad) as second:
        await second.until(lambda read: numbers(read) == [1])
        assert second.statuses == ["EXECUTING"]


async def test_no_bit_of_an_id_can_be_changed_unnoticed(jobs: Driver) -> None:
    job_id = jobs.new_id()
    seen = Seen(3, RunStatus.QUEUED, 2**40)
    text = seal(job_id, seen)
    assert unseal(job_id, text) == seen
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for at in range(len(text)):
        for letter in letters:
            if letter != text[at]:
                assert unseal(job_id, text[:at] + letter + text[at + 1 :]) in (None, seen)
