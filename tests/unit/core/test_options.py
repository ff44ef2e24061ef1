"""Options: how layers merge, and which values a job refuses."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_queue.core.options import DEFAULTS, INT4_MAX, INT4_MIN, OptionLayer, merge, new_job, next_slot
from zeke_queue.errors import InvalidNameError, InvalidOptionError
from zeke_queue.model import NewJob

ID: Final = UUID(int=7)
NAMES: Final = [field.name for field in fields(OptionLayer)]
RIVALS: Final = [{"delay", "start_at"}, {"throttle", "debounce"}]
LATER: Final = datetime(2030, 1, 1, tzinfo=UTC)
EAST, WEST = timezone(timedelta(hours=12)), timezone(timedelta(hours=-12))

VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "priority": st.integers(INT4_MIN, INT4_MAX),
    "delay": st.floats(0, INT4_MAX) | st.timedeltas(timedelta(0), timedelta(days=999)),
    "start_at": st.datetimes(datetime(2, 1, 2), datetime(9998, 12, 30), timezones=st.timezones()),  # noqa: DTZ001
    "retry_limit": st.integers(0, INT4_MAX),
    "retry_delay": st.integers(0, INT4_MAX) | st.integers(0, 999).map(lambda s: timedelta(seconds=s)),
    "retry_backoff": st.booleans(),
    "retry_delay_max": st.integers(0, INT4_MAX),
    "expire_in": st.floats(0.001, INT4_MAX) | st.timedeltas(timedelta(milliseconds=1), timedelta(days=999)),
    "singleton_key": st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=50),
    "throttle": st.integers(1, INT4_MAX),
    "debounce": st.integers(1, INT4_MAX),
    "group_key": st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=50),
}


def layers() -> st.SearchStrategy[OptionLayer]:
    """Any options, but none of two that exclude each other."""
    given_ = st.fixed_dictionaries({}, optional=VALUES)
    return given_.filter(lambda chosen: not any(pair <= chosen.keys() for pair in RIVALS)).map(
        lambda c: OptionLayer(**c)
    )


def job(**options: Any) -> NewJob:
    return new_job(ID, "a-queue", None, merge(OptionLayer(**options), DEFAULTS))


def rival(name: str) -> str | None:
    return next((other for pair in RIVALS if name in pair for other in pair - {name}), None)


@given(stack=st.lists(layers(), max_size=4))
def test_first_layer_that_sets_an_option_wins(stack: list[OptionLayer]) -> None:
    merged = merge(*stack)
    for name in NAMES:
        speaks = next((n for n, layer in enumerate(stack) if getattr(layer, name) is not None), None)
        other = rival(name)
        beaten = other is not None and any(getattr(layer, other) is not None for layer in stack[:speaks])
        expected = None if speaks is None or beaten else getattr(stack[speaks], name)
        assert getattr(merged, name) == expected


def test_explicit_zero_or_false_overrides_every_other_layer() -> None:
    def check(name: str, value: Any) -> None:
        strong = OptionLayer(**{name: value})
        weak = OptionLayer(priority=9, delay=9, retry_limit=9, retry_delay=9, retry_backoff=True)
        assert getattr(merge(strong, weak, DEFAULTS), name) == value
        made = new_job(ID, "a-queue", None, merge(strong, weak, DEFAULTS))
        assert getattr(made, name) == value

    check_each(
        [("retry_limit", 0), ("retry_backoff", False), ("retry_delay", 0), ("priority", 0), ("delay", 0)],
        check,
    )


@given(options=layers())
def test_merging_one_layer_or_empty_ones_changes_nothing(options: OptionLayer) -> None:
    assert merge(options) == merge(OptionLayer(), options, OptionLayer()) == options


def test_send_overrides_a_conflicting_option_of_its_task() -> None:
    assert merge(OptionLayer(start_at=LATER), OptionLayer(delay=5)) == OptionLayer(start_at=LATER)
    assert merge(OptionLayer(debounce=60), OptionLayer(throttle=5)) == OptionLayer(debounce=60)


def test_job_without_options_has_the_defaults() -> None:
    made = job()
    assert made == NewJob(id=ID, name="a-queue")
    assert (made.retry_limit, made.retry_delay, made.retry_backoff, made.expire_in) == (3, 1, True, 3600.0)
    assert new_job(ID, "a-queue", None, DEFAULTS) == made


@given(options=layers())
def test_values_in_range_are_kept(options: OptionLayer) -> None:
    made = new_job(ID, "a-queue", "{}", merge(options, DEFAULTS), parent=UUID(int=1), meta='{"a":1}')
    seconds = {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name in NAMES
        if (value := getattr(options, name)) is not None
    }
    slot = seconds.pop("throttle", None) or seconds.pop("debounce", None)
    assert {name: getattr(made, name) for name in seconds} == seconds
    assert (made.slot_seconds, made.slot_offset) == (slot, 0)
    assert (made.data, made.parent, made.meta) == ("{}", UUID(int=1), '{"a":1}')


BAD: Final[list[tuple[str, Any]]] = [
    *[("priority", v) for v in (True, 1.0, "1", INT4_MAX + 1, INT4_MIN - 1)],
    *[("retry_limit", v) for v in (False, -1, 2.5, INT4_MAX + 1, "3", timedelta(seconds=1))],
    *[
        ("delay", v)
        for v in (-1, -0.001, math.nan, math.inf, -math.inf, True, "5", timedelta(-1), INT4_MAX + 1)
    ],
    *[("retry_delay", v) for v in (-1, 1.5, True, math.nan, timedelta(milliseconds=1), INT4_MAX + 1, "1")],
    *[("retry_delay_max", v) for v in (-1, 0.5, True, math.inf, INT4_MAX + 1)],
    *[("expire_in", v) for v in (0, -1, 0.0001, math.nan, math.inf, True, timedelta(0), timedelta.max, "1h")],
    *[("retry_backoff", v) for v in (0, 1, "yes")],
    *[("start_at", v) for v in (datetime(2030, 1, 1), LATER.date(), "2030-01-01", 5)],  # noqa: DTZ001
    *[("start_at", v) for v in (datetime.min.replace(tzinfo=EAST), datetime.max.replace(tzinfo=WEST))],
    *[("start_at", v) for v in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))],
    *[("throttle", v) for v in (0, -1, 0.5, True, math.nan, INT4_MAX + 1, timedelta(0))],
    *[("debounce", v) for v in (0, -1, 0.5, True, math.nan, INT4_MAX + 1, timedelta(0))],
    *[("singleton_key", v) for v in ("", 5, "a\0b", "\ud800", "é" * 501, "__pgboss__singleton_queue", b"a")],
    *[("group_key", v) for v in ("", 5, "a\0b", "\ud800", "x" * 1001)],
]


def test_value_out_of_range_is_rejected_with_its_field() -> None:
    def check(name: str, value: object) -> None:
        with pytest.raises(InvalidOptionError, match=f"^{name}: ") as refused:
            job(**{name: value})
        assert len(str(refused.value)) < 300

    check_each(BAD, check)


def test_options_that_exclude_each_other_are_rejected() -> None:
    for pair in [{"delay": 0, "start_at": LATER}, {"throttle": 60, "debounce": 60}]:
        with pytest.raises(InvalidOptionError, match="must not be set together, got both"):
            job(**pair)


def test_number_out_of_range_is_rejected_with_the_maximum() -> None:
    too_long_to_print = 10**5000
    for name in ("priority", "retry_limit", "retry_delay", "throttle", "delay", "expire_in"):
        for value in (INT4_MAX + 1, too_long_to_print):
            with pytest.raises(InvalidOptionError, match=f"^{name}: must be .*{INT4_MAX}"):
                job(**{name: value})


def test_invalid_name_is_refused() -> None:
    with pytest.raises(InvalidNameError):
        new_job(ID, "not a queue", None, DEFAULTS)


def test_second_try_of_a_debounced_job_is_one_slot_later() -> None:
    made = job(debounce=timedelta(minutes=5), priority=3)
    assert next_slot(replace(made, fresh=True)) == replace(made, slot_offset=300, fresh=False)


def test_job_without_a_slot_has_no_second_try() -> None:
    with pytest.raises(InvalidOptionError, match=r"^debounce: must be set"):
        next_slot(job())
