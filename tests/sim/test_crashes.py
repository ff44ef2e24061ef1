"""Each process of a crash test is killed at its point, although handlers may change what outlives a run."""

from __future__ import annotations

import asyncio
import functools
import itertools

import pytest

from tests.sim.worlds import scenario_of, sending
from zeke_queue import Catalog, JobContext
from zeke_sim.experiment.crashes import Crashes, crash_everywhere
from zeke_sim.history.events import Fault

done: list[str] = []


@functools.cache
def cached() -> int:
    first = 1
    return first + 1


@pytest.mark.parametrize("once", [False, True])
def test_points_are_those_of_later_runs_if_the_first_one_fills_a_cache(*, once: bool) -> None:
    catalog = Catalog()
    cached.cache_clear()

    @catalog.task("look", retry_limit=2)
    async def look() -> None:
        cached()
        done.clear()
        done.append("worked")

    texts: dict[int, str] = {}
    scenario = scenario_of(catalog, sending("look"), workers=2, phase=200.0)
    results = Crashes(scenario)
    for results, outcome in crash_everywhere(scenario, once=once):
        kills = [event.affected[0] for event in outcome.events if isinstance(event, Fault)]
        for one in kills:
            texts[results.tried] = str(one.line and one.line.text)
    assert (results.missed, results.tried) == (None, 4)
    assert list(texts.values()) == [
        "cached()",
        "done.clear()",
        'done.append("worked")',
        'done.append("worked")',
    ]


def test_points_that_later_runs_do_not_reach_are_reported() -> None:
    catalog = Catalog()
    runs = itertools.count()

    @catalog.task("look", retry_limit=2)
    async def look(job: JobContext) -> None:
        if job.attempt == 1 and next(runs) % 2 == 0:
            done.append("more")
            done.append("and more")

    missed = None
    for results, outcome in crash_everywhere(scenario_of(catalog, sending("look"), workers=2, phase=200.0)):
        assert outcome.violation is None
        missed = results.missed
    assert missed is not None


async def later() -> None:
    done.append("later")


def test_kill_in_a_task_that_a_handler_left_behind_names_the_handler() -> None:
    catalog = Catalog()
    kept: list[asyncio.Task[None]] = []

    @catalog.task("look", retry_limit=2)
    async def look() -> None:
        kept.append(asyncio.create_task(later()))

    lines: set[str] = set()
    for results, outcome in crash_everywhere(scenario_of(catalog, sending("look"), workers=2, phase=200.0)):
        kills = [event.affected[0] for event in outcome.events if isinstance(event, Fault)]
        assert len(kills) == min(1, results.tried)
        lines |= {str(one.line and one.line.text) for one in kills}
    assert 'done.append("later")' in lines
