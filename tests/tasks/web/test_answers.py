"""Retry-After, in all the forms that servers send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from tests.clocks import START
from zeke_tasks.fetch.answers import seconds_to_wait


def read(header: str) -> float | None:
    return seconds_to_wait(header, now=START, max_wait=3600.0)


def test_seconds_and_dates_are_read_up_to_a_limit() -> None:
    def check(header: str, seconds: float | None) -> None:
        assert read(header) == seconds

    cases = [
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
    ]
    check_each(cases, check)


@given(st.text() | st.from_regex(r"Mon, \d+ Jan \d+ \d+:\d+:\d+ [+-]?\d+", fullmatch=True))
def test_wait_is_bounded_for_any_header(header: str) -> None:
    seconds = read(header)
    assert seconds is None or 0 <= seconds <= 3600
