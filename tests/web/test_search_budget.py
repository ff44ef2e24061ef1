"""Searches: how many run at once, and what is answered when they take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.cases import check_each, check_each_async
from tests.conformance.driver import soon
from tests.runtime.workers.place import until
from tests.web.conftest import Web
from zeke_queue.cli.serve import _api_settings
from zeke_queue.cli.work import Beginning
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import (
    LockTimeoutError,
    ReadTimeoutError,
    StatementTimeoutError,
    StorageUnavailableError,
)
from zeke_queue.model import JobPage, JobQuery
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.web import WebSettings, close_app, search_budget
from zeke_queue.web.api import Api
from zeke_queue.web.errors import ApiError
from zeke_queue.web.search_budget import SearchBudget

REASON = "The query took longer than 5 s (JOBS_READ_TIMEOUT); narrow it by task"


async def test_search_that_takes_too_long_is_answered_by_what_narrows_it(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(_: JobQuery) -> JobPage:
        raise ReadTimeoutError(REASON)

    monkeypatch.setattr(parts_of(call.queue).storage, "find", find)
    answer = await call("GET", "/trigger/runs?text=a")
    assert (answer.status_code, answer.json()) == (503, {"error": REASON, "retry": False})
    page = await call("GET", "/dashboard/jobs?text=a")
    assert page.status_code == 503
    assert REASON in page.text
    assert "The search took too long" in page.text


async def test_error_page_blames_the_database_only_for_an_outage(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(error: Exception, title: str) -> None:
        async def find(_: JobQuery) -> JobPage:
            raise error

        monkeypatch.setattr(parts_of(call.queue).storage, "find", find)
        page = await call("GET", "/dashboard/jobs?text=a")
        assert (page.status_code, f"<h1>{title}</h1>" in page.text) == (503, True)

    other = "Not possible at the moment"
    cases = {
        "outage": (StorageUnavailableError("no answer"), "The database is unavailable"),
        "lock": (LockTimeoutError.of("a row"), other),
        "statement": (StatementTimeoutError("60 s"), other),
        "budget": (ApiError(503, "Too many searches run at once"), other),
    }
    await check_each_async(cases, check)


async def _settled(running: Sequence[asyncio.Future[httpx2.Response]], held: int) -> Any:
    """Wait until so many are left, and return those that are done, and those."""
    left = set(running)
    while len(left) > held:
        _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
    return {*running} - left, left


async def test_searches_of_the_api_leave_connections_to_the_dashboard_and_to_other_requests(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_budget, "WAIT_TIMEOUT", 0.0)
    storage = parts_of(call.queue).storage
    searches: list[JobQuery] = []
    released = asyncio.Event()

    async def find(query: JobQuery) -> JobPage:
        searches.append(query)
        await released.wait()
        return JobPage([], has_more=False)

    monkeypatch.setattr(storage, "find", find)
    share = (call.queue.settings.jobs_pool_max - search_budget.KEPT) // 2

    running = [asyncio.ensure_future(call("GET", "/trigger/runs?text=a")) for _ in range(share + 3)]
    done, held = await soon(_settled(running, share))
    assert {one.result().status_code for one in done} == {503}
    assert "narrow them by task" in next(iter(done)).result().json()["error"]
    assert len(searches) == share
    assert (
        await call("POST", "/trigger", json={"taskId": "mail", "payload": {"to": "a"}})
    ).status_code == 200
    on_page = asyncio.ensure_future(call("GET", "/dashboard/jobs?text=a"))

    async def both_search() -> None:
        while len(searches) == share:
            await asyncio.wait([on_page], timeout=0)

    await soon(both_search())
    assert len(searches) == share + 1
    released.set()
    assert (await soon(on_page)).status_code == 200
    assert {(await soon(one)).status_code for one in held} == {200}


async def test_every_search_is_limited(call: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = parts_of(call.queue).storage
    share = (call.queue.settings.jobs_pool_max - search_budget.KEPT) // 2

    async def check(path: str, verb: str) -> None:
        run = getattr(storage, verb)
        at_once, released = 0, asyncio.Event()

        async def slow(*given: Any) -> Any:
            nonlocal at_once
            at_once += 1
            assert at_once <= share
            await released.wait()
            at_once -= 1
            return await run(*given)

        with monkeypatch.context() as patched:
            patched.setattr(storage, verb, slow)
            running = [asyncio.ensure_future(call("GET", path)) for _ in range(share + 3)]
            await until(lambda: at_once == share or all(one.done() for one in running))
            released.set()
            assert {(await soon(one)).status_code for one in running} == {200}

    job = f"/dashboard/jobs/{(await call.queue.send('mail', {'to': 'a'})).id}"
    cases = {
        "queues": ("/queues", "queue_stats"),
        "runs": ("/trigger/runs?text=a", "find"),
        "overview": ("/dashboard/", "queue_stats"),
        "failures": ("/dashboard/", "find"),
        "chart": ("/dashboard/", "throughput"),
        "workers": ("/dashboard/workers", "find"),
        "children": (job, "find"),
    }
    await check_each_async(cases, check)


async def test_scrapes_need_no_place_and_share_one_read(
    call: Web, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_budget, "WAIT_TIMEOUT", 0.0)
    parts: Api = app.state.zeke
    count, counted, released = parts.storage.queue_stats, 0, asyncio.Event()

    async def slow() -> Any:
        nonlocal counted
        counted += 1
        await released.wait()
        return await count()

    monkeypatch.setattr(parts.storage, "queue_stats", slow)
    async with AsyncExitStack() as held:
        for _ in range((call.queue.settings.jobs_pool_max - search_budget.KEPT) // 2):
            await held.enter_async_context(parts.searches.search())
        scrapes = [asyncio.ensure_future(call("GET", "/metrics")) for _ in range(5)]
        await until(lambda: counted or all(one.done() for one in scrapes))
        released.set()
        answers = [await soon(one) for one in scrapes]
    assert {one.status_code for one in answers} == {200}
    assert all('zeke_jobs{queue="mail"' in one.text for one in answers)
    assert counted == 1


async def test_scrape_under_way_ends_with_the_application(
    call: Web, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would go on with connections that are closed next."""
    begun, ended = asyncio.Event(), False

    async def endless() -> Any:
        nonlocal ended
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    monkeypatch.setattr(parts_of(call.queue).storage, "queue_stats", endless)
    scrape = asyncio.ensure_future(call("GET", "/metrics"))
    await soon(begun.wait())
    await close_app(app)
    assert ended
    answer = await soon(scrape)
    assert (answer.status_code, answer.json()) == (503, {"error": "The server is stopping; retry later"})


