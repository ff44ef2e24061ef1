"""Dates of feeds: whatever is written there, a moment that every clock can show, or none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from zeke_tasks.fetch.dates import read_date

written = st.text(max_size=40) | st.from_regex(
    r"(Mon, )?\d{1,4} Jan \d{1,20} \d+:\d+:\d+ ([+-]\d+|CET|jst|UTC[+-]\d\d:\d\d)", fullmatch=True
)
guesses = st.none() | st.lists(st.integers(-(10**20), 10**20) | st.integers(0, 12), min_size=9, max_size=9)


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
