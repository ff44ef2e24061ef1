"""The sample site has its intended pages, and its server follows HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cases import check_each_async
from tests.tasks.web.doubles import client
from zeke_tasks.demo.site import DemoSite, LoopbackServer, serve_directory
from zeke_tasks.demo.site.site import BUSY_AT_FIRST, MISSING
from zeke_tasks.fetch import (
    Article,
    Feed,
    Permanent,
    Transient,
    WebClient,
    canonicalise_url,
    extract_article,
    parse_feed,
)


async def read_feeds(site: DemoSite, web: WebClient) -> list[Feed]:
    pages = [await web.fetch(url, kind="feed") for url in site.feed_urls]
    return [parse_feed(page.body, page.content_type, page.final_url) for page in pages]


async def read_page(web: WebClient, url: str) -> Article:
    page = await web.fetch(url, kind="page")
    article = extract_article(page.body, page.final_url, page.charset)
    assert article
    return article


async def test_feeds_list_every_page_and_a_missing_one() -> None:
    async with DemoSite() as site, client() as web:
        feeds = await read_feeds(site, web)
        urls = [canonicalise_url(entry.url or "") for feed in feeds for entry in feed.entries]
        assert sorted(urls) == sorted([*site.page_urls, site.base_url + MISSING])
    assert [(feed.title, feed.version, feed.damage) for feed in feeds] == [
        ("The Workbench", "rss20", None),
        ("Latent Notes", "atom10", None),
    ]
    assert all(entry.published_at for feed in feeds for entry in feed.entries)


async def test_every_page_is_an_article_and_one_is_busy_at_first() -> None:
    async with DemoSite() as site, client() as web:
        with pytest.raises(Transient) as caught:
            await web.fetch(site.base_url + BUSY_AT_FIRST, kind="page")
        assert (caught.value.status, caught.value.retry_after) == (503, 1.0)
        articles = {url: await read_page(web, url) for url in site.page_urls}
    for url, article in articles.items():
        assert article.title
        assert article.author
        assert article.published_at
        assert (len(article.text.split()) > 220) == (not url.endswith("/we-moved"))
        assert ("cookies" in article.text) is False
        assert "{{" not in article.text


async def test_unchanged_feeds_and_pages_are_not_sent_again() -> None:
    async with DemoSite() as site, client() as web:
        for url in (*site.feed_urls, site.page_urls[0]):
            first = await web.fetch(url, kind="feed")
            by_etag = await web.fetch(url, kind="feed", etag=first.etag)
            by_date = await web.fetch(url, kind="feed", last_modified=first.last_modified)
            other = await web.fetch(url, kind="feed", etag='"other"', last_modified=first.last_modified)
            assert [by_etag.not_modified, by_date.not_modified, other.not_modified] == [True, True, False]


async def test_requests_are_counted_and_one_page_is_missing() -> None:
    async with DemoSite() as site, client() as web:
        await read_feeds(site, web)
        with pytest.raises(Permanent, match="404"):
            await web.fetch(site.base_url + MISSING, kind="page")
    assert site.server.hits == {"/workbench/feed.xml": 1, "/latent/atom.xml": 1, MISSING: 1}
    assert site.server.statuses == {200: 2, 404: 1}


async def test_two_sites_run_at_once() -> None:
    async with DemoSite() as one, DemoSite() as other:
        assert one.base_url != other.base_url
    with pytest.raises(RuntimeError, match="not running"):
        _ = one.base_url


async def test_files_of_a_directory_are_served(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "feed.xml").write_bytes(b"<\xff\x00>")
    (tmp_path / "a b.html").write_text("hi")
    async with serve_directory(tmp_path) as server, client() as web:
        feed = await web.fetch(f"{server.base_url}/sub/feed.xml", kind="feed")
        page = await web.fetch(f"{server.base_url}/a%20b.html", kind="page")
        again = await web.fetch(f"{server.base_url}/sub/feed.xml", kind="feed", etag=feed.etag)
    assert (feed.body, feed.content_type) == (b"<\xff\x00>", "application/xml")
    assert (page.body, page.content_type) == (b"hi", "text/html")
    assert again.not_modified


async def test_files_outside_the_directory_are_not_served(tmp_path: Path) -> None:
    async def check(path: str) -> None:
        async with serve_directory(served) as server, client() as web:
            with pytest.raises(Permanent, match="404"):
                await web.fetch(f"{server.base_url}/{path}", kind="page")

    (tmp_path / "secret.txt").write_text("secret")
    served = tmp_path / "served"
    (served / "sub").mkdir(parents=True)
    (served / "link.txt").symlink_to(tmp_path / "secret.txt")
    outside = ["..%2Fsecret.txt", "%2e%2e/secret.txt", "link.txt"]
    await check_each_async(["missing.html", "sub", "", *outside], check)


def test_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        serve_directory(tmp_path / "nowhere")


async def test_server_stops_while_answering() -> None:
    asked = asyncio.Event()

    async def never(_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with client() as web:
        async with LoopbackServer(never) as server:  # type: ignore[arg-type]
            waiting = asyncio.create_task(web.fetch(f"{server.base_url}/", kind="page"))
            await asked.wait()
        with pytest.raises(Transient):
            await waiting
