"""The scenario of the newsroom: no property is violated, and the situations it is made for occur in it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.cases import each
from tests.newsroom.feeds import DAY
from tests.scenarios import load
from tests.scenarios.catalog import FEW_SOURCES, FEW_SOURCES_SIZE, SMALL, WHOLE, WHOLE_SIZE
from tests.sim.runs import inserted, of, outcomes
from zeke_sim.experiment.run import run
from zeke_sim.history.events import Began, Ended, Fault
from zeke_tasks.catalog import build_catalog
from zeke_tasks.youtube import video_id_of
from zeke_tasks.youtube.items import page_source_id

if TYPE_CHECKING:
    from zeke_sim.history.events import Event


def events() -> list[Event]:
    return [event for outcome in outcomes("catalog") for event in outcome.events]


@pytest.mark.nightly
def test_newsroom_violates_no_property() -> None:
    broken = [(seed, one.violation) for seed, one in enumerate(outcomes("catalog")) if one.violation]
    assert broken == []


@pytest.mark.nightly
def test_every_task_returns_and_most_are_retried() -> None:
    tasks = set(build_catalog(scheduled=False).tasks)
    assert len(tasks) == 18
    returned = {one.task for one in of(events(), Ended, how="returned")}
    again = {one.task for one in of(events(), Began) if one.attempt > 1}
    # It runs once a day, so only in the whole scenario; tests/tasks/test_retention.py simulates it.
    assert tasks - returned == {"apply-retention"}
    assert len(again) > 10


@pytest.mark.nightly
def test_faults_hit_newsroom() -> None:
    kinds = {one.kind for one in of(events(), Fault)}
    assert {"kill", "kill_handler", "lost", "restart", "pause"} <= kinds
    how = Counter(one.how for one in of(events(), Ended))
    assert how["raised"] > how["returned"] / 20


def test_whole_newsroom_has_fifty_sources_for_two_weeks() -> None:
    assert (WHOLE_SIZE.feeds + WHOLE_SIZE.channels + WHOLE_SIZE.searches, WHOLE_SIZE.days) == (50, 14.0)
    assert WHOLE_SIZE.hours == 6
    assert max(size.days for size in SMALL) < 0.5
    assert load(WHOLE.name) is WHOLE


@pytest.mark.nightly
@each(1, 2, 3)
def test_playbooks_end_while_faults_are_injected(seed: int) -> None:
    outcome = run(FEW_SOURCES, FEW_SOURCES.plan(seed))
    assert outcome.violation is None
    ends = of(outcome.events, Ended, task="playbook-run", how="returned")
    # One end at least meets faults: some mutants of a run's end are found only there.
    assert any(end.at < FEW_SOURCES_SIZE.days * DAY for end in ends)


@pytest.mark.nightly
def test_run_is_repeated_from_its_plan() -> None:
    first = outcomes("catalog")[0]
    assert run(load("catalog"), first.plan).digest == first.digest


def test_schedules_and_users_send_the_same_task() -> None:
    pulls = [row for row in inserted(events()).values() if row.name == "ingest-pull"]
    reasons = Counter("manual" if "manual" in (pull.data or "") else "schedule" for pull in pulls)
    assert min(reasons["manual"], reasons["schedule"]) > len(outcomes("catalog"))


def test_users_name_videos_before_and_after_their_channels() -> None:
    named = [event.value for event in of(events(), Ended, task="ingest-oneoff", how="returned")]
    videos = [told for told in named if video_id_of(told["url"]) is not None]
    own = Counter(told["sourceId"] == page_source_id(told["url"]) for told in videos)
    assert min(own[True], own[False]) > 0
