"""Options of schedules: written in our spelling, read in ours and in pg-boss's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeke_queue.core import jsonb
from zeke_queue.core.options import JobOptions
from zeke_queue.core.stored_options import read, write
from zeke_queue.errors import BadOption

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
def test_what_is_written_is_read_again(options: dict[str, Any]) -> None:
    stored = jsonb.loads(jsonb.dumps(write(options)))
    seconds: dict[str, Any] = {
        k: v.total_seconds() if isinstance(v, timedelta) else v for k, v in options.items()
    }
    assert read(stored) == JobOptions(**seconds)


@pytest.mark.parametrize("name", ["delay", "start_at", "retryLimit", "retries"])
def test_what_a_schedule_s_jobs_can_not_have_is_not_written(name: str) -> None:
    with pytest.raises(BadOption, match=name):
        write({name: None})


@pytest.mark.parametrize(
    ("stored", "options"),
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
)
def test_pg_boss_s_spelling_is_read(stored: dict[str, Any], options: dict[str, Any]) -> None:
    assert {name: getattr(read(stored), name) for name in options} == options


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        ({"expire_in": 5, "expireInHours": 1}, JobOptions(expire_in=5)),
        ({"retry_limit": 0, "retryLimit": 4}, JobOptions(retry_limit=0)),
        ({"throttle": 5, "singletonHours": 1, "singletonNextSlot": True}, JobOptions(throttle=5)),
    ],
)
def test_our_spelling_wins(stored: dict[str, Any], options: JobOptions) -> None:
    assert read(stored) == options


@pytest.mark.parametrize("stored", [["retryLimit"], "retryLimit", 5, None])
def test_what_is_no_object_is_refused(stored: object) -> None:
    with pytest.raises(BadOption, match="options"):
        read(stored)


@given(st.dictionaries(st.sampled_from(["expireInHours", "singletonHours", "retryLimit", "x"]), whatever))
def test_whatever_is_stored_can_be_read(stored: dict[str, Any]) -> None:
    assert isinstance(read(stored), JobOptions)
