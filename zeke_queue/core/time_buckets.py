"""Intervals of equal length, aligned to multiples of it since 1970, for counts of ended jobs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from zeke_queue.errors import InvalidOptionError

LONGEST: Final = 7 * 86_400
"""Seconds back at most."""

MOST: Final = 1000
"""Intervals per answer at most."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def how_many(span: float, step: float) -> int:
    """Return how many intervals of ``step`` seconds cover the last ``span`` seconds and the present.

    Raises:
        InvalidOptionError: one of the two is out of range, or there would be too many.
    """
    if not 1 <= span <= LONGEST:
        raise InvalidOptionError(f"span: must be 1 to {LONGEST} seconds, got {span}")
    if not 1 <= step <= LONGEST or step != int(step):
        raise InvalidOptionError(f"step: must be a whole number of seconds, 1 to {LONGEST}, got {step}")
    number = math.ceil(span / step)
    if number > MOST:
        raise InvalidOptionError(
            f"step: {span} seconds in steps of {step} are {number} spans, {MOST} at most; pass a longer step"
        )
    return number


def begin_of(instant: datetime, step: float) -> datetime:
    """Return the start of the interval that contains an instant (aware), in UTC."""
    length = timedelta(seconds=step)
    return _EPOCH + (instant - _EPOCH) // length * length


def begins(now: datetime, number: int, step: float) -> list[datetime]:
    """Return the starts of ``number`` intervals, oldest first; the last interval contains ``now``."""
    last = begin_of(now, step)
    return [last - timedelta(seconds=step) * back for back in reversed(range(number))]
