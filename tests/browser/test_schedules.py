"""Schedules: creating one, with its mistakes, running it now, pausing, editing and deleting it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.browser.house import House


def test_schedule_is_created_triggered_paused_edited_and_deleted(house: House, page: Page) -> None:
    house.work()
    page.goto("schedules")
    expect(page.get_by_role("heading", name="No schedules yet")).to_be_visible()
    page.get_by_role("link", name="New schedule").click()
    page.get_by_label("Name").fill("morning-letter")
    page.get_by_label("Task").select_option("letter")
    page.get_by_label("Cron expression").fill("61 * * * *")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Payload, as JSON").fill('{"to": "Bert", "copies": 0}')
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#wrong-cron")).to_contain_text("61")
    expect(page.get_by_label("Cron expression")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Berlin")

    page.get_by_label("Cron expression").fill("0 7 * * *")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#wrong-payload")).to_contain_text("copies")
    page.get_by_label("Payload, as JSON").fill('{"to": "Bert"}')
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#note")).to_have_text("Schedule morning-letter saved")
    card = page.locator("[data-schedule=morning-letter]")
    expect(card).to_contain_text("0 7 * * * in Europe/Berlin")
    expect(card.locator(".ticks tbody tr").first).to_contain_text(re.compile(r"07:00:00 CES?T"))

    card.get_by_role("button", name="Run now").click()
    expect(page.locator("#note")).to_have_text("Job of morning-letter sent")
    expect(page.locator("#state .badge").first).to_have_attribute("data-state", "completed")
    expect(page.locator("#payload")).to_contain_text("Bert")

    page.goto("schedules")
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".badge")).to_contain_text("Paused")
    expect(card).to_contain_text("it sends no jobs")
    card.get_by_role("button", name="Resume").click()
    expect(page.locator("#note")).to_have_text("morning-letter is resumed")
    expect(card.locator(".ticks")).to_be_visible()

    card.get_by_role("link", name="Edit").click()
    expect(page.get_by_label("Name")).to_have_attribute("readonly", "")
    page.get_by_label("Cron expression").fill("0 8 * * *")
    page.get_by_label("Description").fill("Later than it was")
    page.get_by_role("button", name="Save").click()
    expect(card).to_contain_text("Later than it was")
    expect(card).to_contain_text("0 8 * * *")

    card.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading", name="Delete morning-letter?")).to_be_visible()
    page.get_by_role("link", name="Keep it").click()
    card.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#note")).to_have_text("Schedule morning-letter deleted")
    expect(page.get_by_role("heading", name="No schedules yet")).to_be_visible()


def test_tick_of_a_schedule_is_shown(house: House, page: Page) -> None:
    house.do(house.queue.schedules.put("each-second", "* * * * * *", task="letter", payload={"to": "Bert"}))
    page.goto("schedules")
    card = page.locator("[data-schedule=each-second]")
    expect(card).to_be_visible()
    page.goto("jobs")
    expect(page.locator("#jobs")).to_have_count(0)
    house.work()
    expect(page.locator("#jobs [data-state=completed]").first).to_be_visible()
