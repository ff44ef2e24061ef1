"""The layout of pages: parts are aligned with their neighbours, within their frames, and unbroken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.devices import DEVICES, PHONE, box

if TYPE_CHECKING:
    from tests.browser.conftest import Visits
    from tests.browser.house import House

TEXT = """(element, words) => {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), range = new Range();
  while (walker.nextNode()) {
    const at = walker.currentNode.data.indexOf(words);
    if (at < 0) continue;
    range.setStart(walker.currentNode, at);
    range.setEnd(walker.currentNode, at + words.length);
    return [...range.getClientRects()].map(({ left, right, top }) => ({ left, right, top }));
  }
  return [];
}"""
"""The position of text within an element: a box for each line."""


def boxes(places: Locator) -> list[dict[str, float]]:
    """Return the boxes of elements, measured at one time."""
    expect(places).not_to_have_count(0)
    return places.evaluate_all("all => all.map((one) => one.getBoundingClientRect().toJSON())")


def unmoved(page: Page, path: str) -> Page:
    """Open a page that does not change while it is inspected."""
    page.route("**/live*", lambda route: route.abort())
    page.goto(path)
    return page


def test_bars_of_queues_are_of_one_length(house: House, page: Page) -> None:
    for _ in range(12):
        house.send("parcel")
    house.send("page", delay=3600)
    bars = boxes(unmoved(page, "").locator(".ranks svg"))
    assert len(bars) == 2
    assert len({(bar["x"], bar["width"]) for bar in bars}) == 1


def test_long_queue_name_does_not_wrap_the_search(house: House, page: Page) -> None:
    house.do(house.jobs.send("long-name-" * 20))
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("jobs")
    queue, text = box(page.get_by_label("Queue", exact=True)), box(page.get_by_label("Contains"))
    assert queue["y"] == pytest.approx(text["y"], abs=1)
    assert queue["width"] < text["width"]


def test_buttons_that_copy_end_where_their_cards_text_ends(house: House, page: Page) -> None:
    page.goto(f"jobs/{house.send('letter', {'to': 'Bert'})}")
    button, text = page.get_by_role("button", name="Copy the payload"), box(page.locator("#payload"))
    (word,) = button.evaluate(TEXT, "Copy")
    assert word["right"] == pytest.approx(text["x"] + text["width"], abs=1)


def test_titles_of_neighbouring_cards_stand_on_one_line(house: House, page: Page) -> None:
    page.goto(f"jobs/{house.send('letter', {'to': 'Bert'})}")
    titles = page.locator(".card h2")
    for pair in (("Payload", "Log"), ("Family", "In SQL")):
        tops = [titles.filter(has_text=one).evaluate(TEXT, one)[0]["top"] for one in pair]
        assert tops[0] == pytest.approx(tops[1], abs=0.5), pair


def test_focused_choice_shows_one_whole_outline(page: Page) -> None:
    page.goto("jobs")
    tick = page.get_by_role("checkbox", name="Queued")
    page.get_by_label("Contains").focus()
    page.keyboard.press("Tab")
    expect(tick).to_be_focused()
    expect(tick).to_have_css("outline-style", "none")
    expect(page.locator(".chip", has=tick)).to_have_css("outline-style", "solid")
    page.goto("")
    span = page.get_by_role("link", name="15 minutes")
    page.keyboard.press("Tab")
    span.focus()
    # Its frame clips the content outside.
    expect(span).to_have_css("outline-offset", "-2px")


def test_only_scrolling_pages_reserve_space_for_the_scrollbar(visits: Visits, page: Page) -> None:
    stranger = visits.stranger()
    stranger.goto("sign-in")
    expect(stranger.locator("html")).to_have_css("scrollbar-gutter", "auto")
    page.goto("jobs")
    expect(page.locator("html")).to_have_css("scrollbar-gutter", "stable")


@pytest.mark.parametrize("look", ["light", "dark"])
def test_browser_without_light_dark_shows_light_colours(visits: Visits, look: str) -> None:
    page = visits.user(**DEVICES[look])

    def older(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("light-dark(", "unknown("))

    page.route("**/app.css", older)
    page.goto("jobs")
    expect(page.locator("body")).to_have_css("background-color", "rgb(246, 247, 246)")
    expect(page.locator("body")).to_have_css("color", "rgb(27, 36, 35)")
    expect(page.locator("html")).to_have_css("color-scheme", "light")


# Phones


def test_buttons_of_a_schedule_are_on_one_line_on_a_phone(house: House, visits: Visits) -> None:
    for name, paused in (("morning-letter", False), ("evening-letter", True)):
        house.do(house.queue.schedules.put(name, "0 7 * * *", task="parcel", paused=paused))
    page = visits.user(**PHONE)
    unmoved(page, "schedules")
    cards = page.locator(".schedule")
    expect(cards).to_have_count(2)
    for card in cards.all():
        buttons = boxes(card.locator("form button, form .button"))
        assert len(buttons) == 4
        assert len({button["y"] for button in buttons}) == 1


def test_timezone_wraps_between_its_parts_beside_unbroken_ticks(house: House, visits: Visits) -> None:
    zone = "America/Argentina/Buenos_Aires"
    house.do(house.queue.schedules.put("morning-letter", "0 7 * * *", timezone=zone, task="parcel"))
    page = visits.user(**PHONE)
    unmoved(page, "schedules")
    places = page.locator(".schedule th, .schedule dd").filter(has_text=zone)
    expect(places).to_have_count(2)
    for place in places.all():
        for part in ("America", "Argentina", "Buenos_Aires"):
            assert len(place.evaluate(TEXT, part)) == 1, part
    ticks = page.locator(".ticks")
    expect(ticks).to_be_visible()
    assert ticks.evaluate("table => table.parentElement.scrollWidth <= table.parentElement.clientWidth")


def test_times_of_a_job_are_indented_and_durations_unbroken(house: House, visits: Visits) -> None:
    house.work()
    page = visits.user(**PHONE)
    page.set_viewport_size({"width": 300, "height": 700})
    job_id = house.send("letter", {"to": "Bert"})
    house.ended(job_id)
    page.goto(f"jobs/{job_id}")
    moments = page.locator("#timeline li")
    expect(moments).to_have_count(2)
    for moment in moments.all():
        title, at = box(moment.locator("b")), box(moment.locator("time"))
        key = box(moment.locator(".key"))
        assert key["x"] + key["width"] < min(title["x"], at["x"])
    expect(page.locator("#timeline .muted").first).to_have_css("white-space", "nowrap")
