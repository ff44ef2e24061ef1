"""What streams cost and leave behind: many of them, slow readers, closed tabs, servers that stop."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fastapi import FastAPI

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver, soon
from tests.web.conftest import Web, on_both_storages, open_house
from tests.web.live.conftest import lasts_until, passes, settled
from tests.web.live.tab import Open, Tab
from zeke_queue.client.queue import Queue
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import JobEvent
from zeke_queue.storage import Storage
from zeke_queue.storage.access import Scope
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.web import WebSettings, close_app, create_app
from zeke_queue.web.access.guard import Caller
from zeke_queue.web.sse import EventStreams, ServerEvent
from zeke_queue.web.sse.stream import SEND_TIMEOUT

READS = ("get", "events")
ROUNDS = 12
STATEMENTS = (*READS, "watch", "unwatch")


@pytest.fixture
def asked(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the queries of streams: verbs in memory, and on Postgres statements."""
    counts: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        verb = getattr(owner, name)

        async def counting(*args: Any, **options: Any) -> Any:
            if (asked := args[0] if name == "run" else name) in STATEMENTS:
                counts[asked] += 1
            return await verb(*args, **options)

        monkeypatch.setattr(owner, name, counting)

    if isinstance(storage, MemoryStorage):
        for name in READS:
            counted(storage, name)
    else:
        counted(storage._pool, "run")  # type: ignore[attr-defined]
    return counts


@pytest.fixture
def traces(storage: Storage, request: pytest.FixtureRequest) -> Callable[[], int]:
    if isinstance(storage, MemoryStorage):
        return lambda: int(storage.notifier.has_waiters)
    dsn: str = request.getfixturevalue("emptied_dsn")

    def rows() -> int:
        with psycopg.connect(dsn) as connection:
            found = connection.execute("select count(*) from pgboss.watcher").fetchone()
        assert found is not None
        return found[0]

    return rows


