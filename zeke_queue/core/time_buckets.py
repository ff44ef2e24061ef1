"""Equal spans of time, on multiples of their length since 1970, by which what ended is counted."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from zeke_queue.errors import InvalidOptionError

LONGEST: Final = 7 * 86_400
"""Seconds that one may look back."""

MOST: Final = 1000
"""Spans of one answer."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def how_many(span: float, step: float) -> int:
    """Return how many spans of ``step`` seconds a look back over ``span`` seconds has, with the present one.

    Raises:
        InvalidOptionError: one of the two is out of its range, or there would be too many.
    """
    if not 1 <= span <= LONGEST:
        raise InvalidOptionError(f"span: {span} is not 1 to {LONGEST} seconds")
    if not 1 <= step <= LONGEST or step != int(step):
        raise InvalidOptionError(f"step: {step} is not a whole number of seconds, 1 to {LONGEST}")
    number = math.ceil(span / step)
    if number > MOST:
        raise InvalidOptionError(
            f"step: {span} seconds in steps of {step} are {number} spans, {MOST} at most; give a longer step"
        )
    return number


def begin_of(instant: datetime, step: float) -> datetime:
    """Return the start of the span that an instant (aware) is in, in UTC."""
    length = timedelta(seconds=step)
    return _EPOCH + (instant - _EPOCH) // length * length


def begins(now: datetime, number: int, step: float) -> list[datetime]:
    """Return the starts of so many spans, oldest first, of which the last one holds ``now``."""
    last = begin_of(now, step)
    return [last - timedelta(seconds=step) * back for back in reversed(range(number))]
