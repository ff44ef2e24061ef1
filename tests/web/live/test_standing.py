"""Who follows is asked again who it is: a stream outlives neither its key nor its session."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.driver import Driver, soon
from tests.web.live.conftest import passes, settled
from tests.web.live.tab import Tab
from zeke_queue.callers import Scope
from zeke_queue.core import apikeys
from zeke_queue.errors import StorageUnavailable
from zeke_queue.model import JobEvent
from zeke_queue.storage.store import Access
from zeke_queue.web import close_app, create_app
from zeke_queue.web.guard import COOKIE, Caller
from zeke_queue.web.live import Live, ServerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from fastapi import FastAPI
    from starlette.requests import HTTPConnection

    from tests.clocks import FrozenClock
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue
    from zeke_queue.storage.store import Storage

TOKEN = "5e551011"
KEEP_ALIVE = 15.0
PLACES = ("/jobs/stream/{}", "/dashboard/jobs/{}/live", "/dashboard/live")


def bearer(key: str) -> str:
    return f"Bearer {key}"


async def session(call: Web, storage: Storage) -> UUID:
    """Store a key with a session; returns the key's id."""
    await call.key(Scope.READ, name="ada")
    (key,) = await storage.keys()
    assert await storage.open_session(apikeys.digest_of(TOKEN), key.id, 3600)
    return key.id


