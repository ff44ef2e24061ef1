"""The newsroom runs green, and what it is there for really happens in it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from zeke_sim.history import Began, Change, Ended, Fault
from zeke_sim.run import run
from zeke_sim.scenario import load
from zeke_sim.scenarios.catalog import SMALL, WHOLE, WHOLE_SIZE
from zeke_tasks.catalog import build_catalog
from zeke_tasks.ingest.videos import page_source_id
from zeke_tasks.youtube import video_id_of

if TYPE_CHECKING:
    from zeke_sim.history import Event
    from zeke_sim.run import Outcome

SEEDS = range(16)


@cache
def outcomes() -> list[Outcome]:
    scenario = load("catalog")
    return [run(scenario, scenario.plan(seed)) for seed in SEEDS]


def events() -> list[Event]:
    return [event for outcome in outcomes() for event in outcome.events]


def test_it_runs_green() -> None:
    broken = [(seed, one.violation) for seed, one in zip(SEEDS, outcomes(), strict=True) if one.violation]
    assert broken == []


def test_every_task_of_the_catalog_returns_and_is_begun_more_than_once() -> None:
    tasks = set(build_catalog(scheduled=False).tasks)
    assert len(tasks) == 17
    returned = {one.task for one in events() if isinstance(one, Ended) and one.how == "returned"}
    again = {one.task for one in events() if isinstance(one, Began) and one.attempt > 1}
    assert tasks - returned == set()
    assert len(again) > 10


def test_things_go_wrong_in_it() -> None:
    kinds = {one.kind for one in events() if isinstance(one, Fault)}
    assert {"kill", "kill_handler", "lost", "restart", "pause"} <= kinds
    how = Counter(one.how for one in events() if isinstance(one, Ended))
    assert how["raised"] > how["returned"] / 20


def test_a_whole_one_has_fifty_sources_for_two_weeks_and_a_small_one_has_hours() -> None:
    assert (WHOLE_SIZE.feeds + WHOLE_SIZE.channels + WHOLE_SIZE.searches, WHOLE_SIZE.days) == (50, 14.0)
    assert WHOLE_SIZE.hours == 6
    assert max(size.days for size in SMALL) < 0.5
    assert load(WHOLE.name) is WHOLE


def test_a_run_is_made_again_by_its_plan() -> None:
    first = outcomes()[0]
    assert run(load("catalog"), first.plan).digest == first.digest


def test_schedules_and_people_send_the_same_task() -> None:
    pulls = [
        event.after
        for event in events()
        if isinstance(event, Change) and event.before is None and event.after is not None
        if event.after.name == "ingest-pull"
    ]
    reasons = Counter("manual" if "manual" in (pull.data or "") else "schedule" for pull in pulls)
    assert min(reasons["manual"], reasons["schedule"]) > len(SEEDS)


def test_people_name_videos_before_and_after_their_channels_bring_them() -> None:
    named = [
        event.value
        for event in events()
        if isinstance(event, Ended) and event.how == "returned" and event.task == "ingest-oneoff"
    ]
    videos = [told for told in named if video_id_of(told["url"]) is not None]
    own = Counter(told["sourceId"] == page_source_id(told["url"]) for told in videos)
    assert min(own[True], own[False]) > 0
