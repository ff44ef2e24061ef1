"""Ticks at changes of a zone's clocks.

They are compared with a reference that counts minutes and compares wall times, and with croniter's.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import isleap
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import check_each
from tests.unit.core.test_crontab import expressions, read_or_reject
from tests.unit.core.ticks import ticks_between
from zeke_queue.core import crontab
from zeke_queue.core.cron import Cron

MINUTE: Final = timedelta(minutes=1)
SAMOA_GAP: Final = datetime(2011, 12, 29, 20, tzinfo=UTC)

CHANGES: Final = {
    "Berlin, gap": ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    "Berlin, overlap": ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    "New York, gap": ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
    "New York, overlap": ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
    "Lord Howe, half an hour's gap": ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
    "Lord Howe, half an hour's overlap": ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
    "Samoa, a day left out": ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    "Kwajalein, a day left out": ("Pacific/Kwajalein", datetime(1993, 8, 21, tzinfo=UTC)),
    "Beirut, gap at midnight": ("Asia/Beirut", datetime(2026, 3, 28, tzinfo=UTC)),
    "Havana, overlap at midnight": ("America/Havana", datetime(2026, 11, 1, tzinfo=UTC)),
    "Troll, two hours' gap": ("Antarctica/Troll", datetime(2026, 3, 29, tzinfo=UTC)),
    "Troll, two hours' overlap": ("Antarctica/Troll", datetime(2026, 10, 25, tzinfo=UTC)),
    "Dublin, negative saving": ("Europe/Dublin", datetime(2026, 10, 25, tzinfo=UTC)),
    "Kathmandu, a quarter of an hour for good": ("Asia/Kathmandu", datetime(1985, 12, 31, tzinfo=UTC)),
}


@cache
def walls(change: str) -> list[tuple[datetime, datetime]]:
    """Return each minute from a day before the change to two after it: its instant, and what clocks show."""
    zone, around = CHANGES[change]
    instants = [around + minute * MINUTE for minute in range(-24 * 60, 48 * 60)]
    return [
        (instant, instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for instant in instants
    ]


@cache
def appointments(change: str) -> list[tuple[datetime, datetime]]:
    """Return each wall time of the calendar, shown or not, and the one instant at which it is kept."""
    shown = defaultdict[datetime, list[datetime]](list)
    for instant, wall in walls(change):
        shown[wall].append(instant)
    kept: list[tuple[datetime, datetime]] = []
    wall = min(shown)
    while wall <= max(shown):
        kept.append((wall, shown[wall][0] if wall in shown else after_gap(change, wall)))
        wall += MINUTE
    return kept


def after_gap(change: str, missing: datetime) -> datetime:
    return next(instant for instant, wall in walls(change) if wall > missing)


def reference(change: str, minutes: set[int], hours: set[int]) -> set[datetime]:
    """Apply the rules of ``core.cron`` word by word."""
    if len(hours) == 24:
        return {instant for instant, wall in walls(change) if wall.minute in minutes}
    return {tick for wall, tick in appointments(change) if wall.minute in minutes and wall.hour in hours}


def field(values: set[int], count: int) -> str:
    return "*" if len(values) == count else ",".join(map(str, sorted(values)))


def minute_sets() -> st.SearchStrategy[set[int]]:
    return st.one_of(
        st.sampled_from([set(range(0, 60, step)) for step in (1, 5, 7, 15, 30)]),
        st.sets(st.integers(0, 59), min_size=1, max_size=4),
    )


def hour_sets() -> st.SearchStrategy[set[int]]:
    near_changes = st.sets(st.sampled_from([0, 1, 2, 3, 4, 12, 23]), min_size=1)
    return st.one_of(st.just(set(range(24))), near_changes, st.sets(st.integers(0, 23), min_size=1))


@pytest.mark.nightly
@settings(max_examples=30)
@given(minutes=minute_sets(), hours=hour_sets(), looks=st.lists(st.floats(0, 1), min_size=5, max_size=20))
def test_ticks_around_each_change_follow_the_rules(
    minutes: set[int], hours: set[int], looks: list[float]
) -> None:
    def check(change: str) -> None:
        cron = Cron.parse(f"{field(minutes, 60)} {field(hours, 24)} * * *", CHANGES[change][0])
        begin, end = walls(change)[0][0], walls(change)[-1][0]
        expected = sorted(tick for tick in reference(change, minutes, hours) if begin < tick <= end)

        assert ticks_between(cron, begin, end) == expected

        for look in looks:  # and from instants between the ticks, in either pass of an overlap
            instant = begin + look * (end - begin)
            if instant < expected[-1]:
                assert cron.next_after(instant) == expected[bisect_right(expected, instant)]

    check_each([(change,) for change in CHANGES], check)


def croniter_ticks(expr: str, cron: Cron, instant: datetime) -> Iterator[datetime]:
    """Yield croniter's ticks, but of an appointment that occurs twice only the first occurrence."""
    is_interval = crontab.read(expr).every_hour
    search = croniter(expr, instant.astimezone(ZoneInfo(cron.zone)), ret_type=datetime)
    while True:
        tick = search.get_next()
        occurs_twice = offset(tick.replace(fold=0)) > offset(tick.replace(fold=1))
        if is_interval or not (occurs_twice and tick.fold):
            yield tick.astimezone(UTC)


