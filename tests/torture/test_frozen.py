"""Recording by a program whose clock is frozen: its times are of another class."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.torture.recording import dumps, loads


class FrozenTime(datetime):
    """A time as libraries that freeze clocks make it."""


def test_time_of_a_frozen_clock_is_formatted_as_a_time() -> None:
    time = FrozenTime(2026, 3, 2, 9, tzinfo=UTC)
    assert loads(dumps(time)) == time
    assert "FrozenTime" not in dumps(time)
