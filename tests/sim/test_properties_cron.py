"""Schedules: when they should fire, and histories in which they do, and don't."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import check_each
from tests.sim.histories import EPOCH, History
from zeke_queue.core.cron import Cron
from zeke_queue.errors import LockTimeoutError
from zeke_queue.model import CatchUp, NewJob, Schedule
from zeke_sim.properties.occurrences import between, fields_of, following

HOURLY = Schedule("s", "0 * * * *", "a", last_tick=EPOCH, next_tick=EPOCH + timedelta(hours=1))
POLICY, IN_TIME = "ticks are served by the policy", "ticks are served in time"
DISTANT = datetime(2026, 1, 1, tzinfo=UTC)

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
ZONES += ["Africa/Casablanca"]
EXPRESSIONS = [
    "* * * * *",
    "*/5 * * * *",
    "30 2 * * *",
    "0 */6 * * *",
    "15,45 1-3 * * sun",
    "0 0 1,15 * *",
    "0 12 13 * fri",
    "59 23 31 dec *",
    "0 * * * * */20",
    "5/20 4 * feb-apr 1-5/2",
]


@settings(max_examples=300, deadline=None)
@given(
    expr=st.sampled_from(EXPRESSIONS),
    zone=st.sampled_from(ZONES),
    minutes=st.integers(0, 365 * 1440),
    microseconds=st.sampled_from([0, 1, 682_821]),
)
def test_both_calculations_of_the_next_occurrence_agree(
    expr: str, zone: str, minutes: int, microseconds: int
) -> None:
    after = DISTANT + timedelta(minutes=minutes, microseconds=microseconds)
    assert following(expr, zone, after) == Cron.parse(expr, zone).next_after(after)


CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 12, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 12, tzinfo=UTC)),
]


@pytest.mark.nightly
def test_both_calculations_agree_where_clocks_change() -> None:
    def check(expr: str, zone: str, change: datetime) -> None:
        cron, tick, ticks = Cron.parse(expr, zone), change, list[datetime]()
        until = change + timedelta(hours=9)
        while (found := cron.next_after(tick)) is not None and found <= until:
            ticks.append(tick := found)
        assert list(between(expr, zone, change, until)) == ticks

    check_each([(expr, *change) for expr in EXPRESSIONS for change in CHANGES], check)


def test_skipped_time_fires_later_and_repeated_time_once() -> None:
    def check(day: datetime, tick: datetime) -> None:
        assert list(between("30 2 * * *", "Europe/Berlin", day, day + timedelta(days=1))) == [tick]

    cases = {
        "skipped": (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        "repeated": (datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    }
    check_each(cases, check)


def test_extended_expressions_are_not_checked() -> None:
    assert fields_of("0 0 15W * *") is None
    assert fields_of("0 0 L * fri#2") is None


def test_days_of_the_month() -> None:
    def check(expr: str, days: list[str]) -> None:
        at, found = datetime(2026, 1, 1, 12, tzinfo=UTC), list[str]()
        while len(found) < len(days):
            tick = following(expr, "UTC", at)
            assert tick is not None
            found.append(tick.date().isoformat())
            at = tick
        assert found == days

    cases = [
        ("0 9 L * *", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("0 9 31 * *", ["2026-01-31", "2026-03-31", "2026-05-31"]),
        ("0 9 * * 1#2", ["2026-01-12", "2026-02-09", "2026-03-09"]),
        ("0 9 * * 1#5", ["2026-03-30", "2026-06-29"]),
        ("0 9 * * L5", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 9 L,1 * *", ["2026-01-31", "2026-02-01", "2026-02-28", "2026-03-01"]),
        ("0 9 13 * fri", ["2026-01-02", "2026-01-09", "2026-01-13", "2026-01-16"]),
    ]
    check_each(cases, check)


def tick_job(tick: datetime, name: str = "s", number: int = 1) -> NewJob:
    meta = f'{{"schedule":"{name}","tick":"{tick.isoformat()}"}}'
    return NewJob(UUID(int=number), "a", meta=meta)


def serve(
    h: History,
    schedule: Schedule,
    ticks: list[datetime],
    last: datetime,
    upcoming: datetime | None,
    *,
    number: int = 1,
) -> History:
    """Serve ticks in a transaction of a scheduler: the right ones, or not."""
    now = h.now + timedelta(milliseconds=1)
    h.answer(h.invoke("lock_due_schedules", "s1", number, limit=50), (now, [schedule]))
    h.answer(h.invoke("record_tick", "s1", number, name=schedule.name, last_tick=last, next_tick=upcoming))
    jobs = tuple(tick_job(tick, schedule.name, number * 100 + i) for i, tick in enumerate(ticks))
    if jobs:
        h.answer(h.invoke("insert", "s1", number, jobs=jobs), [job.id for job in jobs])
    commit = h.invoke("commit", "s1", number)
    h.schedule(schedule, replace(schedule, last_tick=last, next_tick=upcoming))
    for job in jobs:
        h.insert(job, commit)
    h.answer(commit)
    return h


def hour(number: int) -> datetime:
    return EPOCH + timedelta(hours=number)


def after_hours(hours: float) -> History:
    h = History()
    h.wait(hours * 3600)
    return h


def test_every_policy_holds() -> None:
    once, every = HOURLY, replace(HOURLY, catch_up=CatchUp.ALL)
    skip = replace(HOURLY, catch_up=CatchUp.SKIP)
    new = replace(HOURLY, last_tick=None, next_tick=None)
    assert serve(after_hours(3.5), once, [hour(3)], hour(3), hour(4)).verdict() is None
    assert serve(after_hours(3.5), every, [hour(1), hour(2), hour(3)], hour(3), hour(4)).verdict() is None
    assert serve(after_hours(3.5), skip, [], hour(3), hour(4)).verdict() is None
    assert serve(after_hours(3.001), skip, [hour(3)], hour(3), hour(4)).verdict() is None
    h = after_hours(3.5)
    assert serve(h, new, [], h.now + timedelta(milliseconds=1), hour(4)).verdict() is None


def test_ticks_are_served_by_the_policy() -> None:
    def check(policy: CatchUp, hours: float, ticks: list[int], last: int) -> None:
        schedule = replace(HOURLY, catch_up=policy)
        h = serve(after_hours(hours), schedule, [hour(n) for n in ticks], hour(last), hour(last + 1))
        assert h.breaks(POLICY).startswith(f"'s' (0 * * * * in UTC, {policy})")

    cases: list[tuple[CatchUp, float, list[int], int]] = [
        (CatchUp.ONCE, 3.5, [], 3),
        (CatchUp.ONCE, 3.5, [2, 3], 3),
        (CatchUp.ONCE, 3.5, [2], 2),
        (CatchUp.ALL, 3.5, [3], 3),
        (CatchUp.ALL, 3.5, [2, 3], 3),
        (CatchUp.SKIP, 3.5, [3], 3),
        (CatchUp.SKIP, 3.001, [], 3),
        (CatchUp.ONCE, 2.5, [3], 3),
        (CatchUp.ONCE, 0.5, [], -1),
    ]
    check_each(cases, check)


def blocked(h: History, schedule: Schedule, error: str, number: int = 7) -> History:
    """Try to serve a schedule by itself, and fail."""
    h.answer(h.invoke("lock_due_schedules", "s1", number, limit=1, only=schedule.name), (h.now, [schedule]))
    h.answer(h.invoke("insert", "s1", number, jobs=(tick_job(hour(1), schedule.name, 7),)), error, "failed")
    return h


LOCKED = str(LockTimeoutError.of("it was not unlocked within 0.2 s"))


def test_ticks_of_a_blocked_schedule_are_all_served() -> None:
    def check(what: str, ticks: list[int], holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = after_hours(2.5)
        blocked(h, HOURLY, "deadlock detected" if what == "not locked" else LOCKED)
        h.wait(2 * 3600)
        if what == "restarted":
            h.lived("s1", "killed")
            h.lived("s1", "started")
        elif what != "locked":
            h.answer(h.invoke("lock_due_schedules", "s1", 8, limit=1, only="s"), (h.now, []))
        if what == "locked again":
            blocked(h, HOURLY, LOCKED, number=9)
        serve(h, HOURLY, [hour(n) for n in ticks], hour(4), hour(5))
        assert h.holds(POLICY) is holds

    cases = [
        ("locked", [2, 3, 4], True),
        ("locked", [4], False),
        ("locked", [1, 2, 3, 4], False),
        ("locked", [3, 4], False),
        ("not locked", [4], True),
        ("not locked", [2, 3, 4], False),
        ("restarted", [4], True),
        ("restarted", [2, 3, 4], False),
        ("not found meanwhile", [4], True),
        ("not found meanwhile", [2, 3, 4], True),
        ("not found meanwhile", [3, 4], False),
        ("locked again", [2, 3, 4], True),
        ("locked again", [4], True),
        ("locked again", [3, 4], False),
    ]
    check_each(cases, check)


def test_schedule_that_was_blocked_and_served_follows_its_policy_again() -> None:
    h = blocked(after_hours(1.5), HOURLY, LOCKED)
    serve(h, HOURLY, [hour(1)], hour(1), hour(2))
    h.wait(3 * 3600)
    later = replace(HOURLY, last_tick=hour(1), next_tick=hour(2))
    assert serve(h, later, [hour(4)], hour(4), hour(5), number=2).holds(POLICY)


def test_next_tick_and_noted_tick_are_occurrences() -> None:
    text = serve(after_hours(3.5), HOURLY, [hour(3)], hour(3), hour(5)).breaks(POLICY)
    assert text.endswith(f"notes that it is next due at {hour(5)}, and it is at {hour(4)}")
    tick = hour(3) + timedelta(minutes=1)
    text = serve(after_hours(3.5), HOURLY, [tick], tick, hour(4)).breaks(POLICY)
    assert f"notes {tick} after {EPOCH}, and has no occurrence then" in text


def test_noted_tick_has_its_job() -> None:
    h = after_hours(1.1)
    h.answer(h.invoke("lock_due_schedules", "s1", 1, limit=50), (h.now, [HOURLY]))
    h.answer(h.invoke("record_tick", "s1", 1, name="s", last_tick=hour(1), next_tick=hour(2)))
    h.invoke("commit", "s1", 1)
    assert h.breaks(POLICY).endswith("and sent nothing")


def test_only_a_failed_schedule_is_postponed(h: History) -> None:
    new = replace(HOURLY, last_tick=None, next_tick=None)
    text = serve(h, new, [], h.now, h.now + timedelta(seconds=60)).breaks(POLICY)
    assert text.startswith("'s' (0 * * * * in")
    h = after_hours(1.1)
    assert serve(h, HOURLY, [], EPOCH, h.now + timedelta(seconds=60)).verdict() is None


def test_last_tick_is_kept_unless_the_schedule_starts_anew(h: History) -> None:
    def check(after: Schedule, told: str) -> None:
        h = History()
        h.schedule(HOURLY, after)
        assert h.breaks("no tick is decided on twice") == f"'s' {told}"

    cases = [
        (replace(HOURLY, last_tick=hour(-1)), f"had decided up to {EPOCH}, and has up to {hour(-1)}"),
        (replace(HOURLY, last_tick=None), f"had decided up to {EPOCH}, and has up to None"),
        (replace(HOURLY, cron="5 * * * *"), f"starts anew, and keeps its last tick, {EPOCH}"),
    ]
    check_each(cases, check)
    h.schedule(HOURLY, replace(HOURLY, paused=True))
    h.schedule(replace(HOURLY, paused=True), replace(HOURLY, last_tick=None, next_tick=None))
    h.schedule(HOURLY, replace(HOURLY, zone="Europe/Berlin", last_tick=None))
    h.schedule(HOURLY, None)
    assert h.verdict() is None


def test_ticks_are_served_in_time() -> None:
    def check(schedule: Schedule, served_until: float, late: float) -> None:
        h = History()
        h.lived("s1", "started")
        h.answer(h.invoke("lock_due_schedules", "s1", 1, limit=50), (h.now, []))
        h.schedule(None, schedule)
        h.phase("quiet")
        h.wait(served_until)
        assert h.verdict() is None
        h.wait(late - served_until)
        assert h.breaks(IN_TIME) == f"'s' is not served up to {EPOCH}, and was due at {hour(1)}"

    cases = {
        "usual": (HOURLY, 3601.0, 3603.0),
        "put off": (replace(HOURLY, next_tick=hour(1) + timedelta(seconds=60)), 3660.0, 3665.0),
        "a tick is left out": (replace(HOURLY, next_tick=hour(2)), 3601.0, 3605.0),
    }
    check_each(cases, check)


def test_paused_schedule_is_not_due(h: History) -> None:
    h.lived("s1", "started")
    h.answer(h.invoke("lock_due_schedules", "s1", 1, limit=50), (h.now, []))
    h.schedule(None, replace(HOURLY, paused=True))
    h.phase("quiet")
    h.wait(7200)
    assert h.verdict() is None
