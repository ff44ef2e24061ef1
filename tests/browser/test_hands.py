"""What stays while a page is updated: focus, row, position, open details."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from tests.browser.devices import box
from zeke_queue.client.parts import parts_of

if TYPE_CHECKING:
    from playwright.sync_api import Route

    from tests.browser.conftest import Visits
    from tests.browser.house import House

COLUMNS = ("created", "started", "ended", "took", "attempt", "priority", "key", "payload", "output")
AT_END = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 2"


def test_focused_row_stays_and_keeps_the_focus(house: House, page: Page) -> None:
    first, second = house.send("parcel"), house.send("parcel")
    page.goto("jobs")
    page.keyboard.press("j")
    at = page.locator("tr.at")
    expect(at).to_have_attribute("data-job", str(second))
    house.send("parcel")
    expect(page.locator("#jobs tbody tr")).to_have_count(3)
    expect(at).to_have_attribute("data-job", str(second))
    expect(at.get_by_role("link")).to_be_focused()
    page.keyboard.press("j")
    expect(at).to_have_attribute("data-job", str(first))


def test_button_in_a_list_keeps_the_focus(house: House, page: Page) -> None:
    page.goto("queues")
    button = page.get_by_role("button", name="Pause letter", exact=True)
    page.evaluate("document.getElementById('do-letter').focus()")
    house.do(parts_of(house.queue).storage.pause_queue("parcel", paused=True))
    expect(page.get_by_role("button", name="Resume parcel")).to_be_visible()
    expect(button).to_be_focused()


@pytest.mark.parametrize("width", [1280, 900, 390])
def test_rows_of_a_changed_list_stay_while_jobs_are_selected(
    house: House, visits: Visits, width: int
) -> None:
    page = visits.user(viewport={"width": width, "height": 800})
    house.send("parcel")
    page.goto("jobs")
    page.get_by_role("checkbox", name="Select parcel").check()
    expect(page.locator("#chosen")).to_have_text("1 selected")
    place = box(page.locator("#live"))["y"]
    house.send("parcel")
    expect(page.get_by_role("button", name="Show the changes")).to_be_visible()
    expect(page.locator("#said")).to_have_text("The list has changed")
    assert box(page.locator("#live"))["y"] == place


def test_scrolled_table_stays_scrolled_and_scrolls_by_keyboard(house: House, visits: Visits) -> None:
    page = visits.user(viewport={"width": 900, "height": 800})
    house.send("letter", {"to": "Bert" * 40})
    page.goto("jobs?" + "&".join(f"column={name}" for name in COLUMNS))
    table = page.get_by_role("region", name="Jobs")
    # Do this at once, since the first event of the stream redraws the list.
    page.evaluate(
        "() => { const at = document.getElementById('jobs-aside'); at.focus(); at.scrollLeft = 40; }"
    )
    expect(table).to_be_focused()
    expect(table).to_have_js_property("scrollLeft", 40)
    house.send("parcel")
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    expect(table).to_have_js_property("scrollLeft", 40)
    expect(table).to_be_focused()


def test_details_of_an_attempt_stay_open(house: House, page: Page) -> None:
    house.work()
    job_id = house.send("page")
    house.ended(job_id)
    house.rest()
    assert house.do(house.queue.retry(job_id))
    page.goto(f"jobs/{job_id}")
    details = page.locator("#timeline details").first
    details.locator("summary").click()
    expect(details).to_have_attribute("open", "")
    assert house.do(house.queue.cancel(job_id))
    expect(page.locator("#state .badge").first).to_have_attribute("data-state", "cancelled")
    expect(details).to_have_attribute("open", "")


def test_log_of_a_running_job_follows_its_end_unless_scrolled_up(house: House, page: Page) -> None:
    house.work()
    job_id = house.send("book", {"steps": [f"line {number}" for number in range(60)]})
    page.goto(f"jobs/{job_id}")
    log, said = page.locator("#log"), page.locator("#log li")
    house.let(40)
    expect(said).to_have_count(40)
    assert log.evaluate(AT_END)
    page.reload()
    expect(said).to_have_count(40)
    assert log.evaluate(AT_END)
    house.let()
    expect(said).to_have_count(41)
    assert log.evaluate(AT_END)
    log.evaluate("log => { log.scrollTop = 0; }")
    house.let()
    expect(said).to_have_count(42)
    expect(log).to_have_js_property("scrollTop", 0)


def without_details_content(route: Route) -> None:
    """Answer with the styles as a browser reads them that does not know what a closed fold holds."""
    response = route.fetch()
    route.fulfill(response=response, body=response.text().replace("::details-content", "::unheard-of"))


@pytest.mark.parametrize("scripts", [True, False])
def test_filters_can_be_used_without_details_content(visits: Visits, *, scripts: bool) -> None:
    page = visits.user(java_script_enabled=scripts, viewport={"width": 700, "height": 800})
    page.add_init_script("CSS.supports = () => false")
    page.route("**/app.*css*", without_details_content)
    page.goto("jobs")
    field = page.get_by_label("Contains")
    expect(field).to_be_hidden()
    page.set_viewport_size({"width": 1100, "height": 800})
    if not scripts:
        page.get_by_text("Filters").click()
    expect(field).to_be_visible()
