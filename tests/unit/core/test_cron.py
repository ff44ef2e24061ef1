"""Ticks, and which of them are due: nothing lost, nothing twice, at any times of reading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from tests.unit.core.ticks import ticks_between
from tests.unit.tables import check_refused
from zeke_queue.core.cron import GRACE, Cron, due, due_since
from zeke_queue.errors import InvalidOptionError, InvalidScheduleError
from zeke_queue.model import CatchUp

NOON: Final = datetime(2026, 7, 1, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)

EXPRESSIONS: Final = [
    "*/5 * * * *",
    "0 */6 * * *",
    "30 2 * * *",
    "17 * * * *",
    "0 0 1 * *",
    "15,45 1-3 * * 0",
    "*/2 2 * * * 0,30",
    "* * * * * */20",
    "0 0 29 2 *",
]
ZONES: Final = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
]

CHANGES: Final = {
    "Europe/Berlin": [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)],
    "America/New_York": [datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)],
    "Australia/Lord_Howe": [
        datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        datetime(2026, 4, 4, 15, tzinfo=UTC),
    ],
    "Pacific/Apia": [datetime(2011, 12, 30, 10, tzinfo=UTC)],
}

instants = st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
crons = st.builds(Cron.parse, st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES))


def looks(zone: str, count: int) -> st.SearchStrategy[list[datetime]]:
    """Instants in order, within hours of one change of the zone's clocks, or of a noon if it has none."""
    seconds = st.lists(st.integers(-10_000, 10_000), min_size=2, max_size=count).map(sorted)
    around = st.sampled_from(CHANGES.get(zone, [NOON]))
    return st.builds(lambda change, offsets: [change + s * SECOND for s in offsets], around, seconds)


@given(cron=crons, instant=instants)
def test_next_tick_is_later_and_in_utc(cron: Cron, instant: datetime) -> None:
    tick = cron.next_after(instant)
    assert tick is not None
    assert tick > instant
    assert tick.tzinfo is UTC
    assert tick.microsecond == 0


@given(cron=crons, instant=instants, data=st.data())
def test_next_tick_is_the_earliest(cron: Cron, instant: datetime, data: st.DataObject) -> None:
    tick = cron.next_after(instant)
    assert tick is not None
    between = instant + data.draw(st.floats(0, 1, exclude_max=True)) * (tick - instant)
    assert cron.next_after(min(between, tick - timedelta(microseconds=1))) == tick


def test_fraction_of_a_second_has_no_effect() -> None:
    """Ticks are at whole seconds, so an instant has the same next one as the whole second before it."""

    def check(zone: str, expr: str) -> None:
        cron = Cron.parse(expr, zone)
        for change in CHANGES.get(zone, [NOON]):
            for half_hours in range(-4, 5):
                begun = change + half_hours * 30 * MINUTE - SECOND
                tick = cron.next_after(begun)
                assert cron.next_after(begun + timedelta(microseconds=682_821)) == tick, begun

    check_each(product(ZONES, EXPRESSIONS), check)


@given(instant=instants, offset=st.integers(-14, 14))
def test_timezone_of_the_instant_has_no_effect(instant: datetime, offset: int) -> None:
    cron = Cron.parse("30 2 * * *", "Europe/Berlin")
    elsewhere = instant.astimezone(timezone(offset * 60 * MINUTE))
    assert cron.next_after(elsewhere) == cron.next_after(instant)


@given(
    data=st.data(), zone=st.sampled_from(ZONES), expr=st.sampled_from(EXPRESSIONS), limit=st.integers(1, 50)
)
def test_catch_up_all_serves_each_tick_once_at_any_times(
    data: st.DataObject, zone: str, expr: str, limit: int
) -> None:
    cron = Cron.parse(expr, zone)
    moments = data.draw(looks(zone, 8))
    served: list[datetime] = []
    last: datetime | None = None
    for now in moments:
        found = due(cron, last, now, CatchUp.ALL, limit=limit)
        assert len(found.ticks) <= limit
        served += found.ticks
        # As the scheduler does: a schedule whose next tick has passed is looked at again.
        while found.next_tick is not None and found.next_tick <= now:
            before = found.last_tick
            found = due(cron, before, now, CatchUp.ALL, limit=limit)
            assert found.last_tick > before
            served += found.ticks
        last = found.last_tick
    assert served == ticks_between(cron, moments[0], moments[-1])


@given(data=st.data(), zone=st.sampled_from(ZONES), expr=st.sampled_from(EXPRESSIONS))
def test_catch_up_once_serves_the_latest_tick_only(data: st.DataObject, zone: str, expr: str) -> None:
    cron = Cron.parse(expr, zone)
    last, now = data.draw(looks(zone, 2))
    found = due(cron, last, now, CatchUp.ONCE)
    passed = ticks_between(cron, last, now)
    assert list(found.ticks) == passed[-1:]
    assert found.last_tick == (passed[-1] if passed else last)
    assert found.next_tick == cron.next_after(now)


@given(data=st.data(), zone=st.sampled_from(ZONES), expr=st.sampled_from(EXPRESSIONS))
def test_catch_up_skip_is_once_with_an_age_limit(data: st.DataObject, zone: str, expr: str) -> None:
    cron = Cron.parse(expr, zone)
    last, now = data.draw(looks(zone, 2))
    skip, once = due(cron, last, now, CatchUp.SKIP), due(cron, last, now, CatchUp.ONCE)
    assert skip.ticks == tuple(tick for tick in once.ticks if now - tick <= GRACE)
    assert (skip.last_tick, skip.next_tick) == (once.last_tick, once.next_tick)


