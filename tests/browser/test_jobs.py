"""Sending a job, seeing it run and end, and running one again, without reloading the page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.browser.conftest import Visits
    from tests.browser.house import House

MARK = "window.sameDocument = true"
SAME = "window.sameDocument === true"


def test_job_sent_by_the_form_completes_without_reloading(house: House, page: Page) -> None:
    house.work()
    page.goto("trigger?task=book")
    page.get_by_label("Payload, as JSON").fill(json.dumps({"steps": "all"}))
    page.get_by_role("button", name="Send", exact=True).click()
    wrong = page.locator("[data-field=steps]")
    expect(wrong).to_contain_text("steps")
    expect(wrong).to_contain_text("list")
    # What was written is still there, to be mended.
    expect(page.get_by_label("Payload, as JSON")).to_have_value(json.dumps({"steps": "all"}))
    expect(page.get_by_label("Payload, as JSON")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Payload, as JSON").fill(json.dumps({"steps": ["set", "print", "bind", "pack"]}))
    page.get_by_role("button", name="Send", exact=True).click()

    expect(page.locator("#note")).to_have_text("Job sent")
    page.evaluate(MARK)
    badge, bar, log = page.locator("#state .badge").first, page.locator("#bar"), page.locator("#log li")
    expect(badge).to_have_attribute("data-state", "active")
    expect(page.get_by_role("button", name="Cancel")).to_be_enabled()
    for number, step in enumerate(("set", "print", "bind", "pack"), 1):
        house.let()
        if number < 4:
            expect(bar).to_have_attribute("value", str(number / 4))
            expect(page.get_by_text(f"{number * 25} %")).to_be_visible()
        expect(log).to_have_count(number)
        expect(log.last).to_contain_text(step)
    expect(badge).to_have_attribute("data-state", "completed")
    expect(page.locator("#output")).to_have_text(re.compile(r'"steps": 4'))
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(log).to_have_count(4)
    assert page.evaluate(SAME)


def test_invalid_json_of_a_payload_is_reported_with_its_position(page: Page) -> None:
    page.goto("trigger?task=letter")
    page.get_by_label("Payload, as JSON").fill('{\n  "to": Bert\n}')
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Line 2, column 9")


def test_task_is_chosen_from_the_list(page: Page) -> None:
    page.goto("trigger")
    page.get_by_label("Task").select_option("letter")
    expect(page).to_have_url(re.compile(r"task=letter"))
    expect(page.get_by_role("row", name=re.compile(r"^to\b.*required"))).to_contain_text("Whom it is for")


def test_failed_job_shows_why_and_is_retried(house: House, page: Page) -> None:
    house.work()
    job_id = house.send("page")
    page.goto(f"jobs/{job_id}")
    page.evaluate(MARK)
    badge = page.locator("#state .badge").first
    expect(badge).to_have_attribute("data-state", "failed")
    expect(page.locator("#error")).to_contain_text("the press is jammed")
    expect(page.locator("#error-text")).to_contain_text("Traceback (most recent call last)")
    assert page.evaluate(SAME)

    house.press.jammed = False
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#note")).to_have_text("The job is queued again")
    expect(badge).to_have_attribute("data-state", "completed")
    expect(page.locator("#timeline")).to_contain_text("Attempt 1 failed")
    expect(page.locator("#timeline")).to_contain_text("Attempt 2 completed")
    expect(page.locator("#error")).to_have_count(0)


def test_time_of_a_running_job_is_updated(house: House, page: Page) -> None:
    house.work()
    job_id = house.send("book")
    page.goto(f"jobs/{job_id}")
    running = page.locator("#state [data-since]").first
    expect(running).to_have_text(re.compile(r"^[2-9]\.\d s$"))
    for place in ("dl", "#timeline"):
        expect(page.locator(f"#state {place} [data-since]")).to_have_text(re.compile(r"^[2-9]\.\d s$"))


def test_running_job_is_cancelled_after_confirmation(house: House, page: Page) -> None:
    house.work()
    job_id = house.send("book")
    page.goto(f"jobs/{job_id}")
    badge = page.locator("#state .badge").first
    expect(badge).to_have_attribute("data-state", "active")
    asked: list[str] = []

    def refuse(dialog: object) -> None:
        asked.append(dialog.message)  # type: ignore[attr-defined]
        dialog.dismiss()  # type: ignore[attr-defined]

    page.once("dialog", refuse)
    page.get_by_role("button", name="Cancel").click()
    assert asked == ["Cancel this job?"]
    expect(badge).to_have_attribute("data-state", "active")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(badge).to_have_attribute("data-state", "cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(badge).to_have_attribute("data-state", "active")


def test_job_is_sent_again_with_its_payload(house: House, page: Page) -> None:
    job_id = house.send("letter", {"to": "Bert", "copies": 3})
    page.goto(f"jobs/{job_id}")
    page.get_by_role("link", name="Send again…").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#note")).to_have_text("Job sent")
    expect(page.locator("#payload")).to_contain_text('"copies": 3')
    assert str(job_id) not in page.url


def test_id_is_copied(house: House, visits: Visits) -> None:
    page = visits.user(permissions=["clipboard-read", "clipboard-write"])
    job_id = house.send("letter", {"to": "Bert"})
    page.goto(f"jobs/{job_id}")
    page.get_by_role("button", name="Copy the id").click()
    expect(page.locator("#said")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == str(job_id)
