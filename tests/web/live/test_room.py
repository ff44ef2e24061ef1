"""How many streams one caller may have, so that there is room for others."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.live.conftest import lasts_until, passes, settled
from tests.web.live.tab import Tab
from zeke_queue.callers import Scope
from zeke_queue.web import WebSettings, close_app, create_app
from zeke_queue.web.guard import Caller
from zeke_queue.web.live import Live, ServerEvent
from zeke_queue.web.live.stream import STUCK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.clocks import FrozenClock
    from tests.conformance.driver import Driver
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

OPEN = "streams of this caller are open, which is the limit; end one, or try again in a while"


async def test_one_caller_can_not_take_all_the_room(queue: Queue, call: Web, jobs: Driver) -> None:
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


@pytest.mark.parametrize("how", ["left", "over", "timeout", "stuck", "cancelled", "broken"])
async def test_a_stream_counts_for_its_caller_until_it_ends_however_it_does(
    queue: Queue, jobs: Driver, clock: FrozenClock, *, how: str
) -> None:
    async def broken() -> AsyncGenerator[ServerEvent]:
        yield ServerEvent("rows", "1")
        raise RuntimeError("broken")

    app = create_app(queue, WebSettings.load(api_streams_of_one=1, api_stream_timeout=100))
    live: Live = app.state.zeke.live
    claimed = await jobs.running()
    path = f"/jobs/stream/{claimed.id}"
    if how == "broken":
        somebody = Caller("loopback", "this machine", frozenset(Scope), None, "loopback")
        with pytest.raises(RuntimeError, match="broken"):
            async with Tab(live.stream(broken(), caller=somebody.id), "/") as tab:
                await tab.rest()
    else:
        async with Tab(app, path, slow=how == "stuck") as tab:
            async with Tab(app, path) as another:
                await another.rest()
            assert another.status == 429
            if how == "over":
                await jobs.complete(claimed)
                await lasts_until(clock, lambda: tab.ended)
            elif how == "timeout":
                await passes(clock, 103)
                await tab.rest()
            elif how == "stuck":
                await passes(clock, STUCK + 2, 5)
            elif how == "cancelled":
                await tab.kill()
    await lasts_until(clock, lambda: not live.open_streams)
    async with Tab(app, path) as next_one:
        assert next_one.status == 200
    await close_app(app)


async def test_any_number_of_streams_may_be_one_callers_where_that_is_set(queue: Queue, jobs: Driver) -> None:
    app = create_app(queue, WebSettings.load(api_streams_of_one=0, api_streams_max=2))
    path = f"/jobs/stream/{await jobs.send()}"
    async with Tab(app, path) as first, Tab(app, path) as second, Tab(app, path) as third:
        assert (first.status, second.status, third.status) == (200, 200, 503)
    await close_app(app)


async def test_who_has_all_the_room_is_told_that_it_is_its_own(queue: Queue, jobs: Driver) -> None:
    app = create_app(queue, WebSettings.load(api_streams_of_one=1, api_streams_max=1))
    path = f"/jobs/stream/{await jobs.send()}"
    async with Tab(app, path) as first, Tab(app, path) as second:
        assert (first.status, second.status) == (200, 429)
    await close_app(app)


@pytest.mark.parametrize(("most", "half"), [(5000, 2500), (7, 4), (1, 1)])
def test_one_caller_has_half_the_room_unless_it_is_told_otherwise(most: int, half: int) -> None:
    assert WebSettings.load(api_streams_max=most).streams_of_one == half
    assert WebSettings.load(api_streams_max=most, api_streams_of_one=0).streams_of_one == 0
    assert WebSettings.load(api_streams_max=most, api_streams_of_one=3).streams_of_one == 3


async def test_a_stream_that_is_given_up_twice_leaves_nothing(queue: Queue, clock: FrozenClock) -> None:
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[ServerEvent]:
        try:
            yield ServerEvent("rows", "1")
            await asyncio.Event().wait()
        finally:
            closed.set()

    app = create_app(queue)
    live: Live = app.state.zeke.live
    async with Stubborn(live.stream(events(), caller="ada"), "/") as tab:
        await tab.until(lambda tab: "rows" in tab.text)
        await tab.kill()
    await lasts_until(clock, lambda: not live.open_streams)
    assert closed.is_set()
    await close_app(app)


class Stubborn(Tab):
    """One whose server takes its time to end the wait for its going, and is told twice to give it up."""

    async def _receive(self) -> dict[str, Any]:
        try:
            return await super()._receive()
        except asyncio.CancelledError:
            assert self._task is not None
            self._task.cancel()
            await settled()
            raise
