"""What a catalog says counts: histories in which it does, and ones in which it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.sim.histories import EPOCH, History
from zeke_queue.core.options import JobOptions
from zeke_queue.model import NewJob, QueueSettings, Schedule
from zeke_sim.properties import by_name

SHARED = "a task's limit is shared out"
OPTIONS = "a tick has its task's options"

NAMES = ("a", "a.old")
HOURLY = Schedule("s", "0 * * * *", "a")
META = f'{{"schedule":"s","tick":"{EPOCH.isoformat()}"}}'


# Limits.


def _declared(shared: Sequence[int | None], **limits: int | None) -> History:
    """Declare limits of queues (``a_old`` is a.old), where a task and its alias share one of these."""
    h = History(shared={NAMES: shared})
    queues = [QueueSettings(name.replace("_", "."), limit) for name, limit in limits.items()]
    h.answer(h.invoke("declare_queues", "w1", queues=queues))
    return h


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"a": 4, "a_old": 4}, "a, a.old get [4, 4] of a limit of 4"),
        ({"a": 2, "a_old": 1}, "a, a.old get [2, 1] of a limit of 4"),
        ({"a": 4, "a_old": None}, "a, a.old get [4, None] of a limit of 4"),
        ({"a_old": None, "a": None}, "a, a.old get [None, None] of a limit of 4"),
    ],
)
def test_a_limit_that_is_not_shared_out(limits: dict[str, int | None], told: str) -> None:
    assert _declared([4], **limits).breaks(SHARED) == told


def test_a_limit_that_nobody_set() -> None:
    assert _declared([None], a=1, a_old=1).breaks(SHARED) == "a, a.old get [1, 1] of a limit of None"


def test_a_limit_of_two_versions_of_a_catalog() -> None:
    assert _declared([4, 6], a=5, a_old=1).verdict() is None
    assert _declared([4, 6], a=3, a_old=1).verdict() is None
    assert _declared([4, 6], a=4, a_old=1).breaks(SHARED) == "a, a.old get [4, 1] of a limit of 4 or 6"


@pytest.mark.parametrize(
    ("shared", "limits"),
    [
        ([4], {"a": 3, "a_old": 1}),
        ([4], {"a_old": 0, "a": 4, "b": 9}),
        ([None], {"a": None, "a_old": None}),
        ([4], {"a": 9}),
        ([4], {"a_old": 9, "b": 4}),
        ([4], {}),
    ],
)
def test_a_limit_that_is_shared_out_or_declared_of_some_names(
    shared: list[int | None], limits: dict[str, int | None]
) -> None:
    assert _declared(shared, **limits).verdict() is None


# Options.


def _ticked(
    job: NewJob, *said: JobOptions, queue: str = "a", options: Mapping[str, Any] | None = None
) -> History:
    """Send a job, where there is a schedule that has options, and a task of a queue that says some."""
    h = History(options={queue: said})
    h.schedule(None, Schedule("s", "0 * * * *", "a", options=options or {}))
    h.invoke("insert", "s1", jobs=(job,))
    return h


def _tick(**options: Any) -> NewJob:
    return History().new(meta=META, **options)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"priority": 5}, "has priority 0, and its task says 5"),
        ({"retry_limit": 0}, "has retry_limit 3, and its task says 0"),
        ({"retry_delay": timedelta(minutes=1)}, "has retry_delay 1, and its task says 60.0"),
        ({"retry_backoff": False}, "has retry_backoff True, and its task says False"),
        ({"retry_delay_max": 9}, "has retry_delay_max None, and its task says 9"),
        ({"expire_in": timedelta(minutes=1)}, "has expire_in 3600.0, and its task says 60.0"),
    ],
)
def test_a_tick_without_its_tasks_options(said: dict[str, Any], told: str) -> None:
    assert _ticked(_tick(), JobOptions(**said)).breaks(OPTIONS) == f"the job of 's' {told}"


def test_a_tick_with_its_tasks_options() -> None:
    said = JobOptions(priority=5, retry_limit=0, retry_delay=timedelta(seconds=7), expire_in=90)
    job = _tick(priority=5, retry_limit=0, retry_delay=7, expire_in=90.0)
    assert _ticked(job, said).verdict() is None


def test_a_tick_while_there_are_two_versions_of_a_catalog() -> None:
    said = JobOptions(priority=5), JobOptions(priority=6)
    for priority, holds in ((5, True), (6, True), (0, False)):
        h = _ticked(_tick(priority=priority), *said)
        assert (h.verdict(by_name(OPTIONS)) is None) is holds


def test_what_a_task_says_nothing_of() -> None:
    assert _ticked(_tick(priority=9, expire_in=1.0), JobOptions(retry_limit=3)).verdict() is None


def test_a_schedule_with_options_of_its_own() -> None:
    h = _ticked(_tick(priority=1), JobOptions(priority=5), options={"priority": 1})
    assert h.verdict(by_name(OPTIONS)) is None


@pytest.mark.parametrize(
    "job",
    [
        History().new(),
        History().new(meta=META, parent=History().new().id),
        History().new(meta=META.replace('"s"', '"another"')),
    ],
)
def test_a_job_that_is_no_tick_of_a_known_schedule(job: NewJob) -> None:
    assert _ticked(job, JobOptions(priority=5)).verdict(by_name(OPTIONS)) is None


def test_a_task_of_another_queue() -> None:
    h = _ticked(_tick(), JobOptions(priority=5), queue="b")
    assert h.verdict(by_name(OPTIONS)) is None


def test_a_schedule_that_was_dropped_before_its_tick_is_sent() -> None:
    h = History(options={"a": [JobOptions(priority=5)]})
    h.schedule(None, HOURLY)
    h.schedule(HOURLY, None)
    h.invoke("insert", "s1", jobs=(_tick(),))
    assert h.verdict(by_name(OPTIONS)) is None
