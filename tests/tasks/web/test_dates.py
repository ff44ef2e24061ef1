"""Dates of feeds and Retry-After, in all the forms that servers send: a moment in range, or none."""

from __future__ import annotations

import time  # noqa: TID251 - for tzset
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import each
from tests.clocks import START
from zeke_tasks.fetch.answers import seconds_to_wait
from zeke_tasks.fetch.dates import read_date

written = st.text(max_size=40) | st.from_regex(
    r"(Mon, )?\d{1,4} Jan \d{1,20} \d+:\d+:\d+ ([+-]\d+|CET|jst|UTC[+-]\d\d:\d\d)", fullmatch=True
)
guesses = st.none() | st.lists(st.integers(-(10**20), 10**20) | st.integers(0, 12), min_size=9, max_size=9)


@pytest.fixture(scope="module", autouse=True)
def elsewhere() -> Iterator[None]:
    """Run the tests on a machine whose clock shows another time than UTC's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", "NST3:30NDT,M3.2.0,M11.1.0")  # a slim system knows no zones by name
        time.tzset()
        yield
    time.tzset()


@given(written, guesses)
def test_any_text_is_a_date_in_range_or_none(text: str, guess: list[int] | None) -> None:
    moment = read_date(text, guess)
    if moment is not None:
        assert moment.utcoffset() == timedelta(0)
        assert moment + timedelta(days=1) > moment > moment - timedelta(days=1)


def test_date_guessed_by_the_parser_is_used_if_plausible() -> None:
    guess = (2026, 1, 5, 12, 0, 0, 0, 5, 0)
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert read_date("whatever it understood", guess) == noon
    assert read_date("Mon, 05 Jan 2026 12:00:00 MEZ", guess) == noon - timedelta(hours=1)
    assert read_date("Mon, 05 Jan 2026 12:00:00 GMT-0330", guess) == noon + timedelta(hours=3, minutes=30)
    assert read_date("20260105120000", guess) is None
    assert read_date("no date", None) is None


def read(header: str) -> float | None:
    return seconds_to_wait(header, now=START, max_wait=3600.0)


@each(
    ("0", 0),
    ("120", 120),
    (" 7 ", 7),
    ("1.5", 1),
    ("99999", 3600),
    ("123456789012", 3600),
    ("Mon, 05 Jan 2026 12:01:00 GMT", 60),
    ("Mon, 05 Jan 2026 13:01:00 +0100", 60),
    ("Monday, 05-Jan-26 12:01:00 GMT", 60),
    ("Mon Jan  5 12:01:00 2026", 60),
    ("Mon, 05 Jan 2026 11:00:00 GMT", 0),
    ("Tue, 05 Jan 2038 12:00:00 GMT", 3600),
    *((header, None) for header in ("", "soon", "-5", "1e9", "9" * 5000, "inf", "nan", "0x10")),
    ("Mon, 99 Foo", None),
    # Beyond all dates.
    (f"Mon, 05 Jan {'9' * 20} 12:00:00 GMT", None),
    (f"Mon, 05 Jan 2026 12:00:00 +{'9' * 20}", None),
)
def test_seconds_and_dates_are_read_up_to_a_limit(header: str, seconds: float | None) -> None:
    assert read(header) == seconds


@given(st.text() | st.from_regex(r"Mon, \d+ Jan \d+ \d+:\d+:\d+ [+-]?\d+", fullmatch=True))
def test_wait_is_bounded_for_any_header(header: str) -> None:
    seconds = read(header)
    assert seconds is None or 0 <= seconds <= 3600
