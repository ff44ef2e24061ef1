"""Recording by a program whose clock is frozen, as one that runs tests may be."""

from __future__ import annotations

from datetime import UTC, datetime

from freezegun import freeze_time

from tests.torture.recording import dumps, loads


def test_a_time_of_a_frozen_clock_reads_as_a_time() -> None:
    with freeze_time("2026-03-02 09:00"):
        line = dumps(datetime.now(UTC))  # noqa: TID251 - the frozen clock is what it is about
    assert loads(line) == datetime(2026, 3, 2, 9, tzinfo=UTC)
