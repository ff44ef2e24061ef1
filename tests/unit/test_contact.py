"""The time without an outage, from calls at intervals."""

from __future__ import annotations

from tests.clocks import FrozenClock
from zeke_queue.maintenance.contact import Contact


def _contact() -> tuple[FrozenClock, Contact]:
    clock = FrozenClock()
    return clock, Contact(clock, 8.0)


def test_contact_begins_with_the_first_answer() -> None:
    clock, contact = _contact()
    assert contact.seconds() == 0.0
    clock.advance(100)
    contact.answered(100.0)
    assert contact.seconds() == 0.0
    clock.advance(5)
    assert contact.seconds() == 5.0


def test_contact_lasts_while_answers_come_at_intervals() -> None:
    clock, contact = _contact()
    for second in range(0, 50, 5):
        contact.answered(float(second))
        clock.advance(5)
    assert contact.seconds() == 50.0


def test_contact_ends_without_answers_and_begins_anew() -> None:
    clock, contact = _contact()
    contact.answered(0.0)
    clock.advance(8.5)
    assert contact.seconds() == 0.0
    contact.answered(8.5)
    clock.advance(3)
    assert contact.seconds() == 3.0


def test_time_of_a_call_that_had_the_storage_is_not_an_outage() -> None:
    clock, contact = _contact()
    contact.answered(0.0)
    clock.advance(60)
    contact.answered(5.0)
    assert contact.seconds() == 60.0
