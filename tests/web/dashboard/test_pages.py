"""Every page: empty, filled, its headers and files, its mounting in a host, and pages added by packages."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.responses import Response

import zeke_queue.web.dashboard
from tests.cases import check_each, check_each_async
from tests.conformance.driver import Driver
from tests.web.conftest import Web, on_both_storages, open_house
from tests.web.dashboard.conftest import Browser
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import JobEvent, RowState
from zeke_queue.web import WebSettings, create_app
from zeke_queue.web.dashboard import Page, PageRequest, View

HERE = Path(zeke_queue.web.dashboard.__file__).parent
PAGES = ["/", "/jobs", "/queues", "/schedules", "/workers", "/trigger", "/schedules/edit"]


async def test_empty_pages_say_what_to_do(browser: Browser) -> None:
    hints = {"/jobs": "No jobs yet", "/schedules": "No schedules yet", "/workers": "zeke worker"}

    async def check(path: str) -> None:
        page = await browser.see(path)
        assert page.startswith("<!doctype html>")
        assert hints.get(path, "") in page

    await check_each_async(PAGES, check)


@on_both_storages
async def test_overview_counts_jobs(browser: Browser, jobs: Driver) -> None:
    await jobs.ended(RowState.COMPLETED, "mail")
    await jobs.ended(RowState.FAILED, "mail")
    await jobs.running("mail")
    await jobs.send("mail")
    page = await browser.see("/")
    assert tiles(page) == {"waiting": "1", "executing": "1", "completed": "1", "failed": "1"}
    assert "1 jobs completed within 1 hour" in page
    assert "ValueError: boom" in page


async def test_overview_covers_the_chosen_span(browser: Browser, jobs: Driver) -> None:
    await jobs.ended(RowState.COMPLETED, "mail")
    jobs.clock.advance(2 * 3600)
    for span, completed in {"15m": "0", "1h": "0", "24h": "1", "7d": "1", "never": "0"}.items():
        assert tiles(await browser.see(f"/?span={span}"))["completed"] == completed, span
    assert "<span>Completed in 24 hours</span>" in await browser.see("/?span=24h")
    assert "<span>Failed in 24 hours</span>" in await browser.see("/?span=24h")


def tiles(page: str) -> dict[str, str]:
    return dict(re.findall(r'id="tile-(\w+)">.*?<b>(.*?)</b>', page, re.DOTALL))


async def test_queues_show_their_counts_and_limits(browser: Browser, jobs: Driver, queue: Queue) -> None:
    await parts_of(queue).declare()
    await jobs.send("mail")
    page = await browser.see("/queues")
    (row,) = re.findall(r'<tr [^>]*data-queue="mail">.*?</tr>', page, re.DOTALL)
    assert "Send a mail." in row
    assert 'data-label="Limit">5<' in row
    assert "status=QUEUED" in row


@on_both_storages
async def test_workers_show_what_they_hold(browser: Browser, jobs: Driver) -> None:
    held = await jobs.running("mail")
    await jobs.heartbeat()
    page = await browser.see("/workers")
    assert str(held.id) in page.partition('id="workers"')[2]
    jobs.clock.advance(60)
    assert "Lost" in await browser.see("/workers")


@on_both_storages
async def test_job_shows_its_events_attempts_and_children(browser: Browser, jobs: Driver) -> None:
    job = await jobs.running("break", data='{"a": 1}')
    await jobs.storage.append_events(
        [
            JobEvent(job.id, 1, "log", '{"level": "info", "message": "half of it", "page": 7}'),
            JobEvent(job.id, 1, "progress", '{"value": 0.5, "message": "page 7"}'),
        ]
    )
    child = await jobs.send("mail", parent=job.id)
    await jobs.fail(job, output='{"type": "Oops", "message": "no", "traceback": "line 1\\nline 2"}')
    page = await browser.see(f"/jobs/{job.id}")
    for shown in ("half of it", "50 %", "page 7", "Attempt 1 failed", "line 1\nline 2", str(child)):
        assert shown in page, shown
    assert "select * from pgboss.job where id = &#39;" in page
    assert 'id="retry"' in page
    assert 'id="cancel"' not in page
    assert str(job.id) in await browser.see(f"/jobs/{child}")


@on_both_storages
async def test_archived_job_is_shown_with_its_table(browser: Browser, jobs: Driver) -> None:
    job_id = await jobs.ended(RowState.FAILED)
    jobs.clock.advance(10)
    assert await jobs.storage.archive(1, 10) == 1
    page = await browser.see(f"/jobs/{job_id}")
    assert "pgboss.archive" in page
    assert 'id="retry"' not in page
    assert str(job_id) in await browser.see("/jobs?archived=1")
    assert str(job_id) not in await browser.see("/jobs")


async def test_missing_page_or_object_is_reported_as_a_page(browser: Browser) -> None:
    async def check(path: str) -> None:
        page = await browser.see(path, 404)
        assert "<h1>Not found</h1>" in page
        assert 'id="nav"' in page

    missing = ["/jobs/42", "/jobs/0190163d-8694-739b-aea5-966c26f8ad91", "/schedules/edit?name=x"]
    await check_each_async(["/nothing", *missing], check)
    assert "has no page" in await browser.see("/nothing", 404)
    schedule = await browser.see("/schedules/edit?name=x", 404)
    assert "No schedule has the name &#39;x&#39;; it may have been deleted" in schedule
    assert "zeke schedules" not in schedule, "advice for a shell"
    assert "does not accept" in await browser.see("/sign-out", 405)


async def test_trigger_form_is_filled_with_an_example(browser: Browser) -> None:
    page = await browser.see("/trigger?task=mail")
    assert "&#34;copies&#34;: 1" in page
    assert "Send a mail." in page
    assert 'id="fields"' not in await browser.see("/trigger?task=break")
    assert "is not in the catalog" in await browser.see("/trigger?task=nobody")


# The frame


async def test_content_security_policy_allows_nothing_from_elsewhere(browser: Browser) -> None:
    async def check(path: str) -> None:
        answer = await browser.client.get(f"/dashboard{path}")
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?! defer src=)|<style|\sstyle=|\son\w+=", answer.text)

    await check_each_async([*PAGES, "/sign-in", "/nothing"], check)


async def test_static_files_are_addressed_by_their_content(browser: Browser) -> None:
    page = await browser.see("/")
    paths = re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', page)
    assert len(set(paths)) == 5
    for path in set(paths):
        answer = await browser.client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert sha256(answer.content).hexdigest().startswith(path.split("/")[3])
    stale = await browser.client.get("/dashboard/static/000000000000/app.css")
    assert stale.headers["cache-control"] == "no-store"
    for outside in ("..%2F..%2Fpage.py", "vendor/README.md", "nothing.css"):
        assert (await browser.client.get(f"/dashboard/static/0/{outside}")).status_code == 404


def test_vendored_files_have_the_published_checksums() -> None:
    vendor = HERE / "static" / "vendor"
    told = dict(
        re.findall(
            r"^\| `([\w.]+)` \|.*`([0-9a-f]{64})` \|$", (vendor / "README.md").read_text(), re.MULTILINE
        )
    )
    assert set(told) == {path.name for path in vendor.glob("*.js")}
    assert {path.name: sha256(path.read_bytes()).hexdigest() for path in vendor.glob("*.js")} == told
    assert {path.name for path in vendor.glob("*.LICENSE")} == {"htmx.LICENSE", "sse.LICENSE"}


def test_own_files_name_no_other_host() -> None:
    ours = [*HERE.glob("templates/*.html"), *HERE.glob("static/*")]
    texts = {path.name: path.read_text() for path in ours if path.is_file()}
    assert texts["app.css"]
    found = {name: re.findall(r"(?:https?:)?//[a-z][\w.-]+", text) for name, text in texts.items()}
    assert {name: urls for name, urls in found.items() if urls} == {"icon.svg": ["http://www.w3.org"]}


async def test_dashboard_works_under_any_prefix(call: Web, queue: Queue) -> None:
    host = FastAPI()
    host.mount("/in house", create_app(queue, WebSettings(), authenticator=open_house(queue)))
    async with type(call)(host, queue).client() as client:
        begin = await client.get("/in%20house/")
        assert begin.headers["location"] == "/in%20house/dashboard/"
        page = await Browser(client, "/in%20house/dashboard").see("/jobs")
        links = re.findall(r'(?:src|href|action|hx-get|sse-connect)="([^"]+)"', page)
        assert [link for link in links if not link.startswith(("/in%20house/dashboard/", "#"))] == []
        for link in set(re.findall(r'<a [^>]*href="(/[^"]+)"', page)):
            assert (await client.get(link)).status_code == 200, link


async def test_dashboard_can_be_switched_off(call: Web) -> None:
    web = call.with_app(WebSettings(api_dashboard=False))
    for path in ("/", "/dashboard/", "/dashboard/jobs"):
        assert (await web("GET", path)).status_code == 404, path


async def test_chosen_theme_is_in_the_html(browser: Browser) -> None:
    assert "data-theme" not in (await browser.see("/")).partition("<head>")[0]
    browser.client.cookies.set("zeke_theme", "dark")
    assert 'data-theme="dark"' in (await browser.see("/")).partition("<head>")[0]
    browser.client.cookies.set("zeke_theme", 'x"onload="')
    assert "onload" not in await browser.see("/")


# Further pages


async def test_application_adds_its_own_pages(call: Web, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "till.html").write_text(
        '{% extends "base.html" %}{% block title %}Till{% endblock %}{% block content %}<h1>{{ sum }}</h1>'
        '<form method="post"><input name="csrf" value="{{ csrf }}"></form>'
        "{% endblock %}"
    )

    async def till(request: PageRequest) -> Response:
        return request.page("shop/till.html", sum="<7>")

    async def empty(request: PageRequest) -> Response:
        return request.go(request.url("shop", ""), "It is empty")

    page = Page("shop", "Till", [View("/", till), View("/empty", empty, changes=True)], tmp_path, key="m")
    async with call.with_app(pages=[page]).client() as client:
        browser = Browser(client)
        assert 'href="/dashboard/shop/" data-key="m" id="nav-shop"' in await browser.see("/")
        shown = await browser.see("/shop/")
        assert "&lt;7&gt;" in shown
        assert 'id="nav-shop" aria-current="page"' in shown
        assert await browser.note("/shop/empty") == "It is empty"


def test_invalid_slug_of_a_page_is_rejected() -> None:
    def check(slug: str) -> None:
        with pytest.raises(InvalidOptionError, match="slug"):
            Page(slug, "Mine", [])

    check_each(["jobs", "static", "", "A", "a/b", "x" * 41], check)


# Why a button is disabled, which queues have no worker, the effect of a pause


STYLES = Path(zeke_queue.web.dashboard.__file__).parent / "static" / "app.css"

READ_ONLY_REASON = "Your key may only read: changes need the scope jobs.admin"
NO_TRIGGER_REASON = "Your key may not send jobs: that needs the scope jobs.trigger"


def reasons(page: str) -> set[str]:
    """Return why a page's buttons are disabled, each read where its aria-describedby points."""
    off = re.findall(r"<button[^>]* disabled[^>]*>", page)
    assert off
    named = [re.search(r'aria-describedby="([\w-]+)"', button) for button in off]
    assert all(named), off
    said = {one[1]: re.findall(rf'<p [^>]*id="{one[1]}"[^>]*>([^<]*)</p>', page) for one in named if one}
    assert all(len(texts) == 1 for texts in said.values()), said
    return {texts[0] for texts in said.values()}


