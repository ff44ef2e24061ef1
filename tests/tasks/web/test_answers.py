"""Retry-After, in all the forms that servers send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import START
from zeke_tasks.web.answers import seconds_to_wait


def read(header: str) -> float | None:
    return seconds_to_wait(header, now=START, max_wait=3600.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
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
    ],
)
def test_seconds_and_dates_are_read_and_capped(header: str, seconds: float) -> None:
    assert read(header) == seconds


@pytest.mark.parametrize("header", ["", "soon", "-5", "1e9", "9" * 5000, "inf", "nan", "0x10", "Mon, 99 Foo"])
def test_what_says_nothing_is_no_wait(header: str) -> None:
    assert read(header) is None


@pytest.mark.parametrize(
    "header", [f"Mon, 05 Jan {'9' * 20} 12:00:00 GMT", f"Mon, 05 Jan 2026 12:00:00 +{'9' * 20}"]
)
def test_a_date_beyond_all_dates_is_no_wait(header: str) -> None:
    assert read(header) is None


@given(st.text() | st.from_regex(r"Mon, \d+ Jan \d+ \d+:\d+:\d+ [+-]?\d+", fullmatch=True))
def test_whatever_is_sent_the_wait_is_bounded(header: str) -> None:
    seconds = read(header)
    assert seconds is None or 0 <= seconds <= 3600