async def comes_true(condition: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not condition():
            await settled()

    await soon(wait())


def log(job_id: UUID, number: int) -> JobEvent:
    return JobEvent(job_id, 1, "log", f'{{"level":"info","message":"{"x" * 200}","n":{number}}}')


@pytest.mark.nightly
@on_both_storages
async def test_many_streams_of_as_many_jobs_cost_a_few_queries(
    app: FastAPI, storage: Storage, jobs: Driver, clock: FrozenClock, asked: Counter[str]
) -> None:
    new = [jobs.new() for _ in range(500)]
    await storage.insert(new)
    tabs = [Tab(app, f"/jobs/stream/{job.id}") for job in new]
    await asyncio.gather(*(tab.__aenter__() for tab in tabs))
    await passes(clock, 3, 0.05)
    assert all(tab.statuses == ["QUEUED"] for tab in tabs)
    # One query for those that open at the same time; then one for all that are due.
    assert asked.total() < 250, asked

    asked.clear()
    await passes(clock, 10, 0.1)
    assert asked.total() < 60, asked

    asked.clear()
    cancelled = asyncio.ensure_future(storage.cancel([job.id for job in new]))
    await lasts_until(clock, lambda: all(tab.ended for tab in tabs))
    await cancelled
    assert all(tab.statuses == ["QUEUED", "CANCELLED"] for tab in tabs)
    assert asked.total() < 150, asked
    await asyncio.gather(*(tab.leave() for tab in tabs))


@pytest.mark.nightly
@on_both_storages
async def test_all_streams_of_a_job_share_their_queries(
    app: FastAPI, storage: Storage, jobs: Driver, asked: Counter[str]
) -> None:
    claimed = await jobs.running()
    tabs = [Tab(app, f"/jobs/stream/{claimed.id}") for _ in range(100)]
    await asyncio.gather(*(tab.__aenter__() for tab in tabs))
    await asyncio.gather(*(tab.until(lambda tab: bool(tab.statuses)) for tab in tabs))
    await settled()
    asked.clear()
    await storage.append_events([log(claimed.id, n) for n in range(10)])
    await asyncio.gather(*(tab.until(lambda tab: len(tab.named("log")) == 10) for tab in tabs))
    # Not one for each of the hundred streams; how many lines one query brings depends on the machine.
    assert asked["events"] <= 10, asked
    await asyncio.gather(*(tab.leave() for tab in tabs))


async def test_slow_reader_costs_no_memory_and_delays_no_other(
    tab: Open, storage: Storage, jobs: Driver, clock: FrozenClock, asked: Counter[str]
) -> None:
    job_id = await jobs.send()
    async with tab(job_id, slow=True) as slow, tab(job_id) as quick:
        await quick.until(lambda read: read.statuses == ["QUEUED"])
        for round_ in range(ROUNDS):
            claimed = await jobs.claim_one()
            await quick.until(lambda read, n=round_: len(read.statuses) == 2 + 2 * n)
            await storage.append_events([log(job_id, 100 * round_ + n) for n in range(100)])
            await quick.until(lambda read, n=round_: len(read.named("log")) == 100 * (n + 1))
            await jobs.release(claimed)
            await quick.until(lambda read, n=round_: len(read.statuses) == 3 + 2 * n)
            await passes(clock, 0.5, 0.1)
        assert slow.chunks == []
        asked.clear()
        slow.read_on()
        await slow.until(lambda read: len(read.named("log")) == 100 * ROUNDS)
        # Nothing was buffered for it: intermediate statuses are left out, the lines are read from the storage
        # now.
        assert slow.statuses == ["QUEUED"]
        assert asked["events"] >= ROUNDS
        numbers = [event.json["fields"]["n"] for event in slow.named("log")]
        assert numbers == list(range(100 * ROUNDS))
        assert max(map(len, slow.chunks)) < 100_000
        await jobs.complete(await jobs.claim_one())
        assert (await slow.rest())[-1].name == "close"


@on_both_storages
async def test_closed_tab_leaves_nothing_behind(tab: Open, jobs: Driver, traces: Callable[[], int]) -> None:
    ids = [await jobs.send() for _ in range(3)]
    async with tab(ids[0]) as first:  # which starts what serves all of them
        await first.until(lambda read: bool(read.statuses))
    await comes_true(lambda: traces() == 0)
    await settled()
    before = asyncio.all_tasks()
    tabs = [tab(job_id, slow=slow) for job_id in ids for slow in (False, True)]
    for one in tabs:
        await one.__aenter__()
    await comes_true(lambda: traces() > 0)
    assert asyncio.all_tasks() - before
    for one in tabs:
        await one.leave()
        assert one.done
    await comes_true(lambda: traces() == 0)
    await settled()
    assert asyncio.all_tasks() <= before


async def test_tab_closed_during_a_query_leaves_nothing_behind(
    tab: Open, jobs: Driver, storage: Storage, traces: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def hang(after: object) -> list[JobEvent]:
        reading.set()
        await asyncio.Event().wait()
        return []

    claimed = await jobs.running()
    monkeypatch.setattr(storage, "events", hang)
    async with tab(claimed.id):
        await soon(reading.wait())
    await comes_true(lambda: traces() == 0)


@on_both_storages
async def test_stream_has_two_tasks(tab: Open, jobs: Driver) -> None:
    job_id = await jobs.send()
    async with tab(job_id) as first, AsyncExitStack() as opened:
        await first.until(lambda read: bool(read.statuses))
        before = len(asyncio.all_tasks())
        for _ in range(100):
            another = await opened.enter_async_context(tab(job_id))
            await another.until(lambda read: bool(read.statuses))
        # The request's, which the server made, is one; a pool or a watch may be at something of its own.
        assert round((len(asyncio.all_tasks()) - before) / 100) == 2


async def test_stopping_server_waits_for_readers_and_then_cuts_them_off(
    tab: Open, jobs: Driver, app: FastAPI, clock: FrozenClock, traces: Callable[[], int]
) -> None:
    async with tab(await jobs.send(), slow=True) as slow, tab(await jobs.send()) as quick:
        await quick.until(lambda read: bool(read.statuses))
        closing = asyncio.ensure_future(close_app(app))
        await quick.rest()
        await settled()
        assert not closing.done()
        await passes(clock, 1.0)
        await soon(closing)
        assert quick.ended
        assert slow.done
        assert not slow.ended
        await comes_true(lambda: traces() == 0)


async def test_stuck_reader_is_cut_off_after_a_minute(tab: Open, jobs: Driver, clock: FrozenClock) -> None:
    async with tab(await jobs.send(), slow=True) as slow:
        await passes(clock, SEND_TIMEOUT - 2, 5)
        assert not slow.done
        await passes(clock, 4)
        await comes_true(lambda: slow.done)


async def test_number_of_streams_is_limited(queue: Queue, jobs: Driver) -> None:
    app = create_app(
        queue, WebSettings.load(api_streams_max=2, api_streams_of_one=0), authenticator=open_house(queue)
    )
    path = f"/jobs/stream/{await jobs.send()}"
    async with Tab(app, path), Tab(app, path) as second:
        async with Tab(app, path) as third:
            await third.rest()
            assert (third.status, third.headers["retry-after"]) == (503, "5")
            assert third.text == '{"error":"2 streams are open, which is the limit; retry later"}'
        await second.leave()
        async with Tab(app, path) as fourth:
            assert fourth.status == 200


async def test_stream_outlasts_an_outage(tab: Open, jobs: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> Any:
        raise StorageUnavailableError("away")

    claimed = await jobs.running()
    async with tab(claimed.id) as read:
        await read.until(lambda read: bool(read.statuses))
        await jobs.storage.append_events([log(claimed.id, 1)])
        await read.until(lambda read: bool(read.named("log")))
        with monkeypatch.context() as patched:
            patched.setattr(jobs.storage, "get", away)
            patched.setattr(jobs.storage, "events", away)
            await jobs.storage.append_events([log(claimed.id, 2)])
            await passes(jobs.clock, 20)
            assert len(read.named("log")) == 1
            assert ": keep-alive" in read.text
        await jobs.storage.append_events([log(claimed.id, 3)])
        await lasts_until(jobs.clock, lambda: len(read.named("log")) == 3)
        await jobs.complete(claimed)
        await lasts_until(jobs.clock, lambda: read.ended)
    assert [event.json["fields"]["n"] for event in read.named("log")] == [1, 2, 3]
    assert read.statuses == ["EXECUTING", "COMPLETED"]


# Streams of any events, as the dashboard has them


class Pages:
    """Events of a page; counts how many were requested, and notes whether it was closed."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = False

    async def events(self, most: int) -> AsyncGenerator[ServerEvent]:
        try:
            for self.asked in range(1, most + 1):
                yield ServerEvent("rows", f"<tr>\n<td>{self.asked}</td>\n</tr>", str(self.asked))
            if most > 1:
                await asyncio.Event().wait()
        finally:
            self.closed = True


@pytest.fixture
def live(queue: Queue, app: FastAPI) -> EventStreams:
    return app.state.zeke.live


async def test_events_are_streamed_one_at_a_time(live: EventStreams) -> None:
    pages = Pages()
    async with Tab(live.stream(pages.events(200)), "/", slow=True) as read:
        await settled()
        assert pages.asked <= 2
        read.read_on()
        await read.until(lambda read: len(read.events) == 200)
    assert read.headers["content-type"] == "text/event-stream; charset=utf-8"
    event = read.events[0]
    assert (event.name, event.data, event.id) == ("rows", "<tr>\n<td>1</td>\n</tr>", "1")
    assert pages.closed
    assert live.open_streams == 0


async def test_streams_opened_at_once_are_limited(queue: Queue) -> None:
    app = create_app(queue, WebSettings.load(api_streams_of_one=1), authenticator=open_house(queue))
    live: EventStreams = app.state.zeke.live
    first, second = (live.stream(Pages().events(2), caller="greedy") for _ in range(2))
    async with Tab(first, "/") as one, Tab(second, "/") as other:
        await other.rest()
        assert (one.status, other.status) == (200, 429)
    await close_app(app)


async def test_stream_ends_with_its_events(live: EventStreams) -> None:
    pages = Pages()
    async with Tab(live.stream(pages.events(1)), "/") as read:
        assert len(await read.rest()) == 1
    assert read.ended
    assert pages.closed


async def test_stream_of_events_is_kept_alive_until_the_server_stops(
    live: EventStreams, clock: FrozenClock
) -> None:
    pages = Pages()
    async with Tab(live.stream(pages.events(2)), "/") as read:
        await read.until(lambda read: len(read.events) == 2)
        await passes(clock, 16)
        assert read.text.count(": keep-alive\n\n") == 1
        await live.close()
        await read.rest()
        assert read.ended
    assert pages.closed


async def test_error_in_a_stream_of_events_reaches_the_server(live: EventStreams) -> None:
    async def broken() -> AsyncGenerator[ServerEvent]:
        yield ServerEvent("rows", "1")
        raise RuntimeError("the template is broken")

    tab = Tab(live.stream(broken()), "/")
    with pytest.raises(RuntimeError, match="the template is broken"):
        async with tab:
            await tab.rest()
    assert live.open_streams == 0


# The limit of streams of one caller, which leaves room for others


OPEN = "streams of this caller are open, which is the limit; end one, or retry later"


async def test_streams_of_one_caller_are_limited(queue: Queue, call: Web, jobs: Driver) -> None:
    app = create_app(queue, WebSettings.load(api_streams_of_one=2), authenticator=open_house(queue))
    path = f"/jobs/stream/{await jobs.send()}"
    greedy, other = [f"Bearer {await call.key(Scope.READ, name=name)}" for name in ("greedy", "other")]
    async with (
        Tab(app, path, authorization=greedy) as first,
        Tab(app, "/dashboard/live", authorization=greedy) as second,
        Tab(app, path, authorization=other) as others,
    ):
        for place in (path, "/dashboard/live"):
            async with Tab(app, place, authorization=greedy) as third:
                await third.rest()
            assert (third.status, third.headers["retry-after"]) == (429, "5")
            assert json.loads(third.text) == {"error": f"2 {OPEN}"}
        assert (first.status, second.status, others.status) == (200, 200, 200)
        await second.leave()
        async with Tab(app, path, authorization=greedy) as third:
            assert third.status == 200
    await close_app(app)


async def test_stream_counts_for_its_caller_until_it_ends(queue: Queue, jobs: Driver) -> None:
    async def broken() -> AsyncGenerator[ServerEvent]:
        yield ServerEvent("rows", "1")
        raise RuntimeError("broken")

    async def check(how: str) -> None:
        app = create_app(
            queue,
            WebSettings.load(api_streams_of_one=1, api_stream_timeout=100),
            authenticator=open_house(queue),
        )
        live: EventStreams = app.state.zeke.live
        claimed = await jobs.running()
        path = f"/jobs/stream/{claimed.id}"
        if how == "broken":
            caller = Caller("tests", "tests", frozenset(Scope))
            with pytest.raises(RuntimeError, match="broken"):
                async with Tab(live.stream(broken(), caller=caller.id), "/") as tab:
                    await tab.rest()
        else:
            async with Tab(app, path, slow=how == "stuck") as tab:
                async with Tab(app, path) as another:
                    await another.rest()
                assert another.status == 429
                if how == "over":
                    await jobs.complete(claimed)
                    await lasts_until(jobs.clock, lambda: tab.ended)
                elif how == "timeout":
                    await passes(jobs.clock, 103)
                    await tab.rest()
                elif how == "stuck":
                    await passes(jobs.clock, SEND_TIMEOUT + 2, 5)
                elif how == "cancelled":
                    await tab.kill()
        await lasts_until(jobs.clock, lambda: not live.open_streams)
        async with Tab(app, path) as next_one:
            assert next_one.status == 200
        await close_app(app)

    await check_each_async(["left", "over", "timeout", "stuck", "cancelled", "broken"], check)


async def test_one_caller_may_have_all_streams(queue: Queue, jobs: Driver) -> None:
    app = create_app(
        queue, WebSettings.load(api_streams_of_one=1, api_streams_max=1), authenticator=open_house(queue)
    )
    path = f"/jobs/stream/{await jobs.send()}"
    async with Tab(app, path) as first, Tab(app, path) as second:
        assert (first.status, second.status) == (200, 429)
    await close_app(app)


def test_one_caller_has_half_of_all_streams_by_default() -> None:
    def check(most: int, half: int) -> None:
        assert WebSettings.load(api_streams_max=most).streams_of_one == half
        assert WebSettings.load(api_streams_max=most, api_streams_of_one=0).streams_of_one == 0
        assert WebSettings.load(api_streams_max=most, api_streams_of_one=3).streams_of_one == 3

    check_each([(5000, 2500), (7, 4), (1, 1)], check)


async def test_stream_cancelled_twice_leaves_nothing(queue: Queue, clock: FrozenClock) -> None:
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[ServerEvent]:
        try:
            yield ServerEvent("rows", "1")
            await asyncio.Event().wait()
        finally:
            closed.set()

    app = create_app(queue, authenticator=open_house(queue))
    live: EventStreams = app.state.zeke.live
    async with Stubborn(live.stream(events(), caller="ada"), "/") as tab:
        await tab.until(lambda tab: "rows" in tab.text)
        await tab.kill()
    await lasts_until(clock, lambda: not live.open_streams)
    assert closed.is_set()
    await close_app(app)


class Stubborn(Tab):
    """A tab whose server is slow to stop waiting for its disconnect, and is cancelled a second time."""

    async def _receive(self) -> dict[str, Any]:
        try:
            return await super()._receive()
        except asyncio.CancelledError:
            assert self._task is not None
            self._task.cancel()
            await settled()
            raise
