"""The charts of the overview: each series is drawn and written as labelled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest

from tests.cases import check_each
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import on_both_storages
from tests.web.dashboard.conftest import Browser
from zeke_queue.model import RowState

EARLY = 4
"""How many jobs are completed in an earlier minute, beside three that fail and two cancelled."""

TIMES = [(1.0, 4.0), (2.0, 5.0), (3.0, 9.0)]
"""Seconds that the jobs of the last minute wait and run: the median of waits is 2, of runs 5."""


@dataclass
class Seen:
    """A chart as a page shows it; ``drawn`` has the values of each kind of bar or line, left to right."""

    figures: str
    legend: dict[str, str]
    drawn: dict[str, list[float]]
    summary: str
    bars: list[str]


def chart(page: str, slug: str, top: float) -> Seen:
    """Read a chart whose top is this value."""
    (figure,) = re.findall(rf'<figure class="chart" id="chart-{slug}">.*?</figure>', page, re.DOTALL)
    drawn: dict[str, list[float]] = {}
    for kind, height in re.findall(r'<rect class="k-(\w+)"[^>]* height="([\d.]+)"', figure):
        drawn.setdefault(kind, []).append(round(float(height) / 120 * top, 3))
    for kind, y in re.findall(r'<path class="line(?: dot)? k-(\w+)" d="M[\d.]+,([\d.]+)', figure):
        drawn.setdefault(kind, []).append(round((120 - float(y)) / 120 * top, 3))
    (figures,) = re.findall(r"<h3>[^<]*<small>(.*?)</small>", figure)
    (summary,) = re.findall(r'role="img" aria-label="(.*?)"', figure)
    legend = re.findall(r"</span>([^<]*) <b>(.*?)</b></li>", figure)
    bars = [title.partition(": ")[2] for title in re.findall(r"<title>(.*?)</title>", figure)]
    return Seen(figures, dict(legend), drawn, unescape(summary), bars)


@pytest.fixture
async def page(browser: Browser, jobs: Driver, clock: FrozenClock) -> str:
    """The overview of an hour in which no two figures are alike."""
    clock.advance(60 - clock.now().timestamp() % 60)
    for _ in range(EARLY):
        await jobs.ended(RowState.COMPLETED)
    for state in (RowState.FAILED, RowState.FAILED, RowState.EXPIRED, RowState.CANCELLED, RowState.CANCELLED):
        await jobs.ended(state)
    clock.advance(300)
    for wait, run in TIMES:
        await jobs.send()
        clock.advance(wait)
        claimed = await jobs.claim_one()
        clock.advance(run)
        await jobs.complete(claimed)
    for _ in range(6):
        await jobs.send()
    return await browser.see("/")


@on_both_storages
async def test_charts_show_the_jobs_of_the_hour(page: str, clock: FrozenClock) -> None:
    def check(slug: str, top: float, figures: str, legend: dict[str, str], drawn: dict[str, Any]) -> None:
        seen = chart(page, slug, top)
        assert (seen.figures, seen.legend) == (figures, legend)
        assert {kind: seen.drawn[kind] for kind in drawn} == drawn
        assert slug == "waiting" or seen.drawn.keys() == drawn.keys()

    hour, latest = "total of 1 hour", f"latest, {clock.now():%H:%M}"
    waits = {"median": "2.0 s", "95th percentile": "3.0 s"}
    runs = {"median": "5.0 s", "95th percentile": "9.0 s"}
    failures = {"failed": "3", "cancelled": "2"}
    cases = [
        ("throughput", 5, hour, {"completed": "7"}, {"completed": [4, 3]}),
        ("failures", 5, hour, failures, {"failed": [3], "cancelled": [2]}),
        ("wait", 5, latest, waits, {"median": [0, 2], "ninety": [0, 3]}),
        ("run", 10, latest, runs, {"median": [0, 5], "ninety": [0, 9]}),
        ("waiting", 10, "now", {"waiting": "6"}, {"waiting": [6]}),
    ]
    check_each(cases, check)


async def test_charts_are_described_in_words(page: str) -> None:
    throughput, failures = chart(page, "throughput", 5), chart(page, "failures", 5)
    assert throughput.bars == ["4 completed", "3 completed"]
    assert throughput.summary.startswith("7 jobs completed within 1 hour")
    assert set(failures.bars) == {"3 failed, 2 cancelled"}
    assert failures.summary == "3 jobs failed and 2 were cancelled within 1 hour"
    assert "median 2.0 s, 95th percentile 3.0 s" in chart(page, "wait", 5).summary
    assert "median 5.0 s, 95th percentile 9.0 s" in chart(page, "run", 10).summary
    assert chart(page, "waiting", 10).summary == "6 jobs are waiting now"


async def test_chart_of_times_without_jobs_shows_dashes(browser: Browser) -> None:
    seen = chart(await browser.see("/"), "wait", 1)
    assert seen.figures == "none in 1 hour"
    assert seen.legend == {"median": "–", "95th percentile": "–"}


async def test_idle_workers_are_counted(browser: Browser, jobs: Driver) -> None:
    await jobs.heartbeat()
    assert "on 1 worker, 1 without a job" in await browser.see("/")
    await jobs.running()
    assert "without a job" not in await browser.see("/")
