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


def test_answer_proves_nothing_about_the_time_since_its_call() -> None:
    """It may have waited for this process, while there was an outage."""
    clock, monitor = _monitor()
    monitor.answered(0.0)
    clock.advance(7)
    monitor.answered(0.1)
    assert monitor.uptime() == 7.0
    clock.advance(2)
    assert monitor.uptime() == 0.0
    monitor.answered(9.0)
    assert monitor.uptime() == 0.0
    clock.advance(1)
    assert monitor.uptime() == 1.0


def test_uptime_after_an_outage_begins_with_the_answer() -> None:
    clock, monitor = _monitor()
    monitor.answered(0.0)
    clock.advance(60)
    monitor.answered(55.0)
    assert monitor.uptime() == 0.0
    clock.advance(2)
    assert monitor.uptime() == 2.0


def test_overlapping_calls_without_an_answer_are_an_outage() -> None:
    clock, monitor = _monitor()
    monitor.answered(0.0)
    clock.advance(20)
    for sent in (5.0, 12.0, 19.0):
        monitor.answered(sent)
    assert monitor.uptime() == 0.0


def test_late_answer_to_an_earlier_call_does_not_shorten_the_uptime() -> None:
    clock, monitor = _monitor()
    monitor.answered(0.0)
    clock.advance(6)
    monitor.answered(6.0)
    monitor.answered(1.0)
    clock.advance(5)
    assert monitor.uptime() == 11.0
