"""Authorization of open streams is checked again: a stream outlives neither its key nor its session."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from starlette.requests import HTTPConnection

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver, soon
from tests.web.conftest import Web, on_both_storages
from tests.web.live.conftest import passes, settled
from tests.web.live.tab import Tab
from zeke_queue.client.queue import Queue
from zeke_queue.core import apikeys
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import JobEvent
from zeke_queue.storage import Storage
from zeke_queue.storage.access import Access, Scope
from zeke_queue.web import close_app, create_app
from zeke_queue.web.access.guard import COOKIE, Caller
from zeke_queue.web.sse import EventStreams, ServerEvent

KEEP_ALIVE = 15.0
PLACES = ("/jobs/stream/{}", "/dashboard/jobs/{}/live", "/dashboard/live")


def bearer(key: str) -> str:
    return f"Bearer {key}"


async def key_id(storage: Storage, name: str) -> UUID:
    (key,) = [one for one in await storage.access.keys() if one.name == name]
    return key.id


@pytest.fixture
def looks(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes of keys that the storage was asked for."""
    looks: list[str] = []
    real = storage.access.valid_keys

    async def valid_keys(prefix: str) -> Any:
        looks.append(prefix)
        return await real(prefix)

    monkeypatch.setattr(storage.access, "valid_keys", valid_keys)
    return looks


class Passing:
    """Advances the clock, but not while the storage is asked for keys or sessions."""

    def __init__(self, clock: FrozenClock) -> None:
        self._clock = clock
        self._asked = 0

    def counting(self, verb: Any) -> Any:
        async def counting(*args: Any, **options: Any) -> Any:
            self._asked += 1
            try:
                return await verb(*args, **options)
            finally:
                self._asked -= 1

        return counting

    async def lasts(self, seconds: float) -> None:
        """Advance the clock by the second."""
        for _ in range(round(seconds)):
            await passes(self._clock, 1.0)
            await soon(self._answered())

    async def ends(self, tab: Tab) -> None:
        """Advance by one keep-alive, by which the server has to end a tab."""
        ending = asyncio.ensure_future(tab.rest())
        await self.lasts(KEEP_ALIVE + 1)
        ending.cancel()
        assert tab.ended, tab.text

    async def _answered(self) -> None:
        while self._asked:
            await settled()


