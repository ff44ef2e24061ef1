"""The newsroom's page in the dashboard."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.cases import check_each_async
from tests.conformance.driver import soon
from tests.tasks.domain import Domain
from tests.tasks.store.samples import BRIEF, MODELS
from tests.web.conftest import Web, open_house
from tests.web.dashboard.conftest import Browser
from zeke_queue.client.queue import Queue
from zeke_queue.storage.access import Scope
from zeke_queue.system.settings import INTERVAL_MIN, Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.web import WebSettings, create_app
from zeke_queue.web.dashboard import installed_pages
from zeke_tasks.catalog import catalog
from zeke_tasks.pages import newsroom_page
from zeke_tasks.store.model import HealthStatus, SourceType
from zeke_tasks.store.playbooks import NewRun, Playbook, TriggerSource

EVIL = "<script>alert(1)</script>"
TEAM = UUID(int=7)
SCROLLS = r' id="[^"]+" tabindex="0" role="region" aria-label="[^"]'


@asynccontextmanager
async def newsroom(domain: Domain, **settings: Any) -> AsyncIterator[Web]:
    queue = Queue(catalog, domain.storage, clock=domain.clock, settings=Settings.load(**settings))
    yield Web(
        create_app(
            queue, WebSettings(), pages=[newsroom_page(domain.repository)], authenticator=open_house(queue)
        ),
        queue,
    )
    await queue.close()


@pytest.fixture
async def call(domain: Domain) -> AsyncIterator[Web]:
    async with newsroom(domain) as call:
        yield call


@pytest.fixture
async def client(call: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with call.client() as client:
        yield client


async def see(client: httpx2.AsyncClient, path: str = "/", status: int = 200) -> str:
    answer = await client.get(f"/dashboard/zeke{path}")
    assert answer.status_code == status, answer.text
    return answer.text


async def test_empty_newsroom_shows_commands(client: httpx2.AsyncClient) -> None:
    page = await see(client)
    for hint in ("zeke sources add URL", "zeke ingest URL"):
        assert hint in page


def test_scrolling_regions_have_id_name_and_focus() -> None:
    folders = [files(where) / "templates" for where in ("zeke_tasks.pages", "zeke_queue.web.dashboard")]
    pages = {path: path.read_text("utf-8") for one in folders for path in Path(str(one)).rglob("*.html")}
    found = [
        (path.name, tag)
        for path, page in pages.items()
        for tag in re.findall(r'<\w+[^>]*\bclass="(?:[^"]* )?scroll[ "][^>]*>', page)
    ]
    assert {"newsroom.html", "jobs.html"} <= {name for name, _ in found}
    assert [one for one in found if not re.search(SCROLLS, one[1])] == []


async def test_sources_show_their_health(client: httpx2.AsyncClient, domain: Domain) -> None:
    conditions = {
        "https://a.example/": "Well",
        "https://b.example/": "Fails",
        "https://c.example/": "Unchecked",
    }
    for url in conditions:
        source = await domain.source(url, name=url)
        async with domain.rows() as rows:
            if "a." in url:
                await rows.record_success(
                    source.id, next_check_in=60, etag=None, last_modified=None, status=HealthStatus.OK
                )
            if "b." in url:
                await rows.record_failure(source.id, next_check_in=60, message=EVIL)
    await domain.source("javascript:alert(1)", type=SourceType.RSS, name="odd")
    page = await see(client)
    rows_shown = re.findall(r"<tr data-source=.*?</tr>", page, re.DOTALL)
    for url, condition in conditions.items():
        (row,) = [row for row in rows_shown if f'href="{url}"' in row]
        assert f"<span>{condition}</span>" in row
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "javascript:" not in page


async def test_page_that_takes_too_long_is_answered_with_503(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def every_source(_: object) -> Any:
        await asyncio.Event().wait()

    async with domain.rows() as rows:
        monkeypatch.setattr(type(rows), "every_source", every_source)
    async with newsroom(domain, jobs_read_timeout=INTERVAL_MIN) as call:
        answer = await soon(call("GET", "/dashboard/zeke/"))
    assert answer.status_code == 503
    assert "JOBS_READ_TIMEOUT" in answer.text


async def test_source_can_be_paused_and_resumed(client: httpx2.AsyncClient, domain: Domain) -> None:
    source = await domain.source()
    for action, active in (("pause", False), ("resume", True)):
        answer = await client.post("/dashboard/zeke/sources", data={"id": str(source.id), "do": action})
        assert answer.status_code == 303
        found = await domain.verbs.source(source.id)
        assert found is not None
        assert found.is_active is active
    gone = await client.post("/dashboard/zeke/sources", data={"id": str(TEAM), "do": "pause"})
    assert gone.status_code == 404


async def test_source_is_not_changed_without_scope_csrf_token_and_origin(call: Web, domain: Domain) -> None:
    (path,) = [view.path for view in newsroom_page(domain.repository).views if view.changes]

    async def check(scope: Scope, csrf: str | None, origin: str) -> None:
        source = await domain.source(None)
        async with call.client() as client:
            browser = Browser(client)
            await browser.sign_in(await call.key(scope))
            form = {"id": str(source.id), "do": "pause", "csrf": browser.csrf if csrf is None else csrf}
            refused = await client.post(f"/dashboard/zeke{path}", data=form, headers={"origin": origin})
        assert refused.status_code == 403
        assert await domain.verbs.source(source.id) == source

    cases = [
        (Scope.READ, None, "http://localhost"),
        (Scope.TRIGGER, None, "http://localhost"),
        (Scope.ADMIN, "0" * 64, "http://localhost"),
        (Scope.ADMIN, "", "http://localhost"),
        (Scope.ADMIN, None, "https://evil.example"),
    ]
    await check_each_async(cases, check)
    async with call.client() as client:
        browser = Browser(client)
        await browser.sign_in(await call.key(Scope.ADMIN))
        await browser.send(f"/zeke{path}", id=(await domain.source()).id, do="pause")


async def test_stories_show_briefs(client: httpx2.AsyncClient, domain: Domain) -> None:
    story = await domain.told_story("Some text.", title=EVIL, url="https://a.example/story")
    assert "No brief yet" in await see(client)
    await domain.verbs.put_analysis(story.id, MODELS)
    await domain.verbs.put_brief(story.id, BRIEF)
    page = await see(client)
    assert "<p>One.</p>" in page
    assert "3 of 5 chilies" in page
    assert EVIL not in page
    one = await see(client, f"/stories/{story.id}")
    for shown in ("It is faster.", "One. Two. Three.", "https://a.example/story", "2 min 50 s"):
        assert shown in one, shown
    assert EVIL not in one
    await see(client, f"/stories/{TEAM}", 404)
    await see(client, "/stories/1'--", 404)


async def test_runs_of_playbooks_show_their_state(client: httpx2.AsyncClient, domain: Domain) -> None:
    async with domain.rows() as rows:
        await rows.put_playbook(Playbook(UUID(int=1), TEAM, "Weekly", ()))
        for number in (2, 3, 4):
            await rows.ensure_run(NewRun(UUID(int=number), UUID(int=1), TEAM, TriggerSource.API))
        assert await rows.begin_run(UUID(int=3))
    page = await see(client)
    assert page.count("Weekly") == 3
    assert page.count("<span>Failed</span>") == 3  # no job of another team is there


async def test_page_is_installed_only_with_its_tasks(domain: Domain) -> None:
    (page,) = [page for page in installed_pages() if page.slug == "zeke"]
    queue = Queue(Catalog(), domain.storage, clock=domain.clock, settings=Settings.load())
    app = create_app(queue, WebSettings(), pages=[page], authenticator=open_house(queue))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await see(client, "/", 404)
        assert "nav-zeke" not in (await client.get("/dashboard/")).text
    await queue.close()
