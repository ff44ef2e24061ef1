"""Every page, light and dark, on a desktop and on a phone: width, console output, and findings of axe."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.devices import DEVICES, WIDER, faults
from tests.cases import check_each
from zeke_queue.web.dashboard.dashboard import VIEWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.browser.house import House

LOOKS = ("light", "dark-phone")
"""Each colour scheme and each device once, since axe takes a second for a page."""

Sight = tuple[dict[str, "Page"], dict[str, str], Visits]


@pytest.fixture(scope="module")
def sight(chromium: Browser, furnished: tuple[House, dict[str, str]]) -> Iterator[Sight]:
    """A window for each device and colour scheme, and the addresses of pages."""
    house, places = furnished
    visits = Visits(chromium, house)
    yield {name: visits.user(**how) for name, how in DEVICES.items()}, places, visits
    visits.close()


def test_every_route_of_the_dashboard_is_among_the_pages(sight: Sight) -> None:
    _, places, _ = sight
    fragments = {"/live", "/jobs/{job_id}/live", "/jobs/{job_id}/held"}
    paths = {re.sub(r"(?<=^jobs/)[^?]+", "{job_id}", place).partition("?")[0] for place in places.values()}
    assert {f"/{path}" for path in paths} == {view.path for view in VIEWS if not view.changes} - fragments


def test_axe_finds_no_fault_in_any_page(sight: Sight) -> None:
    windows, places, _ = sight

    def check(look: str, place: str) -> None:
        page = windows[look]
        page.goto(places[place])
        expect(page.locator("h1")).to_have_count(1)
        assert faults(page) == []

    check_each(product(LOOKS, places), check)


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_violation_after_a_button_is_pressed(sight: Sight, look: str) -> None:
    windows, _, _ = sight
    page = windows[look]
    page.goto("jobs")
    page.get_by_role("checkbox", name="all matching", exact=True).check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.locator("#confirm")).to_be_visible()
    assert faults(page) == []
    page.goto("trigger?task=letter")
    page.get_by_label("Payload, as JSON").fill('{"copies": 0}')
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert faults(page) == []
    page.goto("schedules/edit")
    page.get_by_label("Name").fill("letter")
    page.get_by_label("Cron expression").fill("never")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert faults(page) == []
    page.goto("")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []


def test_axe_finds_no_violation_in_the_sign_in_page(sight: Sight) -> None:
    _, _, visits = sight

    def check(look: str) -> None:
        page = visits.stranger(**DEVICES[look])
        page.goto("sign-in")
        assert faults(page) == []
        page.get_by_label("API key").fill("mid_1")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert faults(page) == []

    check_each(["light", "dark-phone"], check)


def test_pages_fit_on_a_small_phone(sight: Sight) -> None:
    windows, places, _ = sight
    page = windows["light-phone"]

    def check(place: str) -> None:
        page.goto(places[place])
        assert page.evaluate(WIDER) == []

    check_each(list(places), check)


def test_navigation_on_a_phone_shows_the_current_page(sight: Sight) -> None:
    windows, places, _ = sight
    page = windows["light-phone"]

    def check(place: str) -> None:
        page.goto(places[place])
        expect(page.locator("#nav [aria-current]")).to_be_in_viewport(ratio=1)

    check_each(["overview", "schedules", "workers", "trigger"], check)


def test_pages_do_not_write_to_the_console(sight: Sight) -> None:
    windows, places, visits = sight
    page = windows["dark"]

    def check(place: str) -> None:
        before = len(visits.watch.console)
        with page.expect_event("load"):
            page.goto(places[place])
        assert visits.watch.console[before:] == []

    check_each([one for one in places if one != "not-found"], check)
