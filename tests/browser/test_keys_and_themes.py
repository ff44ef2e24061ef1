"""The dashboard by keyboard alone, and in the colours that its reader wants."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.browser.conftest import Visits
    from tests.browser.house import House

PAGES: Final = {
    "j": "Jobs",
    "q": "Queues",
    "s": "Schedules",
    "w": "Workers",
    "o": "Overview",
    "t": "Send a job",
}

FOCUSED = """() => {
  const at = document.activeElement, box = at.getBoundingClientRect();
  const style = getComputedStyle(at.closest(".chip") || at);
  return {
    what: at.id || at.textContent.trim().slice(0, 40) || at.tagName,
    page: at === document.body,
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 || box.width <= 1,
    inside: Boolean(at.closest("dialog")),
  };
}"""

# Records the page's appearance as soon as it has content.
EARLIEST = """
  new MutationObserver((_, observer) => {
    if (!document.body) return;
    observer.disconnect();
    window.earliest = document.documentElement.dataset.theme || "";
  }).observe(document, {childList: true, subtree: true});
"""


def brightness(page: Page) -> float:
    """Return how bright the paper is, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    parts = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
    return sum(parts) / 3


def test_first_tab_skips_the_navigation(page: Page) -> None:
    page.goto("queues")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


@pytest.mark.parametrize("path", ["", "jobs", "queues", "trigger?task=letter", "schedules/edit"])
def test_focused_elements_are_marked(house: House, page: Page, path: str) -> None:
    house.send("parcel")
    page.goto(path)
    passed: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        if at["page"]:
            break
        assert at["seen"], at["what"]
        passed.append(at["what"])
    assert len(passed) > 8


def test_pages_are_opened_by_two_letters(house: House, page: Page) -> None:
    page.goto("")
    for key, title in PAGES.items():
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)


def test_list_is_searched_selected_and_opened_by_keyboard(house: House, page: Page) -> None:
    sent = [house.send("parcel") for _ in range(3)][::-1]
    page.goto("jobs")
    page.keyboard.press("/")
    search = page.get_by_label("Contains")
    expect(search).to_be_focused()
    page.keyboard.type("jkx?d")
    expect(search).to_have_value("jkx?d")  # letters in a field are letters
    page.keyboard.press("Escape")
    expect(search).not_to_be_focused()
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("tr.at")).to_have_attribute("data-job", str(sent[0]))
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#chosen")).to_have_text("1 selected")
    page.keyboard.press("Enter")
    expect(page.locator("#job-id")).to_have_text(str(sent[1]))


def test_help_keeps_the_focus_and_returns_it(page: Page) -> None:
    page.goto("queues")
    opener = page.get_by_role("button", name="Keys")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("j Jobs")
    for _ in range(6):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        assert at["inside"] or at["page"], at["what"]
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(dialog).to_be_visible()  # the elements behind it receive no events
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()


def test_job_is_sent_by_keyboard_only(house: House, page: Page) -> None:
    page.goto("trigger?task=letter")
    for _ in range(40):
        if page.evaluate("document.activeElement.id") == "payload":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type('{"to": "Bert"}')
    for _ in range(10):
        if page.evaluate("document.activeElement.id") == "send":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#note")).to_have_text("Job sent")


@pytest.mark.parametrize(("wanted", "dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_system_of_the_reader(visits: Visits, wanted: str, dark: bool) -> None:  # noqa: FBT001
    page = visits.user(color_scheme=wanted)
    page.goto("")
    assert (brightness(page) < 80) is dark
    page.emulate_media(color_scheme="light" if dark else "dark")
    assert (brightness(page) < 80) is not dark


def test_chosen_theme_persists_and_is_set_before_the_first_paint(visits: Visits) -> None:
    page = visits.user(color_scheme="light")
    page.add_init_script(EARLIEST)
    page.goto("")
    page.get_by_role("button", name="Dark").click()
    assert brightness(page) < 80
    expect(page.get_by_role("button", name="Light")).to_be_visible()
    for path in ("jobs", "queues", "sign-in", "jobs/0"):
        page.goto(path)
        assert page.evaluate("window.earliest") == "dark"
        assert brightness(page) < 80
    page.goto("")
    page.keyboard.press("d")
    assert brightness(page) > 200
    expect(page.get_by_role("button", name="Dark")).to_be_visible()
    page.reload()
    assert page.evaluate("window.earliest") == "light"
    # A choice outweighs the system.
    page.emulate_media(color_scheme="dark")
    assert brightness(page) > 200