def is_compared(tick: datetime, expr: str, zone: ZoneInfo) -> bool:
    """Return whether a tick is not in the first minute after a gap, where croniter keeps skipped seconds."""
    skipped = offset((tick - MINUTE).astimezone(zone)) < offset(tick.astimezone(zone))
    return len(expr.split()) == 5 or not skipped


def offset(instant: datetime) -> timedelta:
    return instant.utcoffset() or timedelta(0)


def zones_and_instants() -> st.SearchStrategy[tuple[str, datetime]]:
    """Any zone and instant, and more of those within days of a change."""
    zones = st.sampled_from(sorted(zone for zone in available_timezones() if "/" in zone))
    instants = st.datetimes(datetime(1960, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    hours = st.floats(-100, 100).map(lambda hours: timedelta(hours=hours))
    near = st.builds(
        lambda change, off: (change[0], change[1] + off), st.sampled_from(list(CHANGES.values())), hours
    )
    return st.tuples(zones, instants) | near | near


@given(
    expr=st.one_of(
        expressions(),
        st.builds(
            lambda minutes, hours: f"{field(minutes, 60)} {field(hours, 24)} * * *",
            minute_sets(),
            hour_sets(),
        ),
    ),
    where=zones_and_instants(),
)
@settings(max_examples=150)
def test_ticks_are_those_of_croniter_but_for_stated_differences(
    expr: str, where: tuple[str, datetime]
) -> None:
    read_or_reject(expr)
    zone, instant = where
    cron = Cron.parse(expr, zone)
    compared = partial(is_compared, expr=expr, zone=ZoneInfo(zone))
    expected = list(islice(filter(compared, croniter_ticks(expr, cron, instant)), 3))
    assert list(filter(compared, ticks_between(cron, instant, expected[-1]))) == expected


def test_tick_in_a_repeated_hour_runs_the_first_time() -> None:
    cron = Cron.parse("30 2 * * *", "Europe/Berlin")
    assert ticks_of(cron, datetime(2026, 10, 24, 12, tzinfo=UTC), 2) == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


def test_skipped_day_is_one_tick_at_the_next_midnight() -> None:
    cron = Cron.parse("0 6,12,18 * * *", "Pacific/Apia")
    shown = [tick.astimezone(ZoneInfo("Pacific/Apia")) for tick in ticks_of(cron, SAMOA_GAP, 5)]
    assert [f"{tick:%d. %H:%M}" for tick in shown] == [
        "29. 12:00",
        "29. 18:00",
        "31. 00:00",
        "31. 06:00",
        "31. 12:00",
    ]


@given(st.integers(2000, 2100), st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]))
@settings(max_examples=20)
def test_daily_schedule_has_a_tick_every_day(year: int, zone: str) -> None:
    ticks = ticks_between(Cron.parse("30 2 * * *", zone), *year_in(zone, year))
    days = [tick.astimezone(ZoneInfo(zone)).date() for tick in ticks]
    assert len(days) == len(set(days)) == (366 if isleap(year) else 365)


def ticks_of(cron: Cron, after: datetime, count: int) -> list[datetime]:
    ticks = [after]
    for _ in range(count):
        tick = cron.next_after(ticks[-1])
        assert tick is not None
        ticks.append(tick)
    return ticks[1:]


def year_in(zone: str, year: int) -> tuple[datetime, datetime]:
    return datetime(year, 1, 1, tzinfo=ZoneInfo(zone)), datetime(year + 1, 1, 1, tzinfo=ZoneInfo(zone))
