"""The first page's charts: that each series is of what it says, drawn as well as written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING

import pytest

from zeke_queue.model import JobState

if TYPE_CHECKING:
    from tests.clocks import FrozenClock
    from tests.conformance.driver import Driver
    from tests.web.dashboard.conftest import Browser

EARLY = 4
"""How many jobs are completed in an earlier minute, beside three that fail and two cancelled."""

TIMES = [(1.0, 4.0), (2.0, 5.0), (3.0, 9.0)]
"""Seconds that the jobs of the last minute wait and run: the median of waits is 2, of runs 5."""


@dataclass
class Seen:
    """A chart as a page shows it.

    Attributes:
        told: what its figures are, beside its title.
        legend: figures by name.
        summary: what is told of it to those who don't see it.
        drawn: the values of each kind of bar or line, left to right, read off the drawing.
        says: what is told of its bars.
    """

    told: str
    legend: dict[str, str]
    summary: str
    drawn: dict[str, list[float]]
    says: list[str]


def chart(page: str, slug: str, top: float) -> Seen:
    """Read a chart whose top stands for so much."""
    (figure,) = re.findall(rf'<figure class="chart" id="chart-{slug}">.*?</figure>', page, re.DOTALL)
    drawn: dict[str, list[float]] = {}
    for kind, height in re.findall(r'<rect class="k-(\w+)"[^>]* height="([\d.]+)"', figure):
        drawn.setdefault(kind, []).append(round(float(height) / 120 * top, 3))
    for kind, y in re.findall(r'<path class="line(?: dot)? k-(\w+)" d="M[\d.]+,([\d.]+)', figure):
        drawn.setdefault(kind, []).append(round((120 - float(y)) / 120 * top, 3))
    (told,) = re.findall(r"<h3>[^<]*<small>(.*?)</small>", figure)
    (summary,) = re.findall(r'role="img" aria-label="(.*?)"', figure)
    legend = re.findall(r"</span>([^<]*) <b>(.*?)</b></li>", figure)
    return Seen(told, dict(legend), unescape(summary), drawn, re.findall(r"<title>(.*?)</title>", figure))


@pytest.fixture
async def page(browser: Browser, jobs: Driver, clock: FrozenClock) -> str:
    """The overview of an hour in which no two figures are alike."""
    clock.advance(60 - clock.now().timestamp() % 60)
    for _ in range(EARLY):
        await jobs.ended(JobState.COMPLETED)
    for state in (JobState.FAILED, JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED, JobState.CANCELLED):
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


async def test_the_chart_of_completed_jobs_is_of_those(page: str) -> None:
    seen = chart(page, "throughput", 5)
    assert seen.legend == {"completed": "7"}
    assert seen.told == "total of 1 hour"
    assert seen.drawn == {"completed": [4, 3]}
    assert [said.partition(": ")[2] for said in seen.says] == ["4 completed", "3 completed"]
    assert seen.summary.startswith("7 jobs completed within 1 hour")


async def test_the_chart_of_failures_is_of_those_and_of_the_cancelled(page: str) -> None:
    seen = chart(page, "failures", 5)
    assert seen.legend == {"failed": "3", "cancelled": "2"}
    assert seen.told == "total of 1 hour"
    assert seen.drawn == {"failed": [3], "cancelled": [2]}
    assert {said.partition(": ")[2] for said in seen.says} == {"3 failed, 2 cancelled"}
    assert seen.summary == "3 jobs failed and 2 were cancelled within 1 hour"


async def test_the_chart_of_waits_is_of_those(page: str, clock: FrozenClock) -> None:
    seen = chart(page, "wait", 5)
    assert seen.legend == {"median": "2.0 s", "95th percentile": "3.0 s"}
    assert seen.told == f"latest, {clock.now():%H:%M}"
    assert seen.drawn == {"median": [0, 2], "ninety": [0, 3]}
    assert "median 2.0 s, 95th percentile 3.0 s" in seen.summary


async def test_the_chart_of_run_times_is_of_those(page: str, clock: FrozenClock) -> None:
    seen = chart(page, "run", 10)
    assert seen.legend == {"median": "5.0 s", "95th percentile": "9.0 s"}
    assert seen.told == f"latest, {clock.now():%H:%M}"
    assert seen.drawn == {"median": [0, 5], "ninety": [0, 9]}
    assert "median 5.0 s, 95th percentile 9.0 s" in seen.summary


async def test_the_backlog_is_of_what_waits(page: str) -> None:
    seen = chart(page, "waiting", 10)
    assert seen.legend == {"waiting": "6"}
    assert seen.told == "now"
    assert seen.drawn["waiting"] == [6]
    assert seen.summary == "6 jobs wait now"


async def test_a_chart_of_times_of_which_there_are_none_tells_no_time(browser: Browser) -> None:
    seen = chart(await browser.see("/"), "wait", 1)
    assert seen.told == "none in 1 hour"
    assert seen.legend == {"median": "–", "95th percentile": "–"}


async def test_tiles_say_of_which_time_their_totals_are(browser: Browser) -> None:
    page = await browser.see("/?span=24h")
    assert "<span>Completed in 24 hours</span>" in page
    assert "<span>Failed in 24 hours</span>" in page


async def test_a_worker_that_is_idle_is_told_in_words(browser: Browser, jobs: Driver) -> None:
    await jobs.beat()
    assert "on 1 worker, 1 without a job" in await browser.see("/")
    await jobs.running()
    assert "without a job" not in await browser.see("/")
