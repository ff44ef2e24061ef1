"""The page of Zeke's tasks: it is accessible, and pauses a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.devices import DEVICES, WIDER, faults
from tests.browser.house import House
from tests.browser.test_strangers import HOSTILE
from tests.tasks.domain import Domain
from tests.tasks.store.samples import BRIEF, MODELS
from zeke_queue.client.parts import parts_of
from zeke_tasks.catalog import catalog
from zeke_tasks.pages import page as newsroom_page
from zeke_tasks.store.postgres import PostgresRepository, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.database import Databases


Newsroom = tuple[Visits, list[str]]


@pytest.fixture(scope="module")
def newsroom(
    databases: Databases, chromium: Browser, no_settings: None
) -> Iterator[tuple[Visits, list[str]]]:
    """A newsroom with sources and stories, some of whose words are hostile; and where its pages are."""
    with databases.database() as dsn:
        migrate.migrate(dsn)
        with House(dsn, catalog, [newsroom_page()]) as house:
            visits = Visits(chromium, house)
            story = house.do(_fill(house))
            yield visits, ["zeke/", f"zeke/stories/{story}"]
            visits.close()


async def _fill(house: House) -> Any:
    clock: Any = house.queue.clock
    domain = Domain(parts_of(house.queue).storage, PostgresRepository(), clock)
    source = await domain.source("https://a.example/feed", name="A feed")
    await domain.source("https://b.example/feed", name=HOSTILE)
    async with domain.rows() as rows:
        await rows.record_failure(source.id, next_check_in=60, message=HOSTILE)
    story = await domain.told_story("Some text.", source, title=HOSTILE, url="https://a.example/story")
    await domain.told_story("Another text.", source, title="A quiet day")
    async with domain.rows() as rows:
        await rows.put_analysis(story.id, MODELS)
        await rows.put_brief(story.id, BRIEF)
    return story.id


@pytest.mark.parametrize("look", DEVICES)
def test_newsroom_page_is_accessible(newsroom: Newsroom, look: str) -> None:
    visits, places = newsroom
    page = visits.user(**DEVICES[look])
    for place in places:
        page.goto(place)
        expect(page.locator("h1")).to_have_count(1)
        assert faults(page) == [], place
        assert page.evaluate(WIDER) == [], place
        assert page.evaluate("window.run") is None, place


def test_source_is_paused_and_resumed_by_its_button(newsroom: Newsroom) -> None:
    visits, places = newsroom
    page = visits.user()
    page.goto(places[0])
    row = page.locator("[data-source]").filter(has_text="A feed")
    row.get_by_role("button", name="Pause").click()
    expect(row.get_by_role("button", name="Resume")).to_be_visible()
    row.get_by_role("button", name="Resume").click()
    expect(row.get_by_role("button", name="Pause")).to_be_visible()
