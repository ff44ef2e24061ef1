"""Streams of the dashboard: their events, and one query for all viewers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import on_both_storages
from tests.web.live.conftest import passes
from tests.web.live.tab import Tab
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import JobEvent, RowState
from zeke_queue.storage import Storage
from zeke_queue.web import close_app
from zeke_queue.web.dashboard.sampler import EVERY

LIVE = "/dashboard/live"


async def read(tab: Tab, clock: FrozenClock, *names: str, count: int = 1, says: str = "") -> list[Any]:
    """Advance the clock until a tab has read this many events of these names that contain a text."""

    def enough(tab: Tab) -> bool:
        return sum(says in event.data for event in tab.named(*names)) >= count

    reading = asyncio.ensure_future(tab.until(enough))
    for _ in range(500):
        await passes(clock, EVERY / 2)
        await asyncio.wait({reading}, timeout=0.02)
        if reading.done():
            reading.result()
            return tab.named(*names)
    reading.cancel()
    raise AssertionError(f"{names} did not come with {says!r}: {tab.text}")


@on_both_storages
async def test_each_part_of_the_overview_is_updated(app: FastAPI, clock: FrozenClock, jobs: Driver) -> None:
    moves = {
        "charts": ["completed <b>1</b>", "failed <b>1</b>", "cancelled <b>1</b>"],
        "failures": ["ValueError: boom"],
        "backlog": ["waiting <b>1</b>"],
        "tiles": ['id="tile-waiting"><span>Waiting</span><b>1</b>'],
    }
    async with Tab(app, LIVE, query="of=overview") as tab:
        for part, shown in moves.items():
            before = (await read(tab, clock, part))[-1].data
            assert not any(says in before for says in shown)
        for state in (RowState.COMPLETED, RowState.FAILED, RowState.CANCELLED):
            await jobs.ended(state)
        await jobs.send()
        for part, shown in moves.items():
            for says in shown:
                await read(tab, clock, part, says=says)


async def test_unchanged_part_is_not_sent_again(app: FastAPI, clock: FrozenClock) -> None:
    async with Tab(app, LIVE, query="of=overview") as tab:
        await read(tab, clock, "backlog", count=3)
        assert len(tab.named("failures")) == 1


async def test_other_pages_are_notified_of_changes(app: FastAPI, clock: FrozenClock, jobs: Driver) -> None:
    async with Tab(app, LIVE) as tab:
        await read(tab, clock, "changed")
        await passes(clock, 5 * EVERY)
        assert len(tab.events) == 1
        await jobs.send()
        await read(tab, clock, "changed", count=2)
        await jobs.heartbeat()
        await read(tab, clock, "changed", count=3)


async def test_one_query_serves_all_viewers_and_ends_with_the_last(
    app: FastAPI, clock: FrozenClock, jobs: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = jobs.storage
    looks = 0
    stats = storage.queue_stats

    async def counted() -> Any:
        nonlocal looks
        looks += 1
        return await stats()

    monkeypatch.setattr(storage, "queue_stats", counted)
    sampler = app.state.dashboard.sampler
    async with Tab(app, LIVE) as first:
        async with Tab(app, LIVE) as second:
            await read(first, clock, "changed")
            await read(second, clock, "changed")
            assert sampler.viewers == 2
            before, since = looks, clock.monotonic()
            await jobs.send()
            await read(first, clock, "changed", count=2)
            await read(second, clock, "changed", count=2)
            assert 0 < looks - before <= (clock.monotonic() - since) / EVERY + 1
        assert sampler.viewers == 1
    assert sampler.viewers == 0
    await passes(clock, EVERY)
    before = looks
    await passes(clock, 10 * EVERY, EVERY)
    assert looks == before


async def test_outage_is_reported_and_its_end(
    app: FastAPI, clock: FrozenClock, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> Any:
        raise StorageUnavailableError("away")

    async def broken() -> Any:
        raise RuntimeError("unforeseen")

    async with Tab(app, LIVE, query="of=overview") as tab:
        await read(tab, clock, "tiles")
        for n, fails in enumerate((away, broken), 1):
            with monkeypatch.context() as patch:
                patch.setattr(storage, "queue_stats", fails)
                await read(tab, clock, "away", count=n)
            await read(tab, clock, "back", count=n)


async def test_viewer_is_served_during_a_query_of_closed_pages(
    app: FastAPI, clock: FrozenClock, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()
    stats = storage.queue_stats

    async def slow() -> Any:
        asked.set()
        await answered.wait()
        return await stats()

    monkeypatch.setattr(storage, "queue_stats", slow)
    sampler = app.state.dashboard.sampler
    async with Tab(app, LIVE):
        await asked.wait()
    assert sampler.viewers == 0
    async with Tab(app, LIVE) as again:
        while sampler.viewers == 0:
            await passes(clock, EVERY)
        answered.set()
        await read(again, clock, "changed")


async def test_page_during_an_outage_reveals_nothing(
    app: FastAPI, storage: Storage, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise StorageUnavailableError("host 10.1.2.3 is away")

    monkeypatch.setattr(storage, "queue_stats", away)
    answer = await call("GET", "/dashboard/queues")
    assert answer.status_code == 503
    assert "The database is unavailable" in answer.text
    assert "10.1.2.3" not in answer.text
    assert answer.headers["retry-after"]


async def test_closing_the_application_ends_the_streams(app: FastAPI, clock: FrozenClock) -> None:
    async with Tab(app, LIVE) as tab:
        await read(tab, clock, "changed")
        await close_app(app)
        await tab.until(lambda tab: tab.done)
        assert app.state.dashboard.sampler.viewers == 0


def left(app: FastAPI) -> list[int]:
    """Return how many subscriptions to jobs, views and streams there are still."""
    return [
        sum(len(job.subscriptions) for job in parts_of(app.state.zeke.queue).watcher._watched.values()),
        app.state.dashboard.sampler.viewers,
        app.state.zeke.live.open_streams,
    ]


async def test_closed_page_stream_leaves_nothing(app: FastAPI, clock: FrozenClock, storage: Storage) -> None:
    async def check(query: str) -> None:
        async with Tab(app, LIVE, query=query) as tab:
            await read(tab, clock, "changed", "tiles")
            assert left(app) == [0, 1, 1]
        assert left(app) == [0, 0, 0]

    await check_each_async(["of=overview", "of=overview&span=7d", ""], check)


# A job


async def test_closed_stream_of_a_job_leaves_nothing(app: FastAPI, clock: FrozenClock, jobs: Driver) -> None:
    async def check(state: str) -> None:
        if state == "waits":
            job_id = await jobs.send("errand")
        else:
            job = await jobs.running()
            job_id = job.id
            lines = [JobEvent(job_id, 1, "log", f'{{"message": "line {n}"}}') for n in range(50)]
            await jobs.storage.append_events(lines)
            if state == "has ended":
                await jobs.complete(job)
        async with Tab(app, f"/dashboard/jobs/{job_id}/live", slow=state == "is read slowly") as tab:
            if state == "is read slowly":
                while left(app) != [1, 0, 1]:
                    await passes(clock, EVERY)
            else:
                await read(tab, clock, "state")
            if state != "has ended":
                assert left(app) == [1, 0, 1]
        assert left(app) == [0, 0, 0]

    await check_each_async(["waits", "runs", "has ended", "is read slowly"], check)


async def test_closed_stream_leaves_others_of_its_job_open(app: FastAPI, jobs: Driver) -> None:
    job_id = await jobs.send()
    async with Tab(app, f"/dashboard/jobs/{job_id}/live") as stays:
        await read(stays, jobs.clock, "state")
        async with Tab(app, f"/dashboard/jobs/{job_id}/live") as goes:
            await read(goes, jobs.clock, "state")
            assert left(app) == [2, 0, 2]
        assert left(app) == [1, 0, 1]
        await jobs.claim_one()
        assert "Executing" in (await read(stays, jobs.clock, "state", count=2))[1].data
    assert left(app) == [0, 0, 0]


@on_both_storages
async def test_job_is_followed_to_its_end(app: FastAPI, clock: FrozenClock, jobs: Driver) -> None:
    job_id = await jobs.send()
    async with Tab(app, f"/dashboard/jobs/{job_id}/live") as tab:
        await read(tab, clock, "state")
        job = await jobs.claim_one()
        await jobs.storage.append_events(
            [
                JobEvent(job.id, 1, "progress", '{"value": 0.25, "message": "<b>"}'),
                JobEvent(job.id, 1, "log", '{"level": "info", "message": "half of it"}'),
            ]
        )
        (line,) = await read(tab, clock, "log")
        assert "half of it" in line.data
        assert line.id is not None
        (progress,) = await read(tab, clock, "progress")
        assert "25 %" in progress.data
        assert "&lt;b&gt;" in progress.data
        await jobs.complete(job, '{"a": 1}')
        await read(tab, clock, "end")
        assert "Completed" in tab.named("state")[-1].data
        assert 'id="cancel"' not in tab.named("actions")[-1].data


async def test_lines_that_were_read_are_not_sent_again(app: FastAPI, jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.storage.append_events(
        [JobEvent(job.id, 1, "log", f'{{"message": "line {n}"}}') for n in range(4)]
    )
    seq = str((await jobs.storage.events({job.id: 0}))[1].seq)
    hows: list[dict[str, Any]] = [{"last_event_id": seq}, {"query": f"after={seq}"}]
    for how in hows:
        async with Tab(app, f"/dashboard/jobs/{job.id}/live", **how) as tab:
            lines = await read(tab, jobs.clock, "log", count=2)
            assert [f"line {n}" in line.data for n, line in enumerate(lines, 2)] == [True, True], how


async def test_invalid_event_id_counts_as_the_beginning(app: FastAPI, jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.storage.append_events([JobEvent(job.id, 1, "log", '{"message": "first"}')])

    async def check(after: str) -> None:
        async with Tab(app, f"/dashboard/jobs/{job.id}/live", last_event_id=after) as tab:
            await read(tab, jobs.clock, "log")

    await check_each_async(["x", "-1", "9" * 40, "1' or 1=1"], check)


async def test_redacted_values_are_not_streamed(app: FastAPI, clock: FrozenClock, jobs: Driver) -> None:
    job = await jobs.running("login", data='{"user": "ann", "password": "s3cret"}')
    await jobs.storage.append_events(
        [JobEvent(job.id, 1, "log", '{"level": "info", "message": "it is s3cret"}')]
    )
    async with Tab(app, f"/dashboard/jobs/{job.id}/live") as tab:
        await read(tab, clock, "log")
        await jobs.fail(job, output='{"type": "E", "message": "s3cret", "traceback": "s3cret"}')
        await read(tab, clock, "end")
        assert "s3cret" not in tab.text
