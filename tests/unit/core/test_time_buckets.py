"""Equal spans of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.cases import check_each
from tests.unit.tables import check_gives
from zeke_queue.core import time_buckets
from zeke_queue.errors import InvalidOptionError

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def test_span_is_rounded_up_to_whole_steps() -> None:
    check_gives(
        time_buckets.how_many, [(60, 60, 1), (61, 60, 2), (1, 60, 1), (3600, 60, 60), (604_800, 605, 1000)]
    )


def test_invalid_span_or_step_is_rejected() -> None:
    def check(span: float, step: float, complaint: str) -> None:
        with pytest.raises(InvalidOptionError, match=complaint):
            time_buckets.how_many(span, step)

    check_each(
        [
            (0.5, 1, "span: must be 1 to 604800 seconds, got 0.5"),
            (604_801, 3600, "got 604801"),
            (float("nan"), 3600, "got nan"),
            (60, 0, "step: must be a whole number of seconds, 1 to 604800, got 0"),
            (60, 1.5, "step: must be a whole number of seconds, 1 to 604800, got 1.5"),
            (60, float("inf"), "got inf"),
            (60, float("nan"), "got nan"),
            (3600, 3, "step: 3600 seconds in steps of 3 are 1200 spans, 1000 at most; pass a longer step"),
        ],
        check,
    )


def test_span_includes_its_first_instant_and_excludes_its_end() -> None:
    for seconds in [0, 0.000001, 299.999999]:
        assert time_buckets.begin_of(NOON + timedelta(seconds=seconds), 300) == NOON
    assert time_buckets.begin_of(NOON + timedelta(seconds=300), 300) > NOON


def test_buckets_are_aligned_before_1970() -> None:
    assert time_buckets.begin_of(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), 60) == datetime(
        1969, 12, 31, 23, 59, tzinfo=UTC
    )


def test_buckets_are_in_utc_for_any_timezone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    begin = time_buckets.begin_of(there, 86_400)
    assert (begin, begin.tzinfo) == (datetime(2026, 1, 5, tzinfo=UTC), UTC)


def test_last_bucket_contains_now() -> None:
    now = NOON + timedelta(seconds=61)
    assert time_buckets.begins(now, 3, 60) == [NOON + timedelta(seconds=60 * n) for n in (-1, 0, 1)]