@pytest.fixture
def passing(clock: FrozenClock, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Passing:
    passing = Passing(clock)
    for verb, _ in inspect.getmembers(Access, inspect.iscoroutinefunction):
        monkeypatch.setattr(storage.access, verb, passing.counting(getattr(storage.access, verb)))
    return passing


@on_both_storages
async def test_streams_of_a_revoked_key_end_within_a_keep_alive(
    app: FastAPI, call: Web, jobs: Driver, passing: Passing
) -> None:
    async def check(place: str) -> None:
        path = place.format(await jobs.send())
        revoked, other = await call.key(Scope.READ, name=path), await call.key(Scope.READ, name="other")
        async with (
            Tab(app, path, authorization=bearer(revoked)) as tab,
            Tab(app, path, authorization=bearer(revoked)) as another,
            Tab(app, path, authorization=bearer(other)) as stays,
        ):
            async with Tab(app, path, authorization=bearer(revoked)):
                await passing.lasts(KEEP_ALIVE + 3)
            assert not any(one.ended for one in (tab, another, stays))
            await jobs.storage.access.revoke_key(await key_id(jobs.storage, path))
            await passing.ends(tab)
            assert (another.ended, stays.ended) == (True, False)
            assert all("is no longer authorized" in one.text for one in (tab, another))

    await check_each_async(PLACES, check)


@on_both_storages
async def test_streams_of_an_ended_session_end(
    app: FastAPI, call: Web, jobs: Driver, passing: Passing
) -> None:
    storage = jobs.storage

    async def check(place: str, how: str) -> None:
        token = f"{place} {how}"
        await call.key(Scope.READ, name=token)
        key = await key_id(storage, token)
        assert await storage.access.create_session(apikeys.digest_of(token), key, 3600)
        async with Tab(app, place.format(await jobs.send()), cookie=f"{COOKIE}={token}") as tab:
            await passing.lasts(KEEP_ALIVE + 3)
            assert not tab.ended
            if how == "out":
                await storage.access.delete_session(apikeys.digest_of(token))
            else:
                await storage.access.revoke_key(key)
            await passing.ends(tab)

    await check_each_async([(place, how) for place in PLACES for how in ("out", "revoked")], check)


async def test_busy_stream_of_a_revoked_key_ends(app: FastAPI, call: Web, jobs: Driver) -> None:
    claimed = await jobs.running()
    key = await call.key(Scope.READ)
    async with Tab(app, f"/jobs/stream/{claimed.id}", authorization=bearer(key)) as tab:
        await jobs.storage.access.revoke_key((await jobs.storage.access.keys())[0].id)
        for n in range(round(KEEP_ALIVE) + 2):
            await jobs.storage.append_events(
                [JobEvent(claimed.id, 1, "log", f'{{"level":"info","message":"{n}"}}')]
            )
            await tab.until(lambda tab, n=n: len(tab.named("log")) == n + 1 or tab.ended)
            await passes(jobs.clock, 1.0)
        await tab.rest()
        assert ": keep-alive" not in tab.text
        assert tab.ended


async def test_streams_of_a_key_cost_one_query_per_keep_alive(
    app: FastAPI, call: Web, jobs: Driver, clock: FrozenClock, *, passing: Passing, looks: list[str]
) -> None:
    path = f"/jobs/stream/{await jobs.send()}"
    one, two = await call.key(Scope.READ), await call.key(Scope.READ, name="other")
    tabs = [Tab(app, path, authorization=bearer(key)) for key in (one, two) for _ in range(20)]
    for n, tab in enumerate(tabs):
        await tab.__aenter__()
        await passes(clock, n % 2 / 2)
    looks.clear()
    await passing.lasts(4 * KEEP_ALIVE)
    for key in (one, two):
        assert 3 <= looks.count(apikeys.prefix_of(key)) <= 4
    for tab in tabs:
        await tab.leave()


async def test_streams_stay_open_during_an_outage(
    app: FastAPI, call: Web, queue: Queue, jobs: Driver, passing: Passing, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_away = False

    async def away(*_: object) -> Any:
        raise StorageUnavailableError("away")

    async def authenticate(connection: HTTPConnection) -> Caller | None:
        del connection
        return await away() if is_away else Caller("user:ada", "Ada", frozenset({Scope.READ}))

    hosted = create_app(queue, authenticator=authenticate)
    key = await call.key(Scope.READ)
    path = f"/jobs/stream/{await jobs.send()}"
    async with Tab(app, path, authorization=bearer(key)) as tab, Tab(hosted, "/dashboard/live") as other:
        await tab.until(lambda tab: bool(tab.statuses))
        monkeypatch.setattr(jobs.storage.access, "valid_keys", away)
        is_away = True
        await passing.lasts(KEEP_ALIVE + 3)
        assert (tab.ended, other.ended) == (False, False)
    await close_app(hosted)


async def silent() -> AsyncGenerator[ServerEvent]:
    yield ServerEvent("rows", "1")
    await asyncio.Event().wait()


async def test_each_stream_is_checked_by_itself(app: FastAPI, passing: Passing) -> None:
    asked = asyncio.Event()

    async def broken() -> bool:
        raise RuntimeError("the host's own way is broken")

    async def revoked() -> bool:
        return False

    async def fine() -> bool:
        return True

    async def hangs() -> bool:
        asked.set()
        await asyncio.Event().wait()
        return True

    live: EventStreams = app.state.zeke.live
    before = asyncio.all_tasks()

    async def check(ends: Any, stays: Any) -> None:
        asked.clear()
        async with (
            Tab(live.stream(silent(), is_authorized=stays), "/") as other,
            Tab(live.stream(silent(), is_authorized=ends), "/") as tab,
        ):
            await passing.ends(tab)
            assert not other.ended
            assert asked.is_set() == (stays is hangs)
        await settled()
        assert asyncio.all_tasks() <= before

    await check_each_async([(broken, fine), (revoked, hangs)], check)


async def test_head_opens_no_stream(app: FastAPI, jobs: Driver) -> None:
    live: EventStreams = app.state.zeke.live
    job_id = await jobs.send()
    for place, status in zip(PLACES, (405, 200, 200), strict=True):
        async with Tab(app, place.format(job_id), method="HEAD") as tab:
            await tab.rest()
            assert (tab.ended, tab.status, live.open_streams) == (True, status, 0), place
    async with Tab(live.stream(silent()), "/", method="HEAD") as tab:
        await tab.rest()
    assert (tab.status, tab.text, live.open_streams) == (200, "", 0)
    assert tab.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-length" not in tab.headers


async def test_callers_of_a_host_are_checked_by_their_own_requests(queue: Queue, passing: Passing) -> None:
    signed_in = {"one", "two"}

    async def who(connection: HTTPConnection) -> Caller | None:
        shown = connection.headers.get("x-session")
        return Caller("user:ada", "Ada", frozenset({Scope.READ})) if shown in signed_in else None

    app = create_app(queue, authenticator=who)
    path = "/dashboard/live"
    async with Tab(app, path, x_session="one") as tab, Tab(app, path, x_session="two") as stays:
        signed_in.remove("one")
        await passing.ends(tab)
        assert not stays.ended
    await close_app(app)