async def test_scrape_after_the_end_of_the_application_reads_nothing(
    call: Web, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    async def queue_stats() -> Any:
        nonlocal read
        read += 1
        return []

    monkeypatch.setattr(parts_of(call.queue).storage, "queue_stats", queue_stats)
    await close_app(app)
    assert (await call("GET", "/metrics")).status_code == 503
    assert read == 0


async def test_scrape_that_is_cancelled_together_with_its_read_is_cancelled(
    call: Web, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def endless() -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            scrape.cancel()

    monkeypatch.setattr(parts_of(call.queue).storage, "queue_stats", endless)
    scrape = asyncio.ensure_future(app.state.metrics.exposition())
    await soon(begun.wait())
    await close_app(app)
    with pytest.raises(asyncio.CancelledError):
        await scrape


async def test_scrape_leaves_out_what_takes_too_long(call: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    async def queue_stats() -> Any:
        raise ReadTimeoutError(REASON)

    monkeypatch.setattr(parts_of(call.queue).storage, "queue_stats", queue_stats)
    answer = await call("GET", "/metrics")
    assert answer.status_code == 200
    assert 'zeke_queue_paused{queue="mail"}' in answer.text
    assert "zeke_jobs{" not in answer.text


async def test_overview_is_drawn_without_the_charts_that_take_too_long(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = parts_of(call.queue).storage
    throughput = storage.throughput

    async def slow(names: Sequence[str], span: float, step: float) -> Any:
        if span > 3600:
            raise ReadTimeoutError(REASON)
        return await throughput(names, span, step)

    monkeypatch.setattr(storage, "throughput", slow)
    page = await call("GET", "/dashboard/?span=7d")
    assert page.status_code == 200
    assert "Counting what ended in 7 days takes longer than" in page.text
    assert page.text.count("not counted") == 2
    assert "not counted" not in (await call("GET", "/dashboard/?span=1h")).text


async def test_queues_are_shown_without_counts_that_take_too_long(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def queue_stats() -> Any:
        raise ReadTimeoutError(REASON)

    monkeypatch.setattr(parts_of(call.queue).storage, "queue_stats", queue_stats)
    overview = await call("GET", "/dashboard/")
    assert overview.status_code == 200
    assert "Counting jobs takes too long" in overview.text
    assert "No waiting jobs" not in overview.text
    page = await call("GET", "/dashboard/queues")
    assert page.status_code == 200
    assert 'data-label="Waiting">…<' in page.text
    assert "Pause" in page.text
    answer = await call("GET", "/queues")
    assert (answer.status_code, answer.json()) == (503, {"error": REASON, "retry": False})
    paused = await call("POST", "/queues/mail/pause")
    assert (paused.status_code, paused.json()["paused"], paused.json()["counts"]) == (200, True, {})


async def test_list_of_jobs_counts_nothing(call: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    async def queue_stats() -> Any:
        raise AssertionError("it counts all jobs")

    monkeypatch.setattr(parts_of(call.queue).storage, "queue_stats", queue_stats)
    await call.queue.send("mail", {"to": "a"})
    assert (await call("GET", "/dashboard/jobs")).status_code == 200


async def test_queue_is_paused_while_searches_are_at_their_limit(
    call: Web, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_budget, "WAIT_TIMEOUT", 0.0)
    parts: Api = app.state.zeke
    async with AsyncExitStack() as held:
        for _ in range((call.queue.settings.jobs_pool_max - search_budget.KEPT) // 2):
            await held.enter_async_context(parts.searches.search())
        answer = await call("POST", "/queues/mail/pause")
        assert (answer.status_code, answer.json()["paused"], answer.json()["counts"]) == (200, True, {})
        form = {"name": "break", "do": "pause"}
        assert (await call("POST", "/dashboard/queues", data=form)).status_code == 303
        assert (await call("POST", "/queues/unknown/pause")).status_code == 404
    paused = {one.name for one in await parts.storage.queues() if one.paused_on is not None}
    assert paused == {"mail", "break"}
    assert (await call("POST", "/queues/mail/resume")).json()["counts"]["created"] == 0


async def test_failed_search_gives_its_place_back() -> None:
    budget = SearchBudget(1)
    for error in (ReadTimeoutError(REASON), asyncio.CancelledError()):
        with suppress(ReadTimeoutError, asyncio.CancelledError):
            async with budget.search():
                raise error
    async with budget.search():
        pass


async def test_searches_leave_connections_of_any_pool() -> None:
    async def check(connections: int, most: int) -> None:
        held = 0
        async with AsyncExitStack() as stack:
            for searches in SearchBudget.of_both(connections):
                with suppress(ApiError):
                    while True:
                        await stack.enter_async_context(searches.search())
                        held += 1
        assert held == most

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search_budget, "WAIT_TIMEOUT", 0.0)
        await check_each_async([(2, 1), (3, 1), (4, 2), (5, 2), (10, 8), (11, 8)], check)


def test_api_has_its_own_number_of_connections() -> None:
    def check(pool_max: int | None, settings: dict[str, int], expected: tuple[int, int]) -> None:
        begun = Beginning(Catalog(), Settings.load(**settings), embedded=False)
        made = _api_settings(begun, WebSettings.load(api_pool_max=pool_max))
        assert (made.jobs_pool_min, made.jobs_pool_max) == expected

    check_each(
        [
            (None, {}, (1, 10)),
            (4, {}, (1, 4)),
            (None, {"jobs_pool_max": 30}, (1, 30)),
            (4, {"jobs_pool_min": 8}, (4, 4)),
        ],
        check,
    )
