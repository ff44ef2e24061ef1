"""Finding jobs, changing many at once, and letting a queue rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from uuid import UUID

    from tests.browser.house import House


def shows(page: Page, *wanted: UUID, beside: int = 0) -> None:
    """Wait until the list has these jobs in this order, after the given number of others."""
    rows = page.locator("#jobs tbody tr")
    expect(rows).to_have_count(beside + len(wanted))
    for place, one in enumerate(wanted, beside):
        expect(rows.nth(place)).to_have_attribute("data-job", str(one))


@pytest.fixture
def mixed(house: House) -> dict[str, UUID]:
    """One job of each kind, the oldest first."""
    house.work()
    made = {
        "failed": house.send("page"),
        "completed": house.send("letter", {"to": "Bert", "copies": 3}),
        "other": house.send("letter", {"to": "Carl"}),
    }
    for one in made.values():
        house.ended(one)
    made["waiting"] = house.send("parcel")
    made["cancelled"] = house.send("parcel")
    assert house.do(house.queue.cancel(made["cancelled"]))
    return made


def test_jobs_are_filtered_by_queue_status_and_text(mixed: dict[str, UUID], page: Page) -> None:
    page.goto("jobs")
    shows(page, *reversed(mixed.values()))
    page.get_by_label("Queue", exact=True).select_option("letter")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("task=letter"))
    shows(page, mixed["other"], mixed["completed"])
    page.get_by_label("Contains").fill("Bert")
    page.get_by_label("Contains").press("Enter")
    expect(page).to_have_url(re.compile("text=Bert"))
    shows(page, mixed["completed"])
    page.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(re.compile("/jobs$"))
    for status in ("Failed", "Cancelled"):
        page.get_by_role("search").get_by_text(status, exact=True).click()
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("status=FAILED&status=CANCELLED"))
    shows(page, mixed["cancelled"], mixed["failed"])
    expect(page.get_by_role("checkbox", name="Failed")).to_be_checked()
    expect(page.get_by_role("checkbox", name="Queued")).not_to_be_checked()


def test_jobs_are_filtered_by_time_and_an_empty_result_is_reported(
    mixed: dict[str, UUID], page: Page
) -> None:
    page.goto("jobs")
    page.get_by_label("Created from (UTC)").fill("2099-01-01T00:00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("heading", name="No matching jobs")).to_be_visible()
    page.get_by_label("Created from (UTC)").fill("2001-01-01T00:00:00")
    page.get_by_label("Created before (UTC)").fill("2099-01-01T00:00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    shows(page, *reversed(mixed.values()))
    # A form can't send an invalid time, but a URL can.
    page.goto("jobs?from=yesterday")
    expect(page.get_by_role("alert")).to_have_text("Must be a point in time, such as 2026-01-31T12:00")
    expect(page.get_by_label("Created from (UTC)")).to_have_attribute("aria-invalid", "true")


def test_long_list_is_paged_with_its_filter_despite_new_jobs(house: House, page: Page) -> None:
    sent = [house.send("parcel") for _ in range(60)][::-1]
    page.goto("jobs?task=parcel")
    shows(page, *sent[:25])
    house.send("parcel")
    page.get_by_role("link", name="Older").click()
    expect(page).to_have_url(re.compile("cursor="))
    shows(page, *sent[25:50])
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    shows(page, *sent[50:])
    page.get_by_role("link", name="Newest").click()
    expect(page.get_by_role("link", name="Newest")).to_have_count(0)
    shows(page, *sent[:24], beside=1)


def test_chosen_columns_and_number_of_rows_persist(house: House, page: Page) -> None:
    for _ in range(30):
        house.send("parcel")
    page.goto("jobs")
    expect(page.get_by_role("columnheader", name="Priority")).to_have_count(0)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("checkbox", name="Priority").check()
    page.get_by_role("checkbox", name="Payload").uncheck()
    page.get_by_label("Rows").select_option("50")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("columnheader", name="Priority")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Payload")).to_have_count(0)
    expect(page.locator("#jobs tbody tr")).to_have_count(30)


def test_list_is_updated_but_not_during_a_selection(house: House, page: Page) -> None:
    first = house.send("parcel")
    page.goto("jobs")
    rows = page.locator("#jobs tbody tr")
    expect(rows).to_have_count(1)
    house.send("parcel")
    expect(rows).to_have_count(2)
    page.get_by_role("checkbox", name=f"Select parcel …{str(first)[-8:]}").check()
    expect(page.locator("#chosen")).to_have_text("1 selected")
    house.send("parcel")
    expect(page.locator("#stale")).to_be_visible()
    expect(rows).to_have_count(2)
    expect(page.get_by_role("checkbox", name=f"Select parcel …{str(first)[-8:]}")).to_be_checked()
    page.get_by_role("button", name="Show the changes").click()
    expect(rows).to_have_count(3)
    expect(page.locator("#stale")).to_be_hidden()


def test_jobs_that_are_ticked_are_cancelled_and_resumed_once_that_is_confirmed(
    house: House, page: Page
) -> None:
    sent = [house.send("parcel") for _ in range(3)]
    page.goto("jobs")
    page.get_by_role("checkbox", name="Select all on this page").check()
    expect(page.locator("#chosen")).to_have_text("3 selected")
    page.get_by_role("checkbox", name=f"…{str(sent[0])[-8:]}").uncheck()
    expect(page.locator("#chosen")).to_have_text("2 selected")
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("heading", name="Cancel 2 jobs?")).to_be_visible()
    expect(page.locator("#confirm")).to_contain_text("can be cancelled. Running jobs")
    page.get_by_role("link", name="Keep them").click()
    expect(page.locator("[data-state=created]")).to_have_count(3)

    page.get_by_role("checkbox", name="Select all on this page").check()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.locator("#note")).to_contain_text("3 jobs cancelled.")
    expect(page.locator("[data-state=cancelled]")).to_have_count(3)

    page.get_by_role("checkbox", name="all matching", exact=True).check()
    expect(page.locator("#chosen")).to_have_text("All matching jobs")
    page.get_by_role("button", name="Resume…").click()
    page.get_by_role("button", name="Resume them").click()
    expect(page.locator("#note")).to_contain_text("3 jobs resumed")
    expect(page.locator("[data-state=created]")).to_have_count(3)


def test_selected_failed_jobs_are_retried_and_the_others_reported(house: House, page: Page) -> None:
    house.work()
    for one in [house.send("page"), house.send("page"), house.send("letter", {"to": "Bert"})]:
        house.ended(one)
    house.press.jammed = False
    page.goto("jobs")
    page.get_by_role("checkbox", name="Select all on this page").check()
    page.get_by_role("button", name="Retry…").click()
    expect(page.locator("#confirm")).to_contain_text("2 of them can be retried; the")
    page.get_by_role("button", name="Retry them").click()
    expect(page.locator("#note")).to_contain_text("2 jobs retried; 1 not: 1 not failed.")
    expect(page.locator("#jobs [data-state=completed]")).to_have_count(3)


def test_jobs_of_a_paused_queue_wait_until_it_is_resumed(house: House, page: Page) -> None:
    house.work()
    page.goto("queues")
    row = page.locator("[data-queue=letter]")
    row.get_by_role("button", name="Pause letter").click()
    expect(page.locator("#note")).to_contain_text("letter is paused")
    expect(row.get_by_text("Paused")).to_be_visible()
    waits = house.send("letter", {"to": "Bert"})
    other = house.send("words", {"text": "hello"})
    house.ended(other)  # the worker has looked for work since, and took only this
    page.goto(f"jobs/{waits}")
    badge = page.locator("#state .badge").first
    expect(badge).to_have_attribute("data-state", "created")
    page.goto("")
    expect(page.locator("#paused")).to_contain_text("letter")
    page.goto("queues")
    expect(row.locator("[data-label=Waiting]")).to_have_text("1")
    row.get_by_role("button", name="Resume letter").click()
    expect(row.locator("[data-label=Waiting]")).to_have_text("0")
    expect(row.locator("[data-label=Completed]")).to_have_text("1")
    page.goto(f"jobs/{waits}")
    expect(badge).to_have_attribute("data-state", "completed")


def test_workers_page_shows_active_jobs_and_is_updated(house: House, page: Page) -> None:
    page.goto("workers")
    expect(page.get_by_role("heading", name="No workers are running")).to_be_visible()
    house.work()
    card = page.locator("[data-worker]")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("letter")
    held = house.send("book")
    expect(card.get_by_role("link", name=f"…{str(held)[-8:]}")).to_be_visible()
    house.let(3)
    expect(card.get_by_role("link", name=f"…{str(held)[-8:]}")).to_have_count(0)


def test_overview_is_updated(house: House, page: Page) -> None:
    page.goto("")
    expect(page.locator("#no-workers")).to_be_visible()
    house.work()
    expect(page.locator("#no-workers")).to_have_count(0)
    house.send("page")
    expect(page.locator("#tile-failed b")).to_have_text("1")
    expect(page.locator("#failures")).to_contain_text("the press is jammed")
    house.send("letter", {"to": "Bert"})
    expect(page.locator("#tile-completed b")).to_have_text("1")
    house.send("parcel")
    expect(page.locator("#backlog")).to_contain_text("parcel")