async def test_page_gives_the_reason_for_its_disabled_buttons(
    reader: Browser, admin: Browser, jobs: Driver, queue: Queue
) -> None:
    await queue.schedules.put("daily", "0 7 * * *", task="twice")
    job_id = await jobs.send("mail")

    async def check(path: str, *why: str) -> None:
        page = await reader.see(path)
        assert reasons(page) == set(why)
        assert all(page.count(one + "</p>") == 1 for one in why)
        assert "Your key may" not in await admin.see(path)

    cases = [
        ("/queues", READ_ONLY_REASON),
        ("/schedules", READ_ONLY_REASON),
        ("/schedules/edit", READ_ONLY_REASON),
        ("/schedules/delete?name=daily", READ_ONLY_REASON),
        ("/trigger?task=mail", NO_TRIGGER_REASON),
        (f"/jobs/{job_id}", READ_ONLY_REASON, NO_TRIGGER_REASON),
    ]
    await check_each_async(cases, check)


async def test_job_with_redacted_parts_says_why_it_is_not_sent_again(admin: Browser, jobs: Driver) -> None:
    job_id = await jobs.send("login", data='{"user": "ada", "password": "x"}')
    (why,) = reasons(await admin.see(f"/jobs/{job_id}"))
    assert why.startswith("Parts of the job")


