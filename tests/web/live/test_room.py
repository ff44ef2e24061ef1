"""The limit of streams of one caller, which leaves room for others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import Web
from tests.web.live.conftest import lasts_until, passes, settled
from tests.web.live.tab import Tab
from zeke_queue.client.queue import Queue
from zeke_queue.storage.access import Scope
from zeke_queue.web import WebSettings, close_app, create_app
from zeke_queue.web.access.guard import Caller
from zeke_queue.web.sse import EventStreams, ServerEvent
from zeke_queue.web.sse.stream import SEND_TIMEOUT

OPEN = "streams of this caller are open, which is the limit; end one, or retry later"


async def test_streams_of_one_caller_are_limited(queue: Queue, call: Web, jobs: Driver) -> None:
    app = create_app(queue, WebSettings.load(api_streams_of_one=2))
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
        app = create_app(queue, WebSettings.load(api_streams_of_one=1, api_stream_timeout=100))
        live: EventStreams = app.state.zeke.live
        claimed = await jobs.running()
        path = f"/jobs/stream/{claimed.id}"
        if how == "broken":
            caller = Caller("loopback", "this machine", frozenset(Scope), None, "loopback")
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


async def test_both_limits_of_streams_are_applied(queue: Queue, jobs: Driver) -> None:
    path = f"/jobs/stream/{await jobs.send()}"

    async def check(of_one: int, most: int, statuses: list[int]) -> None:
        app = create_app(queue, WebSettings.load(api_streams_of_one=of_one, api_streams_max=most))
        async with AsyncExitStack() as opened:
            tabs = [await opened.enter_async_context(Tab(app, path)) for _ in statuses]
            assert [tab.status for tab in tabs] == statuses
        await close_app(app)

    cases = {"none of one caller": (0, 2, [200, 200, 503]), "the caller has all": (1, 1, [200, 429])}
    await check_each_async(cases, check)


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

    app = create_app(queue)
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
