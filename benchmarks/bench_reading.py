"""Article pages read per second: inline, and in the processes of `ParserPool`.

Beside it, in the same run and in turns: the extraction library alone, on top of which our reading has its
cost, and lxml's parsing of the same pages, which is the least that reading HTML takes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import lxml.html
import trafilatura

from benchmarks.report import Figure, in_turn, ratio
from zeke_queue.system.clock import SystemClock
from zeke_tasks.demo.site import DemoSite, serve_directory
from zeke_tasks.demo.site.site import BUSY_AT_FIRST
from zeke_tasks.fetch import WebClient, WebOptions
from zeke_tasks.fetch.parser_pool import ParserPool
from zeke_tasks.stories.read import read_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from zeke_tasks.fetch import Fetched

BESIDE: Final = Path(__file__).parents[2] / "shared" / "data"
"""The default folder of real pages, unless ZEKE_TEST_DATA names another."""


def run(runs: int, *, quick: bool) -> list[Figure]:
    """Measure everything the given number of times."""
    return asyncio.run(_measure(runs, 1 if quick else 10))


async def _measure(runs: int, rounds: int) -> list[Figure]:
    now = SystemClock().now()
    pages, where = await _pages()
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    inline: dict[str, Callable[[Fetched], object]] = {
        "lxml parsing": lambda page: lxml.html.document_fromstring(page.body),
        "trafilatura alone": _extracted,
        "inline": lambda page: read_page(page, now),
    }
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    values: dict[str, list[float]] = {name: [] for name in (*inline, "in processes")}
    async with ParserPool(processors) as parsers:
        await _read(pages, None, parsers, now, processors)  # each process loads its parsers first
        for read in inline.values():
            await _read(pages, read, parsers, now, processors)
        for measured in range(runs):
            for name in in_turn(list(values), measured):
                began = time.perf_counter()
                await _read(pages * rounds, inline.get(name), parsers, now, processors)
                values[name].append(rounds * len(pages) / (time.perf_counter() - began))
            print(".", end="", flush=True)
    print()
    kilobytes = sum(len(page.body) for page in pages) / len(pages) / 1000
    of = f"{len(pages)} {where}, {kilobytes:.0f} kB each"
    figures = {
        name: Figure("reading", f"{name}, {of}", "pages/s", tuple(rate)) for name, rate in values.items()
    }
    return [*figures.values(), *_ratios(figures, processors)]


def _ratios(figures: dict[str, Figure], processors: int) -> list[Figure]:
    each = tuple(rate / processors for rate in figures["in processes"].runs)
    process = Figure("reading", "a process", "pages/s", each)
    return [
        ratio(
            "reading",
            "inline / trafilatura alone",
            figures["inline"],
            figures["trafilatura alone"],
            target=0.8,
        ),
        ratio("reading", "lxml parsing / inline", figures["lxml parsing"], figures["inline"]),
        ratio("reading", f"each of {processors} processes / inline", process, figures["inline"], target=0.8),
    ]


async def _read(
    pages: Sequence[Fetched],
    inline: Callable[[Fetched], object] | None,
    parsers: ParserPool,
    now: datetime,
    processors: int,
) -> None:
    """Read pages here, or, without a function for that, in as many processes as there are processors."""
    if inline:
        for page in pages:
            inline(page)
        return
    waiting = iter(pages)

    async def work() -> None:
        for page in waiting:
            await parsers(read_page, page, now)

    await asyncio.gather(*(work() for _ in range(processors)))


def _extracted(page: Fetched) -> object:
    """Extract a page's text and metadata, using the library as documented."""
    return trafilatura.bare_extraction(
        page.body,
        url=page.final_url,
        fast=True,
        with_metadata=True,
        include_comments=False,
        date_extraction_params={"original_date": True, "extensive_search": False},
    )


async def _pages() -> tuple[list[Fetched], str]:
    """Fetch the pages that are there over loopback: real ones, or else those of the demo's site."""
    named = os.environ.get("ZEKE_TEST_DATA")
    folder = (Path(named) if named else BESIDE) / "pages"
    async with WebClient(WebOptions(allow=("127.0.0.1/32",), gap=0.0)) as web:
        if folder.is_dir():
            async with serve_directory(folder) as server:
                urls = [f"{server.base_url}/{path.name}" for path in sorted(folder.glob("*.html"))]
                return [await web.fetch(url, kind="page") for url in urls], "real pages"
        async with DemoSite() as site:
            urls = [url for url in site.page_urls if not url.endswith(BUSY_AT_FIRST)]
            return [await web.fetch(url, kind="page") for url in urls], "pages of the demo's site"