async def unserved(browser: Browser) -> set[str]:
    rows = re.findall(r'data-queue="(\w+)"(.*?)</tr>', await browser.see("/queues"), re.DOTALL)
    return {name for name, row in rows if "No worker" in row}


async def test_queues_without_a_worker_are_named(browser: Browser, jobs: Driver) -> None:
    await jobs.send("mail")
    await jobs.send("break")
    await jobs.ended(RowState.COMPLETED, "login")
    assert await unserved(browser) == {"mail", "break"}
    # Without any worker the overview shows that instead.
    page = await browser.see("/")
    assert 'id="no-workers"' in page
    assert 'id="unserved"' not in page
    await jobs.heartbeat()
    assert await unserved(browser) == {"break"}
    (named,) = re.findall(r'<p [^>]*id="unserved">(.*?)</p>', await browser.see("/"), re.DOTALL)
    assert re.findall(r"<a [^>]*>(.*?)</a>", named) == ["break"]
    jobs.clock.advance(60)
    assert await unserved(browser) == {"mail", "break"}
    await jobs.heartbeat()
    await jobs.claim("break")
    assert 'id="unserved"' not in await browser.see("/")


async def test_paused_schedule_says_that_it_does_not_catch_up(browser: Browser, queue: Queue) -> None:
    await queue.schedules.put("daily", "0 7 * * *", task="twice")
    assert "run once" in await browser.see("/schedules")
    await queue.schedules.put("daily", "0 7 * * *", task="twice", paused=True)
    page = await browser.see("/schedules")
    assert "run once" not in page
    assert "Paused: it sends no jobs, and ticks during the pause are skipped." in page


def test_colours_have_a_fallback_without_light_dark() -> None:
    styles = STYLES.read_text()
    both = re.findall(r"(--[\w-]+): light-dark\((#\w+|rgb\([^)]*\)),", styles)
    assert len(both) == styles.count("light-dark(#") + styles.count("light-dark(rgb(") - 1
    plain, _, _ = styles.partition("@supports")
    assert both == re.findall(r"(--[\w-]+): (#\w+|rgb\([^)]*\));", plain)
