"""A catalog's declarations apply: histories in which they do, and ones in which they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tests.cases import check_each
from tests.sim.histories import EPOCH, History
from zeke_queue.core.options import OptionLayer
from zeke_queue.model import NewJob, QueueSettings, Schedule

SHARED = "a task's names share its limit"
OPTIONS = "a tick has its task's options"

NAMES = ("a", "a.old")
HOURLY = Schedule("s", "0 * * * *", "a")
META = f'{{"schedule":"s","tick":"{EPOCH.isoformat()}"}}'


# Limits.


def _declared(
    shared: Sequence[int | None], limits: Mapping[str, int | None], together: tuple[str, ...] = NAMES
) -> History:
    """Declare limits of queues (``a_old`` is a.old), where a task and its alias share one of these."""
    h = History(shared={NAMES: shared})
    queues = [
        QueueSettings(name.replace("_", "."), limit, limited_with=() if limit is None else together)
        for name, limit in limits.items()
    ]
    h.answer(h.invoke("declare", "w1", queues=queues, schedules=()))
    return h


def test_limit_that_is_not_the_tasks_or_not_shared_is_found() -> None:
    def check(shared: list[int | None], limits: dict[str, int | None], told: str) -> None:
        assert _declared(shared, limits).breaks(SHARED) == f"a, a.old get {told}"

    both = "with a, a.old"
    cases: list[tuple[list[int | None], dict[str, int | None], str]] = [
        ([4], {"a": 3, "a_old": 1}, f"3 {both}; 1 {both}, of a limit of 4"),
        ([4], {"a": 3, "a_old": 3}, f"3 {both}; 3 {both}, of a limit of 4"),
        ([4], {"a": 4, "a_old": None}, f"4 {both}; None with none, of a limit of 4"),
        ([4], {"a_old": None, "a": None}, "None with none; None with none, of a limit of 4"),
        ([None], {"a": 1, "a_old": 1}, f"1 {both}; 1 {both}, of a limit of None"),
        ([4, 6], {"a": 4, "a_old": 6}, f"4 {both}; 6 {both}, of a limit of 4 or 6"),
    ]
    check_each(cases, check)
    alone = _declared([4], {"a": 4, "a_old": 4}, ()).breaks(SHARED)
    assert alone == "a, a.old get 4 with none; 4 with none, of a limit of 4"


def test_limits_that_are_shared_or_incomplete_hold() -> None:
    def check(shared: list[int | None], limits: dict[str, int | None]) -> None:
        assert _declared(shared, limits).verdict() is None

    cases: list[tuple[list[int | None], dict[str, int | None]]] = [
        ([4], {"a": 4, "a_old": 4}),
        ([4], {"a_old": 4, "a": 4, "b": 9}),
        ([None], {"a": None, "a_old": None}),
        ([4], {"a": 9}),
        ([4], {"a_old": 9, "b": 4}),
        ([4], {}),
        ([4, 6], {"a": 6, "a_old": 6}),
        ([4, 6], {"a": 4, "a_old": 4}),
    ]
    check_each(cases, check)


# Options.


def _ticked(
    job: NewJob, *said: OptionLayer, queue: str = "a", options: Mapping[str, Any] | None = None
) -> History:
    """Send a job of a schedule with options, for a task with options."""
    h = History(options={queue: said})
    h.schedule(None, Schedule("s", "0 * * * *", "a", options=options or {}))
    h.invoke("insert", "s1", jobs=(job,))
    return h


def _tick(**options: Any) -> NewJob:
    return History().new(meta=META, **options)


def test_tick_has_the_options_of_its_task() -> None:
    def check(said: dict[str, Any], told: str) -> None:
        assert _ticked(_tick(), OptionLayer(**said)).breaks(OPTIONS) == f"the job of 's' has {told}"

    minute = timedelta(minutes=1)
    cases = [
        ({"priority": 5}, "priority 0, and its task says 5"),
        ({"retry_limit": 0}, "retry_limit 3, and its task says 0"),
        ({"retry_delay": minute}, "retry_delay 1, and its task says 60.0"),
        ({"retry_backoff": False}, "retry_backoff True, and its task says False"),
        ({"retry_delay_max": 9}, "retry_delay_max None, and its task says 9"),
        ({"expire_in": minute}, "expire_in 3600.0, and its task says 60.0"),
    ]
    check_each(cases, check)
    said = OptionLayer(priority=5, retry_limit=0, retry_delay=timedelta(seconds=7), expire_in=90)
    job = _tick(priority=5, retry_limit=0, retry_delay=7, expire_in=90.0)
    assert _ticked(job, said).verdict() is None
    assert _ticked(_tick(priority=9, expire_in=1.0), OptionLayer(retry_limit=3)).verdict() is None


def test_tick_has_the_options_of_one_of_two_versions() -> None:
    said = OptionLayer(priority=5), OptionLayer(priority=6)
    for priority, holds in ((5, True), (6, True), (0, False)):
        assert _ticked(_tick(priority=priority), *said).holds(OPTIONS) is holds


def test_options_of_task_do_not_bind_other_jobs() -> None:
    said = OptionLayer(priority=5)
    own, other, dropped = {"priority": 1}, META.replace('"s"', '"another"'), History(options={"a": [said]})
    dropped.schedule(None, HOURLY)
    dropped.schedule(HOURLY, None)
    dropped.invoke("insert", "s1", jobs=(_tick(),))
    cases = {
        "the schedule has options of its own": _ticked(_tick(priority=1), said, options=own),
        "it is no tick": _ticked(History().new(), said),
        "it is a child": _ticked(_tick(parent=History().new().id), said),
        "it is of an unknown schedule": _ticked(History().new(meta=other), said),
        "the task is of another queue": _ticked(_tick(), said, queue="b"),
        "the schedule was dropped": dropped,
    }

    def check(h: History) -> None:
        assert h.holds(OPTIONS)

    check_each(cases, check)
