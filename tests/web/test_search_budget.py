"""Searches: how many run at once, and what is answered when they take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from tests.cases import check_each
from tests.conformance.driver import soon
from tests.web.conftest import Web
from zeke_queue.cli.serve import _of_api
from zeke_queue.cli.work import Beginning
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import ReadTimeoutError
from zeke_queue.model import JobPage, JobQuery
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.web import WebSettings, search_budget

REASON = "The search took longer than 5 s (JOBS_READ_TIMEOUT); narrow it by task"


async def test_search_that_takes_too_long_is_answered_by_what_narrows_it(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(_: JobQuery) -> JobPage:
        raise ReadTimeoutError(REASON)

    monkeypatch.setattr(parts_of(call.queue).storage, "find", find)
    answer = await call("GET", "/trigger/runs?text=a")
    assert (answer.status_code, answer.json()) == (503, {"error": REASON})
    page = await call("GET", "/dashboard/jobs?text=a")
    assert page.status_code == 503
    assert REASON in page.text
    assert "The search took too long" in page.text


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
    while len(searches) == share and not on_page.done():
        await asyncio.wait([on_page], timeout=0)
    assert len(searches) == share + 1
    released.set()
    assert (await soon(on_page)).status_code == 200
    assert {(await soon(one)).status_code for one in held} == {200}


def test_api_has_its_own_number_of_connections() -> None:
    def check(pool_max: int | None, settings: dict[str, int], expected: tuple[int, int]) -> None:
        begun = Beginning(Catalog(), Settings.load(**settings), embedded=False)
        made = _of_api(begun, WebSettings.load(api_pool_max=pool_max))
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