@pytest.fixture
def looks(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes of keys that were looked for."""
    looks: list[str] = []
    real = storage.good_keys

    async def good_keys(prefix: str) -> Any:
        looks.append(prefix)
        return await real(prefix)

    monkeypatch.setattr(storage, "good_keys", good_keys)
    return looks


class Passing:
    """Lets time pass, but not while the storage is asked who somebody is, for as long as that takes here."""

    def __init__(self, clock: FrozenClock) -> None:
        self._clock = clock
        self._asked = 0

    def counting(self, verb: Any) -> Any:
        """Wrap what asks the storage."""

        async def counting(*args: Any, **options: Any) -> Any:
            self._asked += 1
            try:
                return await verb(*args, **options)
            finally:
                self._asked -= 1

        return counting

    async def lasts(self, seconds: float) -> None:
        """Let time pass by the second."""
        for _ in range(round(seconds)):
            await passes(self._clock, 1.0)
            await soon(self._answered())

    async def ends(self, tab: Tab) -> None:
        """Let a keep-alive pass; by then the server has to end a tab."""
        ending = asyncio.ensure_future(tab.rest())
        await self.lasts(KEEP_ALIVE + 1)
        ending.cancel()
        assert tab.ended, tab.text

    async def _answered(self) -> None:
        while self._asked:
            await settled()


@pytest.fixture
def passing(clock: FrozenClock, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Passing:
    """Time, as these tests let it pass."""
    passing = Passing(clock)
    for verb, _ in inspect.getmembers(Access, inspect.iscoroutinefunction):
        monkeypatch.setattr(storage, verb, passing.counting(getattr(storage, verb)))
    return passing


@pytest.mark.parametrize("place", PLACES)
async def test_the_streams_of_a_key_that_is_revoked_end_within_a_keep_alive(
    app: FastAPI, call: Web, jobs: Driver, passing: Passing, *, place: str
) -> None:
    path = place.format(await jobs.send())
    revoked, other = await call.key(Scope.READ), await call.key(Scope.READ, name="other")
    async with (
        Tab(app, path, authorization=bearer(revoked)) as tab,
        Tab(app, path, authorization=bearer(revoked)) as another,
        Tab(app, path, authorization=bearer(other)) as stays,
    ):
        await passing.lasts(KEEP_ALIVE + 3)
        assert not any(one.ended for one in (tab, another, stays))
        await jobs.storage.revoke_key((await jobs.storage.keys())[0].id)
        await passing.ends(tab)
        assert (another.ended, stays.ended) == (True, False)
        assert all("may not follow it any more" in one.text for one in (tab, another))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["signed out", "key revoked"])
async def test_the_streams_of_a_session_that_is_over_end(
    app: FastAPI, call: Web, jobs: Driver, passing: Passing, *, place: str, how: str
) -> None:
    storage = jobs.storage
    key_id = await session(call, storage)
    async with Tab(app, place.format(await jobs.send()), cookie=f"{COOKIE}={TOKEN}") as tab:
        await passing.lasts(KEEP_ALIVE + 3)
        assert not tab.ended
        if how == "signed out":
            await storage.close_session(apikeys.digest_of(TOKEN))
        else:
            await storage.revoke_key(key_id)
        await passing.ends(tab)


async def test_a_stream_on_which_much_comes_ends_as_well(
    app: FastAPI, call: Web, jobs: Driver, clock: FrozenClock, storage: Storage
) -> None:
    claimed = await jobs.running()
    key = await call.key(Scope.READ)
    async with Tab(app, f"/jobs/stream/{claimed.id}", authorization=bearer(key)) as tab:
        await storage.revoke_key((await storage.keys())[0].id)
        for n in range(round(KEEP_ALIVE) + 2):
            await storage.note([JobEvent(claimed.id, 1, "log", f'{{"level":"info","message":"{n}"}}')])
            await tab.until(lambda tab, n=n: len(tab.named("log")) == n + 1 or tab.ended)
            await passes(clock, 1.0)
        await tab.rest()
        assert ": keep-alive" not in tab.text
        assert tab.ended


async def test_all_streams_of_a_key_cost_one_look_for_it_in_a_keep_alive(
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


async def test_while_the_storage_is_away_nobody_is_sent_away(
    app: FastAPI,
    call: Web,
    jobs: Driver,
    passing: Passing,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> Any:
        raise StorageUnavailable("away")

    key = await call.key(Scope.READ)
    async with Tab(app, f"/jobs/stream/{await jobs.send()}", authorization=bearer(key)) as tab:
        await tab.until(lambda tab: bool(tab.statuses))
        monkeypatch.setattr(jobs.storage, "good_keys", away)
        await passing.lasts(KEEP_ALIVE + 3)
        assert not tab.ended


async def test_this_machine_shows_a_key_once_there_is_one(
    app: FastAPI, call: Web, jobs: Driver, passing: Passing
) -> None:
    async with Tab(app, f"/jobs/stream/{await jobs.send()}") as tab:
        await passing.lasts(KEEP_ALIVE + 3)
        assert not tab.ended
        await call.key()
        await passing.ends(tab)


async def silent() -> AsyncGenerator[ServerEvent]:
    yield ServerEvent("rows", "1")
    await asyncio.Event().wait()


async def test_a_way_to_tell_that_breaks_lets_nobody_stay(app: FastAPI, passing: Passing) -> None:
    async def broken() -> bool:
        raise RuntimeError("the host's own way is broken")

    async def fine() -> bool:
        return True

    live: Live = app.state.zeke.live
    async with (
        Tab(live.stream(silent(), still=broken), "/") as tab,
        Tab(live.stream(silent(), still=fine), "/") as stays,
    ):
        await passing.ends(tab)
        assert not stays.ended


async def test_one_who_is_slow_to_tell_holds_up_no_others(app: FastAPI, passing: Passing) -> None:
    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    async def over() -> bool:
        return False

    live: Live = app.state.zeke.live
    async with (
        Tab(live.stream(silent(), still=hangs), "/") as stays,
        Tab(live.stream(silent(), still=over), "/") as tab,
    ):
        await passing.ends(tab)
        assert not stays.ended


async def test_nothing_is_left_of_the_asking(app: FastAPI, passing: Passing) -> None:
    asked = asyncio.Event()

    async def hangs() -> bool:
        asked.set()
        await asyncio.Event().wait()
        return True

    live: Live = app.state.zeke.live
    before = asyncio.all_tasks()
    async with Tab(live.stream(silent(), still=hangs), "/"):
        await passing.lasts(KEEP_ALIVE + 2)
        assert asked.is_set()
    await settled()
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize(("place", "status"), [(PLACES[0], 405), (PLACES[1], 200), (PLACES[2], 200)])
async def test_head_opens_no_stream(app: FastAPI, jobs: Driver, place: str, status: int) -> None:
    async with Tab(app, place.format(await jobs.send()), method="HEAD") as tab:
        await tab.rest()
        assert tab.ended
        assert tab.status == status
        assert app.state.zeke.live.open_streams == 0


async def test_a_stream_that_is_asked_for_by_head_has_its_headers_alone(app: FastAPI) -> None:
    live: Live = app.state.zeke.live
    async with Tab(live.stream(silent()), "/", method="HEAD") as tab:
        await tab.rest()
    assert (tab.status, tab.text, live.open_streams) == (200, "", 0)
    assert tab.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-length" not in tab.headers


async def test_of_a_host_applications_callers_each_is_asked_by_what_it_showed(
    queue: Queue, passing: Passing
) -> None:
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


async def test_while_a_host_application_is_without_the_storage_nobody_is_sent_away(
    queue: Queue, passing: Passing
) -> None:
    away = False

    async def who(connection: HTTPConnection) -> Caller | None:
        del connection
        if away:
            raise StorageUnavailable("away")
        return Caller("user:ada", "Ada", frozenset({Scope.READ}))

    app = create_app(queue, authenticator=who)
    async with Tab(app, "/dashboard/live") as tab:
        away = True
        await passing.lasts(KEEP_ALIVE + 3)
        assert not tab.ended
    await close_app(app)