def test_tick_is_due_at_its_instant_and_not_before_and_none_before_the_schedule() -> None:
    def check(catch_up: CatchUp) -> None:
        cron = Cron.parse("*/5 * * * *")
        first = due(cron, None, NOON + MINUTE, catch_up)
        assert (first.ticks, first.next_tick) == ((), NOON + 5 * MINUTE)
        before = due(cron, NOON, NOON + 5 * MINUTE - timedelta(microseconds=1), catch_up)
        assert (before.ticks, before.last_tick, before.next_tick) == ((), NOON, NOON + 5 * MINUTE)
        for last in (first.last_tick, NOON):
            assert due(cron, last, NOON + 5 * MINUTE, catch_up).ticks == (NOON + 5 * MINUTE,)

    check_each(CatchUp, check)


def test_clock_set_back_repeats_no_tick() -> None:
    def check(catch_up: CatchUp) -> None:
        found = due(Cron.parse("*/5 * * * *"), NOON, NOON - 17 * MINUTE, catch_up)
        assert (found.ticks, found.last_tick, found.next_tick) == ((), NOON, NOON + 5 * MINUTE)

    check_each(CatchUp, check)


def test_each_policy_serves_its_ticks_after_an_outage() -> None:
    def check(catch_up: CatchUp, served: list[datetime]) -> None:
        found = due(Cron.parse("*/5 * * * *"), NOON, NOON + 18 * MINUTE, catch_up)
        assert list(found.ticks) == served
        assert (found.last_tick, found.next_tick) == (NOON + 15 * MINUTE, NOON + 20 * MINUTE)

    check_each(
        [
            (CatchUp.SKIP, []),
            (CatchUp.ONCE, [NOON + 15 * MINUTE]),
            (CatchUp.ALL, [NOON + 5 * MINUTE, NOON + 10 * MINUTE, NOON + 15 * MINUTE]),
        ],
        check,
    )


def test_catch_up_skip_serves_a_recent_tick() -> None:
    cron, tick = Cron.parse("*/5 * * * *"), NOON + 5 * MINUTE
    assert due(cron, NOON, tick + GRACE, CatchUp.SKIP).ticks == (tick,)
    assert due(cron, NOON, tick + GRACE + timedelta(microseconds=1), CatchUp.SKIP).ticks == ()


def test_catch_up_all_serves_a_thousand_per_call_and_reports_more() -> None:
    found = due(Cron.parse("* * * * *"), NOON, NOON + 3_000 * MINUTE, CatchUp.ALL)
    assert len(found.ticks) == 1_000
    assert found.ticks[-1] == found.last_tick == NOON + 1_000 * MINUTE
    assert found.next_tick == NOON + 1_001 * MINUTE


def test_latest_of_millions_of_ticks_is_found_without_iterating() -> None:
    cron = CountingCron.parse("* * * 1 * *")
    found = due(cron, datetime(2000, 1, 1, tzinfo=UTC), NOON, CatchUp.ONCE)
    assert found.ticks == (datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC),)
    assert CountingCron.asked < 100


class CountingCron(Cron):
    asked = 0

    def next_after(self, instant: datetime) -> datetime | None:
        type(self).asked += 1
        return super().next_after(instant)


def test_ticks_end_with_the_calendar() -> None:
    for zone in ("UTC", "Europe/Berlin"):
        assert Cron.parse("0 3 1 1 *", zone).next_after(datetime(9999, 6, 1, tzinfo=UTC)) is None


def test_instant_without_a_timezone_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="aware"):
        Cron.parse("* * * * *").next_after(NOON.replace(tzinfo=None))


def test_unknown_timezone_is_refused_with_similar_names() -> None:
    with pytest.raises(InvalidScheduleError, match="Europe/Berlin"):
        Cron.parse("* * * * *", "europe/berln")


def test_unknown_zone_is_rejected() -> None:
    check_refused(
        lambda zone: Cron.parse("* * * * *", zone),
        InvalidScheduleError,
        ["", "Europe", "../../etc/passwd", "localtime", "right/UTC", "\0", "x" * 5000, None, 5],
        "IANA",
    )


def test_crons_of_equal_expression_and_zone_are_equal() -> None:
    assert Cron.parse("0 3 * * *", "Europe/Berlin") == Cron.parse("0 3 * * *", "Europe/Berlin")
    assert Cron.parse("0 3 * * *", "Europe/Berlin") != Cron.parse("0 3 * * *", "Europe/Paris")


def test_no_tick_is_skipped_from_the_time_at_which_a_schedule_could_not_be_served() -> None:
    every_minute = Cron.parse("* * * * *", "UTC")
    last, since, now = NOON, NOON + 5 * MINUTE, NOON + 8 * MINUTE
    later = [NOON + minutes * MINUTE for minutes in (6, 7, 8)]
    for catch_up in (CatchUp.ONCE, CatchUp.SKIP):
        found = due_since(every_minute, last, since, now, catch_up)
        assert (found.ticks, found.last_tick, found.next_tick) == ((since, *later), now, now + MINUTE)
    assert len(due_since(every_minute, last, since, now, CatchUp.ALL).ticks) == 8
    few = due_since(every_minute, last, since, now, CatchUp.ONCE, limit=2)
    assert (few.ticks, few.last_tick, few.next_tick) == ((since, later[0]), later[0], later[1])
    assert due_since(every_minute, few.last_tick, since, now, CatchUp.ONCE).ticks == tuple(later[1:])
