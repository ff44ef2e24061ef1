"""Pages during operations: loading, a lost connection, and notes on completed actions.

The page's own timers are turned by the test, so nothing here depends on how fast a machine is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from tests.browser.devices import box
from tests.browser.house import stream_opens
from zeke_queue.client.parts import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Route

    from tests.browser.conftest import Visits
    from tests.browser.house import House


def of_htmx(page: Page, addresses: str, handle: Callable[[Route], None]) -> None:
    """Handle the requests of scripts to some addresses; those of pages go on."""
    page.route(
        addresses, lambda route: handle(route) if "hx-request" in route.request.headers else route.continue_()
    )


@pytest.fixture
def stopped(page: Page) -> Page:
    """A window in which no timer of a page runs but by the test."""
    page.clock.install(time=0)
    page.clock.pause_at(1_000)
    return page


@pytest.mark.parametrize("path", ["", "jobs", "job"])
def test_lost_connection_is_reported_within_four_seconds(house: House, stopped: Page, path: str) -> None:
    page = stopped
    job_id = house.send("parcel")
    page.goto(f"jobs/{job_id}" if path == "job" else path)
    stream_opens(page)
    house.leave()
    expect(page.locator("html")).to_have_attribute("data-stream", "lost")
    banner = page.locator("#lost")
    page.clock.run_for(3_000)
    expect(banner).to_be_hidden()  # a browser may be back by then
    page.clock.run_for(1_000)
    expect(banner).to_be_visible()
    expect(banner).to_contain_text("This page may be out of date")
    # What was asked before may be answered now; the stream is lost all the same.
    page.evaluate("htmx.trigger(document.body, 'htmx:afterRequest', { successful: true })")
    expect(banner).to_be_visible()
    house.serve()
    expect(banner).to_be_hidden()


def test_job_purged_before_its_stream_opens_is_reported(house: House, stopped: Page) -> None:
    page = stopped
    page.route("**/live*", lambda route: route.abort())
    job_id = house.send("parcel")
    page.goto(f"jobs/{job_id}")
    expect(page.locator("#held")).to_be_attached()
    house.purge(job_id)
    page.clock.run_for(5_000)
    expect(page.locator("#lost")).to_contain_text("The job was purged")


def test_note_about_an_action_stays_until_closed(house: House, stopped: Page) -> None:
    page = stopped
    job_id = house.send("parcel")
    assert house.do(house.queue.cancel(job_id))
    page.goto(f"jobs/{job_id}")
    page.get_by_role("button", name="Resume").click()
    note, badge = page.locator("#note"), page.locator("#state .badge").first
    expect(note).to_have_text("The job is queued again")
    house.do(house.jobs.claim_one("parcel"))
    expect(badge).to_have_attribute("data-state", "active")
    page.clock.run_for(60_000)
    expect(note).to_be_visible()
    page.get_by_role("button", name="Close this note").click()
    expect(note).to_have_count(0)
    expect(page.get_by_role("main")).to_be_focused()


def test_note_over_a_list_moves_no_row_and_is_gone_after_back(house: House, stopped: Page) -> None:
    page = stopped
    page.goto("queues")
    row = page.locator('[data-queue="parcel"]')
    row.get_by_role("button", name="Pause").click()
    note = page.locator("#note")
    expect(note).to_have_text("parcel is paused: waiting jobs are not started, running jobs continue")
    place = box(page.locator("#live"))["y"]
    house.do(parts_of(house.queue).storage.pause_queue("parcel", paused=False))
    expect(row.get_by_role("button", name="Pause")).to_be_visible()
    page.clock.run_for(60_000)
    expect(note).to_be_visible()
    assert box(page.locator("#live"))["y"] == place
    page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("heading", name="Workers", exact=True)).to_be_visible()
    page.go_back()
    expect(row.get_by_role("button", name="Pause")).to_be_visible()
    expect(note).to_have_count(0)


def test_loading_is_indicated_until_it_ends(house: House, page: Page) -> None:
    held: list[Route] = []
    lets = False
    of_htmx(page, "**/dashboard/queues", lambda route: route.continue_() if lets else held.append(route))
    page.goto("queues")
    loading, live = page.get_by_role("progressbar", name="Loading"), page.locator("#live")
    # The first word of a stream counts as a change.
    expect(loading).to_be_visible()
    expect(live).to_have_attribute("aria-busy", "true")
    lets = True
    for route in held:
        route.continue_()
    expect(loading).to_be_hidden()
    expect(live).to_have_attribute("aria-busy", "false")


def test_loading_bar_ends_although_its_element_was_removed(house: House, stopped: Page) -> None:
    page = stopped
    job_id = house.send("parcel")
    held: list[Route] = []
    of_htmx(page, "**/*", held.append)
    page.goto(f"jobs/{job_id}")
    loading = page.get_by_role("progressbar", name="Loading")
    for _ in range(60):  # redrawn parts restart their counters of seconds
        page.clock.run_for(1_000)
        if held:
            break
    expect(loading).to_be_visible()
    house.do(house.jobs.claim_one("parcel"))
    expect(page.locator("#held")).to_have_count(0)
    assert held
    for route in held:
        route.continue_()
    expect(loading).to_be_hidden()


def test_note_about_a_purged_job_survives_later_requests(house: House, stopped: Page) -> None:
    page = stopped
    job_id = house.send("parcel")
    page.goto(f"jobs/{job_id}")
    stream_opens(page)
    house.purge(job_id)
    told = "The job was purged. This page shows its last state."
    expect(page.locator("#lost-why")).to_have_text(told)
    with page.expect_response(lambda response: response.status == 404):
        page.clock.run_for(5_000)
    page.evaluate("htmx.trigger(document.body, 'htmx:responseError', { xhr: { status: 500 } })")
    expect(page.locator("#lost-why")).to_have_text(told)
    page.clock.run_for(10_000)
    expect(page.locator("#lost-why")).to_have_text(told)
    expect(page.locator("#lost")).to_be_visible()


def test_error_response_is_reported(house: House, page: Page) -> None:
    of_htmx(page, "**/dashboard/queues", lambda route: route.fulfill(status=500))
    page.goto("queues")
    expect(page.locator("#lost-why")).to_have_text(
        "The server answered with 500. This page may be out of date."
    )


def test_copy_button_gets_its_name_back(house: House, stopped: Page) -> None:
    page = stopped
    page.goto(f"jobs/{house.send('parcel')}")
    page.evaluate("navigator.clipboard.writeText = async () => {}")
    button = page.locator("[data-copy=job-id]")
    button.click()
    expect(button).to_have_text("Copied")
    page.clock.run_for(1_000)
    button.click()
    page.clock.run_for(1_000)
    expect(button).to_have_text("Copied")
    page.clock.run_for(1_000)
    expect(button).to_have_text("Copy the id")


@pytest.mark.parametrize(("wanted", "moves"), [("reduce", False), ("no-preference", True)])
def test_loading_bar_respects_reduced_motion(visits: Visits, *, wanted: str, moves: bool) -> None:
    page = visits.user(reduced_motion=wanted)
    page.goto("queues")
    names = page.evaluate("getComputedStyle(document.getElementById('loading')).animationName")
    assert ("along" in names) == moves
