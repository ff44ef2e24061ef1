"""What cron expressions may be, and that their search agrees with croniter's where no clock changes."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_queue.core import crontab
from zeke_queue.errors import InvalidScheduleError

MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def part(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    pairs = st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1])
    shapes = [
        numbers.map(str),
        pairs.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(pairs, st.integers(1, 7)).map(lambda p: f"{p[0][0]}-{p[0][1]}/{p[1]}"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
    ]
    if names:
        shapes.append(st.sampled_from(names))
    return st.lists(st.one_of(shapes), min_size=1, max_size=3).map(",".join)


def expressions() -> st.SearchStrategy[str]:
    star = st.just("*")
    days = st.one_of(star, part(1, 31), st.just("L"), part(1, 31).map(lambda p: f"{p},L"))
    nth = st.tuples(st.integers(0, 6), st.integers(1, 5)).map(lambda p: f"{p[0]}#{p[1]}")
    last = st.integers(0, 6).map(lambda weekday: f"L{weekday}")
    months = st.one_of(star, part(1, 12, MONTHS))
    times = st.tuples(st.one_of(star, part(0, 59)), st.one_of(star, part(0, 23)))
    either_day = st.one_of(
        st.tuples(days, months, st.one_of(star, part(0, 6, WEEKDAYS))),
        st.tuples(star, months, st.one_of(nth, last)),
    )
    seconds = st.one_of(st.just(()), part(0, 59).map(lambda p: (p,)))
    return st.tuples(times, either_day, seconds).map(lambda t: " ".join((*t[0], *t[1], *t[2])))


def wall(shown: str) -> datetime:
    return datetime.fromisoformat(shown)


def instants() -> st.SearchStrategy[datetime]:
    return st.datetimes(wall("1990-01-01"), wall("2060-01-01"))


@given(expr=expressions(), start=instants())
@settings(max_examples=300)
def test_matches_are_those_that_croniter_finds(expr: str, start: datetime) -> None:
    read = read_or_reject(expr)
    theirs = croniter(expr, start, ret_type=datetime)
    match: datetime | None = start
    for _ in range(4):
        assert match is not None
        match = read.after(match)
        assert match == theirs.get_next()


@given(expr=expressions(), start=instants())
def test_inclusive_search_begins_one_second_earlier(expr: str, start: datetime) -> None:
    read = read_or_reject(expr)
    match = read.after(start)
    assert match is not None
    assert read.since(match) == match
    for second in (start.replace(microsecond=0), match + timedelta(seconds=1)):
        assert read.since(second) == read.after(second - timedelta(seconds=1))


def read_or_reject(expr: str) -> crontab.Crontab:
    """Leave out the expressions that never fire, which is what some of those drawn do."""
    try:
        return crontab.read(expr)
    except InvalidScheduleError as error:
        assume("never fires" not in str(error))
        raise


@given(st.text(alphabet="0123456789*/-,?#LlWwHhRr@ abcdemnoprstuy\t\n.٣５", max_size=30))
@settings(max_examples=300)
def test_any_text_is_a_schedule_or_an_invalid_schedule_error(text: str) -> None:
    with contextlib.suppress(InvalidScheduleError):
        assert crontab.read(text).hours


def test_rare_days_and_odd_spellings_are_found() -> None:
    def check(expr: str, after: str, match: str) -> None:
        assert crontab.read(expr).after(wall(after)) == wall(match)

    check_each(
        [
            ("0 0 29 2 *", "2096-03-01", "2104-02-29"),  # 2100 is no leap year
            ("0 0 * 2 1#5", "2026-01-01", "2044-02-29"),
            ("0 0 31 2 1", "2026-01-01", "2026-02-02"),  # the weekday alone can match
            ("0 0 13 * 5", "2026-01-01", "2026-01-02"),  # either day, as in every cron
            ("0 0 L * *", "2028-02-01", "2028-02-29"),
            ("0 0 * * L5", "2026-01-01", "2026-01-30"),
            ("0 0 * * sun#1", "2026-01-01", "2026-01-04"),
            ("0 0 * * 7", "2026-01-01", "2026-01-04"),
            ("0 22-2/2 * * *", "2026-01-01 01:00", "2026-01-01 02:00"),
            ("*,7 * * * *", "2026-01-01", "2026-01-01 00:01"),
            ("0 0 * * * 30", "2026-01-01", "2026-01-01 00:00:30"),  # the seconds come last
            ("@monthly", "2026-01-01", "2026-02-01"),
            ("  0  0\t* * * ", "2026-01-01", "2026-01-02"),
        ],
        check,
    )


def test_unreadable_field_is_named() -> None:
    def check(expr: str, *named: str) -> None:
        with pytest.raises(InvalidScheduleError) as refused:
            crontab.read(expr)
        assert [part for part in named if part not in str(refused.value)] == []

    check_each(
        [
            ("61 * * * *", "minute must be ", "got '61'"),
            ("* 24 * * *", "hour must be ", "got '24'"),
            ("* * 0 * *", "day of month must be ", "got '0'"),
            ("* * * 13 *", "month must be ", "got '13'"),
            ("* * * * 8", "day of week must be ", "got '8'"),
            ("* * * * * 60", "second must be ", "got '60'"),
            ("*/0 * * * *", "minute must be ", "got '*/0'"),
            ("1,,2 * * * *", "minute must be ", "got '1,,2'"),
            ("٣ * * * *", "minute must be ", "got '٣'"),
        ],
        check,
    )


# Errors, and the expressions that raise them.
INVALID: Final[dict[str | None, list[Any]]] = {
    "never fires": ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2,4 *", "0 0 30,31 feb ?", "* * 30 2 * */10"],
    "must have 5 or 6 fields": ["", "* * * *", "* * * * * * *", "5 minutes"],
    "at most 250 characters": ["* " * 200],
    "random values": ["H * * * *", "* R(1-5) * * *", "0 0 * * * r"],
    "must be a string": [None],
    None: ["0 0 15W * *", "0 0 1 * 5#2", "0 0 L * L5", "@reboot", "@every 5m"],
}


def test_invalid_expression_is_rejected_with_the_reason() -> None:
    def check(expr: Any, said: str | None) -> None:
        with pytest.raises(InvalidScheduleError, match=said):
            crontab.read(expr)

    check_each([(expr, said) for said, exprs in INVALID.items() for expr in exprs], check)


def test_search_beyond_the_calendar_finds_nothing() -> None:
    assert crontab.read("0 0 1 1 *").after(wall("9999-06-01")) is None
