"""Feeds and pages from the web, served over loopback, fetched and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import check_each_async
from tests.clocks import START
from tests.selecting import DATA
from tests.tasks.samples import DAMAGED, FEEDS
from tests.tasks.web.doubles import client
from zeke_tasks.demo.site import serve_directory
from zeke_tasks.fetch import Feed, extract_article, parse_feed

pytestmark = pytest.mark.needs("ZEKE_TEST_DATA")

# Title, author and day.
PAGES = {
    "adac.de.kindersitze.html": ("18 Kindersitze im Test: Vier Modelle fallen durch", None, "2019-06-19"),
    "basicthinking.de.tweets.html": (
        "Erfolgreiche Tweets: 12 Twitter-Nutzer verraten ihre Zutaten",
        "Meike Neitz",
        "2018-12-05",
    ),
    "befifty.montauk.html": ("Das vielleicht schönste Ende der Welt: Montauk", "Beate Finken", "2017-07-12"),
    "blog.python.org.html": ("Python 3.6.0 is now available!", "Ned Deily", "2016-12-23"),
    "blog.wordpress.com.diverse.html": (
        "Want to See a More Diverse WordPress Contributor Community? So Do We.",
        "Andrea Middleton",
        "2019-06-19",
    ),
    "boingboing.net.millenials.html": (
        "Hating Millennials - the prejudice you're allowed to boast about",
        "Cory Doctorow",
        "2013-07-19",
    ),
}
# A phrase of each page's text, and one of its menus or comments, which is no part of the text.
PHRASES = {
    "adac.de.kindersitze.html": ("Schadstoff", "Impressum"),
    "basicthinking.de.tweets.html": ("Robert Habeck", "Amazon Blitzangebote"),
    "befifty.montauk.html": ("Leuchtturm", "Ihre Daten sind bei uns sicher."),
    "blog.python.org.html": ("Python 3.6.0 is the newest major release", "Subscribe to"),
    "blog.wordpress.com.diverse.html": ("WordPress", "We are hiring PHP developers"),
    "boingboing.net.millenials.html": ("Matt Bors", "Advertise"),
}


async def read_feed(data: Path, name: str) -> Feed:
    async with serve_directory(data / "feeds") as server, client() as web:
        fetched = await web.fetch(f"{server.base_url}/{name}", kind="feed")
        return parse_feed(fetched.body, fetched.content_type, fetched.final_url)


async def test_real_feeds_are_read_whole() -> None:
    async def check(name: str) -> None:
        feed, again = await read_feed(DATA, name), await read_feed(DATA, name)
        assert (len(feed.entries), feed.title) == FEEDS[name]
        assert (feed.damage is not None) == (name in DAMAGED)
        assert [entry.external_id for entry in feed.entries] == [entry.external_id for entry in again.entries]
        for entry in feed.entries:
            assert (entry.url or "").startswith("http")
            assert entry.title
            assert entry.content
            assert entry.published_at
            assert entry.published_at.tzinfo

    assert {path.name for path in (DATA / "feeds").iterdir()} == set(FEEDS)
    await check_each_async(FEEDS.keys(), check)


async def test_real_pages_are_read() -> None:
    async def check(name: str) -> None:
        async with serve_directory(DATA / "pages") as server, client() as web:
            fetched = await web.fetch(f"{server.base_url}/{name}", kind="page")
        article = extract_article(fetched.body, fetched.final_url, fetched.charset, now=START)
        assert article
        assert article.published_at
        assert (article.title, article.author, article.published_at.date().isoformat()) == PAGES[name]
        inside, outside = PHRASES[name]
        assert outside in fetched.body.decode("utf-8")
        assert inside in article.text
        assert outside not in article.text

    assert {path.name for path in (DATA / "pages").iterdir()} == set(PAGES) == set(PHRASES)
    await check_each_async(PAGES.keys(), check)
