"""The time without an outage, from calls at intervals."""

from __future__ import annotations

from tests.clocks import FrozenClock
from zeke_queue.maintenance.outage_monitor import OutageMonitor


def _monitor() -> tuple[FrozenClock, OutageMonitor]:
    clock = FrozenClock()
    return clock, OutageMonitor(clock, 8.0)


def test_uptime_begins_with_the_first_answer() -> None:
    clock, monitor = _monitor()
    assert monitor.uptime() == 0.0
    clock.advance(100)
    monitor.answered(100.0)
    assert monitor.uptime() == 0.0
    clock.advance(5)
    assert monitor.uptime() == 5.0


def test_uptime_grows_while_answers_come_at_intervals() -> None:
    clock, monitor = _monitor()
    for second in range(0, 50, 5):
        monitor.answered(float(second))
        clock.advance(5)
    assert monitor.uptime() == 50.0


def test_uptime_ends_without_answers_and_begins_anew() -> None:
    clock, monitor = _monitor()
    monitor.answered(0.0)
    clock.advance(8.5)
    assert monitor.uptime() == 0.0
    monitor.answered(8.5)
    clock.advance(3)
    assert monitor.uptime() == 3.0


def test_time_of_a_call_that_had_the_storage_is_not_an_outage() -> None:
    clock, monitor = _monitor()
    monitor.answered(0.0)
    clock.advance(60)
    monitor.answered(5.0)
    assert monitor.uptime() == 60.0


def test_uptime_counts_from_the_answer_of_a_call_that_took_long() -> None:
    """An outage may have begun and ended since the call reached the storage."""
    clock, monitor = _monitor()
    clock.advance(60)
    monitor.answered(5.0)
    assert monitor.uptime() == 0.0
    clock.advance(3)
    assert monitor.uptime() == 3.0


def test_outage_may_have_begun_while_this_process_could_not_take_an_answer() -> None:
    clock, monitor = _monitor()
    monitor.answered(0.0)
    clock.advance(12)
    monitor.answered(12.0, 0.1)
    assert monitor.uptime() == 0.0
    clock.advance(5)
    monitor.answered(17.0, 17.0)
    clock.advance(1)
    assert monitor.uptime() == 1.0
