"""Users without permission, without scripts, and with input that would be a script elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from tests.browser.devices import PHONE, WIDER
from zeke_queue.storage.access import Scope

if TYPE_CHECKING:
    from tests.browser.conftest import Visits
    from tests.browser.house import House

HOSTILE: Final = (
    "<script>window.run=1</script><img src=x onerror='window.run=1'>"
    "\"><svg onload=window.run=1>' {{7*7}} javascript:run=1 \u202eright to left\u2066 " + "W" * 400
)

# Users that may only read


def test_read_scope_shows_everything_and_disables_changes(house: House, visits: Visits) -> None:
    house.work()
    failed, running = house.send("page"), house.send("book")
    house.ended(failed)
    house.do(house.queue.schedules.put("daily", "0 7 * * *", task="page"))
    page = visits.user(Scope.READ, name="Rita")
    buttons = {
        f"jobs/{failed}": ["Retry", "Send again…"],
        f"jobs/{running}": ["Cancel", "Send again…"],
        "jobs": ["Cancel…", "Retry…", "Resume…"],
        "queues": ["Pause page"],
        "schedules": ["New schedule", "Run now", "Pause"],
        "schedules/edit": ["Save"],
        "schedules/delete?name=daily": ["Delete"],
        "trigger?task=letter": ["Send"],
    }
    for path, names in buttons.items():
        page.goto(path)
        for name in names:
            button = page.get_by_role("button", name=name, exact=True)
            expect(button).to_be_disabled()
            assert "Your key may" in (button.get_attribute("title") or ""), (path, name)


def test_trigger_scope_sends_but_changes_nothing_else(house: House, visits: Visits) -> None:
    page = visits.user(Scope.TRIGGER, name="Sam")
    page.goto("trigger?task=letter")
    page.get_by_label("Payload, as JSON").fill('{"to": "Bert"}')
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#note")).to_have_text("Job sent")
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()


# Those whose browser runs no scripts


def test_everything_but_what_moves_by_itself_works_without_scripts(house: House, visits: Visits) -> None:
    house.work()
    _, text = house.key()
    page = visits.stranger(java_script_enabled=False)
    page.goto("queues")
    page.get_by_label("API key").fill(text)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()

    page.get_by_role("button", name="Pause letter", exact=True).click()
    expect(page.locator("#note")).to_contain_text("letter is paused")
    page.get_by_role("button", name="Resume letter", exact=True).click()
    expect(page.locator("#note")).to_contain_text("letter is resumed")

    page.get_by_role("link", name="Send a job").click()
    page.get_by_label("Task").select_option("page")
    page.get_by_role("button", name="Load task").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#note")).to_have_text("Job sent")
    job_id = page.locator("#job-id").inner_text()
    house.ended(UUID(job_id))
    page.reload()
    expect(page.locator("#state .badge").first).to_have_attribute("data-state", "failed")
    house.press.jammed = False
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#note")).to_have_text("The job is queued again")

    page.goto("jobs")
    page.get_by_role("checkbox", name="Select page").check()
    page.get_by_role("button", name="Retry…").click()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#note")).to_be_visible()
    # What only a script can do is not offered.
    expect(page.locator("#theme, #keys, .copy").locator("visible=true")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Signed out")).to_be_visible()


# Input that would be a script elsewhere


@pytest.fixture
def hostile(house: House) -> list[str]:
    """A house in which every text is hostile; returns where pages with it are."""
    house.work()
    sent = [house.send("words", {"text": HOSTILE, "fail": fail}) for fail in (False, True)]
    hidden = house.send("letterhead", {"text": HOSTILE})
    for one in (*sent, hidden):
        house.ended(one)
    key = house.do(house.jobs.send(HOSTILE[:200], data=json.dumps({HOSTILE: HOSTILE})))
    named = house.send("parcel", singleton_key=HOSTILE[:200])
    house.do(
        house.queue.schedules.put(
            "odd", "0 7 * * *", task="words", payload={"text": HOSTILE}, description=HOSTILE
        )
    )
    return [
        "",
        "jobs",
        "jobs?column=key&column=payload&column=output",
        *(f"jobs/{one}" for one in (*sent, hidden, key, named)),
        "queues",
        "schedules",
        "schedules/edit?name=odd",
        "workers",
        f"trigger?like={sent[0]}",
    ]


@pytest.mark.parametrize("device", ["desk", "phone"])
def test_foreign_text_runs_no_script_and_breaks_no_page(
    house: House, visits: Visits, hostile: list[str], device: str
) -> None:
    how = PHONE if device == "phone" else {"viewport": {"width": 1280, "height": 800}}
    page = visits.user(name=HOSTILE[:100], **how)
    for path in hostile:
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("window.run") is None, path
        assert page.evaluate(WIDER) == [], path
        assert page.locator("main img, main script, main svg[onload]").count() == 0, path
        if path == "queues":
            # A long name leaves room for the rest of its table.
            assert page.evaluate("document.querySelector('.scroll').scrollWidth <= innerWidth")
            expect(page.get_by_role("button", name="Pause letter", exact=True)).to_be_visible()


# The positions of a text's characters, from left to right.
PLACES = """(element) => {
  const text = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode(), range = new Range();
  return [...text.data].map((_, at) => {
    range.setStart(text, at);
    range.setEnd(text, at + 1);
    return range.getBoundingClientRect().left;
  });
}"""


def test_text_after_direction_overrides_is_shown_in_order(house: House, page: Page) -> None:
    house.do(house.jobs.send("abc\u202edef", data='"x\u202ey"'))
    page.goto("jobs")
    page.get_by_role("checkbox", name="Select all on this page").check()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_text("Show jobs").click()
    places = page.locator("#confirm .id").evaluate(PLACES)
    assert len(places) == 9
    assert places == sorted(places)


def test_hostile_text_of_a_stream_runs_no_script(house: House, visits: Visits) -> None:
    page = visits.user()
    job_id = house.send("words", {"text": HOSTILE, "fail": True})
    page.goto(f"jobs/{job_id}")
    house.work()
    expect(page.locator("#state .badge").first).to_have_attribute("data-state", "failed")
    expect(page.locator("#log")).to_contain_text("<script>window.run=1</script>")
    expect(page.locator("#error")).to_contain_text("<img src=x")
    expect(page.locator("#progress")).to_contain_text("{{7*7}}")
    assert page.evaluate("window.run") is None


def test_hostile_text_in_a_form_is_returned_unchanged(page: Page) -> None:
    page.goto("trigger?task=letter")
    field = page.get_by_label("Payload, as JSON")
    field.fill("</textarea>" + HOSTILE)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(field).to_have_value("</textarea>" + HOSTILE)
    page.goto("jobs?task=%3Cscript%3Ewindow.run=1%3C/script%3E&text=%22%3E%3Cimg%20src=x%20onerror=run=1%3E")
    expect(page.get_by_label("Contains")).to_have_value('"><img src=x onerror=run=1>')
    assert page.evaluate("window.run") is None
