"""How many items a second go all the way: from the feed's entry by the page to story, analysis and brief.

The tasks are Zeke's own, on Postgres with durable commits, in one worker. The web is in memory and answers at
once, and the stub answers for the AI, so what is left is what the tasks themselves take: four jobs an item
(analysis, brief, highlights, scores), and one that fetches for every 20.

Beside it, in the same run and in turns: reading the same pages in as many processes, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.database import fresh_database, open_storage
from benchmarks.report import Figure, in_turn, ratio
from zeke_queue import Queue, Worker
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SystemEntropy
from zeke_queue.system.settings import Settings
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import Context
from zeke_tasks.fetch import Fetched
from zeke_tasks.fetch.parser_pool import ParserPool
from zeke_tasks.store.model import NewSource, SourceType
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.stories.read import read_page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from zeke_tasks.fetch import Kind

FEED: Final = "https://news.example/feed"
PARAGRAPHS: Final = 12

WORDS: Final = (
    "The team rewrote the parser in Rust and it is now 3 times as fast. The old API is deprecated and will be"
    " removed in March. Memory fell from 40 MB to 12 MB in the benchmark of the release."
)


class _Web:
    """A feed of pages, each with a text of its own, that are there at once."""

    def __init__(self, items: int) -> None:
        self.pages = {f"https://news.example/{number}": _page(number) for number in range(items)}

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Answer with the feed or a page."""
        del kind, etag, last_modified
        return self.answer(url)

    def answer(self, url: str) -> Fetched:
        """Return the body at a URL."""
        body = _feed(list(self.pages)) if url == FEED else self.pages[url]
        return Fetched(
            url=url,
            final_url=url,
            permanent_url=None,
            status=200,
            body=body,
            content_type="application/rss+xml" if url == FEED else "text/html; charset=utf-8",
            etag=None,
            last_modified=None,
            not_modified=False,
        )


def _page(number: int) -> bytes:
    said = "".join(f"<p>Paragraph {place} of story {number}. {WORDS}</p>" for place in range(PARAGRAPHS))
    title = f"<h1>Story {number}</h1>"
    chrome = "<nav><ul>" + "".join(f"<li><a href='/{n}'>Page {n}</a></li>" for n in range(40)) + "</ul></nav>"
    return f"<html><body>{chrome}<article>{title}{said}</article></body></html>".encode()


def _feed(urls: list[str]) -> bytes:
    items = "".join(f"<item><link>{url}</link><title>{url}</title></item>" for url in urls)
    return f'<rss version="2.0"><channel><title>News</title>{items}</channel></rss>'.encode()


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Measure everything the given number of times."""
    web = _Web(20 if quick else 400)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    values: dict[str, list[float]] = {"pipeline": [], "reading alone": []}
    async with ParserPool(processors) as parsers:
        await _reading(web, parsers, processors)  # each process loads its parsers first
        for measured in range(runs):
            for name in in_turn(list(values), measured):
                if name == "pipeline":
                    values[name].append(await _pipeline(dsn, web, parsers))
                else:
                    values[name].append(await _reading(web, parsers, processors))
            print(".", end="", flush=True)
    print()
    of = f"{len(web.pages)} items"
    figures = {
        name: Figure("pipeline", f"{name}, {of}", "items/s", tuple(rate)) for name, rate in values.items()
    }
    both = ratio("pipeline", "pipeline / reading alone", figures["pipeline"], figures["reading alone"])
    return [*figures.values(), both]


async def _pipeline(dsn: str, web: _Web, parsers: ParserPool) -> float:
    clock = SystemClock()
    repository = PostgresRepository()

    @asynccontextmanager
    async def resources() -> AsyncGenerator[Context]:
        yield Context(repository, web, clock, parsers, StubClient())

    async with fresh_database(dsn) as own:
        migrate.migrate(own)
        async with open_storage(own) as storage:
            queue = Queue(build_catalog(resources, scheduled=False), storage, settings=Settings.load())
            async with queue.transaction() as transaction:
                source = NewSource(SourceType.RSS, "News", FEED)
                await repository.within(transaction).ensure_source(Ids(clock, SystemEntropy())(), source)
                await transaction.send("ingest-pull", {"reason": "manual"})
            began = time.perf_counter()
            await Worker(queue, concurrency=20).drain()
            took = time.perf_counter() - began
            async with queue.transaction() as transaction:
                rows = repository.within(transaction)
                stories = await rows.newest_stories(len(web.pages) + 1)
                briefs = [await rows.overlay(story.id) for story in stories]
    told = sum(brief is not None and brief.brief_one_liner is not None for brief in briefs)
    if told != len(web.pages):
        raise RuntimeError(f"{told} of {len(web.pages)} items became a story with a brief")
    return len(web.pages) / took


async def _reading(web: _Web, parsers: ParserPool, processors: int) -> float:
    now, waiting = SystemClock().now(), iter(web.pages)

    async def work() -> None:
        for url in waiting:
            await parsers(read_page, web.answer(url), now)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(processors)))
    return len(web.pages) / (time.perf_counter() - began)
