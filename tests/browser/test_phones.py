"""Pages on a phone: lists precede their filters, and no element is clipped or alone on a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.devices import PHONE, box

if TYPE_CHECKING:
    from tests.browser.conftest import Visits
    from tests.browser.house import House


@pytest.mark.parametrize("scripts", [True, False])
def test_filters_are_collapsed_on_a_phone_and_show_their_values(
    house: House, visits: Visits, *, scripts: bool
) -> None:
    house.send("parcel")
    page = visits.user(**PHONE, java_script_enabled=scripts)
    page.goto("jobs")
    expect(page.locator("#jobs tbody tr").first).to_be_in_viewport()
    field = page.get_by_label("Contains")
    expect(field).to_be_hidden()
    page.get_by_text("Filters").click()
    field.fill("nothing-has-this")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#empty")).to_be_in_viewport()
    expect(page.locator("#set")).to_have_text("nothing-has-this")
    expect(field).to_be_hidden()


def test_invalid_filter_is_shown_on_a_phone(house: House, visits: Visits) -> None:
    page = visits.user(**PHONE)
    page.goto("jobs?from=yesterday")
    expect(page.locator("#wrong-from")).to_be_visible()


def test_changed_list_shows_a_note_without_moving_rows(house: House, visits: Visits) -> None:
    house.send("parcel")
    page = visits.user(**PHONE)
    page.goto("jobs")
    row = page.locator("#jobs tbody tr").first
    page.get_by_role("checkbox", name="Select parcel").check()
    expect(page.locator("#chosen")).to_have_text("1 selected")
    above, there = box(page.locator(".bulk")), box(row)
    assert there["y"] - above["y"] - above["height"] < 40  # absent parts take no space
    house.send("parcel")
    expect(page.locator("#stale")).to_be_in_viewport(ratio=1)
    assert box(row) == there
    page.get_by_role("button", name="Show the changes").click()
    expect(page.locator("#jobs tbody tr")).to_have_count(2)


@pytest.mark.parametrize("scripts", [True, False])
def test_filters_are_visible_on_a_desktop(house: House, visits: Visits, *, scripts: bool) -> None:
    page = visits.user(java_script_enabled=scripts)
    page.goto("jobs")
    expect(page.get_by_label("Contains")).to_be_visible()
    expect(page.get_by_text("Filters")).to_be_hidden()
    page.get_by_label("Contains").fill("x")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_label("Contains")).to_have_value("x")


def test_copy_button_is_beside_its_id(house: House, visits: Visits) -> None:
    page = visits.user(**PHONE)
    page.goto(f"jobs/{house.send('parcel')}")
    button = page.get_by_role("button", name="Copy the id")
    expect(button).to_be_visible()
    text, copy = box(page.locator("#job-id")), box(button)
    assert copy["x"] >= text["x"] + text["width"]
    # The id itself is on one line.
    assert text["height"] < copy["height"]
