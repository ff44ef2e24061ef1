"""Slots: aligned to the epoch, each instant in exactly one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from zeke_queue.core.slots import slot_start

instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
lengths = st.integers(1, 2**31 - 1)


@given(now=instants, seconds=lengths)
def test_instant_lies_in_its_slot(now: datetime, seconds: int) -> None:
    start = slot_start(now, seconds)
    assert start.tzinfo is None
    assert timedelta(0) <= now.replace(tzinfo=None) - start < timedelta(seconds=seconds)


@given(now=instants, seconds=st.integers(1, 10_000_000))
def test_offset_of_a_whole_slot_gives_the_next_one(now: datetime, seconds: int) -> None:
    assert slot_start(now, seconds, seconds) == slot_start(now, seconds) + timedelta(seconds=seconds)


@given(now=instants, seconds=lengths)
def test_slot_begins_at_a_multiple_of_its_length(now: datetime, seconds: int) -> None:
    since_epoch = slot_start(now, seconds).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert since_epoch % timedelta(seconds=seconds) == timedelta(0)


@given(now=instants, seconds=lengths, hours=st.integers(-12, 14))
def test_timezone_of_the_instant_has_no_effect(now: datetime, seconds: int, hours: int) -> None:
    assert slot_start(now.astimezone(timezone(timedelta(hours=hours))), seconds) == slot_start(now, seconds)
