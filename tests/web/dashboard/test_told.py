"""The texts of pages: why a button is disabled, which queues have no worker, the effect of a pause."""

from __future__ import annotations

import re
from pathlib import Path

import zeke_queue.web.dashboard
from tests.cases import check_each_async
from tests.conformance.driver import Driver
from tests.web.dashboard.conftest import Browser
from zeke_queue.client.queue import Queue
from zeke_queue.model import RowState

STYLES = Path(zeke_queue.web.dashboard.__file__).parent / "static" / "app.css"

ONLY_LOOKS = "Your key may only read: changes need the scope jobs.admin"
SENDS_NONE = "Your key may not send jobs: that needs the scope jobs.trigger"


def reasons(page: str) -> set[str]:
    """Return why a page's buttons are off, each read where its aria-describedby points."""
    off = re.findall(r"<button[^>]* disabled[^>]*>", page)
    assert off
    named = [re.search(r'aria-describedby="([\w-]+)"', button) for button in off]
    assert all(named), off
    said = {one[1]: re.findall(rf'<p [^>]*id="{one[1]}"[^>]*>([^<]*)</p>', page) for one in named if one}
    assert all(len(texts) == 1 for texts in said.values()), said
    return {texts[0] for texts in said.values()}


async def test_page_says_why_its_buttons_are_off(
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
        ("/queues", ONLY_LOOKS),
        ("/schedules", ONLY_LOOKS),
        ("/schedules/edit", ONLY_LOOKS),
        ("/schedules/delete?name=daily", ONLY_LOOKS),
        ("/trigger?task=mail", SENDS_NONE),
        (f"/jobs/{job_id}", ONLY_LOOKS, SENDS_NONE),
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
