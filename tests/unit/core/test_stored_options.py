"""Options of schedules: written in our spelling, read in ours and in pg-boss's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from tests.unit.tables import check_gives, check_refused
from zeke_queue.core import jsonb
from zeke_queue.core.options import OptionLayer
from zeke_queue.core.stored_options import read, write
from zeke_queue.errors import InvalidOptionError

whatever = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.floats(0, 1e9))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "priority": st.integers(-9, 9),
            "retry_limit": st.integers(0, 9),
            "retry_backoff": st.booleans(),
            "retry_delay": st.integers(0, 9) | st.builds(timedelta, seconds=st.integers(0, 9)),
            "expire_in": st.floats(1, 99) | st.none(),
            "singleton_key": st.text(
                st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5
            ),
            "throttle": st.integers(1, 99),
        },
    )
)
def test_stored_options_are_read_back_as_written(options: dict[str, Any]) -> None:
    stored = jsonb.loads(jsonb.dumps(write(options)))
    seconds: dict[str, Any] = {
        k: v.total_seconds() if isinstance(v, timedelta) else v for k, v in options.items()
    }
    assert read(stored) == OptionLayer(**seconds)


def test_option_that_schedules_do_not_support_is_rejected() -> None:
    def check(name: str) -> None:
        with pytest.raises(InvalidOptionError, match=name):
            write({name: None})

    check_each(["delay", "start_at", "retryLimit", "retries"], check)


def test_pg_boss_spelling_is_read() -> None:
    def check(stored: dict[str, Any], options: dict[str, Any]) -> None:
        assert {name: getattr(read(stored), name) for name in options} == options

    check_each(
        [
            ({"retryLimit": 4, "retryDelay": 5, "retryBackoff": False}, {"retry_limit": 4, "retry_delay": 5}),
            ({"retryLimit": 0, "priority": -1, "singletonKey": "k"}, {"priority": -1, "singleton_key": "k"}),
            ({"expireInSeconds": 9}, {"expire_in": 9}),
            ({"expireInMinutes": 2, "expireInSeconds": 9}, {"expire_in": 120}),
            ({"expireInHours": 1, "expireInMinutes": 2}, {"expire_in": 3_600}),
            ({"singletonSeconds": 9}, {"throttle": 9}),
            ({"singletonHours": 0, "singletonMinutes": 2}, {"throttle": 120}),
            ({"singletonSeconds": 0}, {"throttle": None}),
            ({"singletonMinutes": 2, "singletonNextSlot": True}, {"debounce": 120, "throttle": None}),
            ({"tz": "UTC", "startAfter": 5, "onComplete": True, "retentionDays": 3}, {"start_at": None}),
        ],
        check,
    )


def test_our_spelling_has_precedence() -> None:
    check_gives(
        read,
        [
            ({"expire_in": 5, "expireInHours": 1}, OptionLayer(expire_in=5)),
            ({"retry_limit": 0, "retryLimit": 4}, OptionLayer(retry_limit=0)),
            ({"throttle": 5, "singletonHours": 1, "singletonNextSlot": True}, OptionLayer(throttle=5)),
        ],
    )


def test_stored_options_must_be_an_object() -> None:
    check_refused(read, InvalidOptionError, [["retryLimit"], "retryLimit", 5, None], "options")


@given(st.dictionaries(st.sampled_from(["expireInHours", "singletonHours", "retryLimit", "x"]), whatever))
def test_whatever_is_stored_can_be_read(stored: dict[str, Any]) -> None:
    assert isinstance(read(stored), OptionLayer)
