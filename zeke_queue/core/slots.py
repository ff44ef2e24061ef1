"""Slots of throttled jobs.

Slots are aligned to the Unix epoch, not to the first job, so that every sender computes the same slot on its
own.

Source: pg-boss 9 writes the slot's start into ``singletonon``, a timestamp without a zone that holds UTC, and
relies on a unique index.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


def slot_start(now: datetime, seconds: int, offset: int = 0) -> datetime:
    """Return the start of the slot that contains ``now`` plus the offset.

    Args:
        now: timezone-aware.
        seconds: length of a slot, at least 1.
        offset: seconds added to ``now`` first; the length of a slot gives the next slot.

    Returns:
        A naive datetime in UTC, as the column ``singletonon`` holds it.

    >>> slot_start(datetime(2026, 1, 1, 12, 7, 31, tzinfo=UTC), 300)
    datetime.datetime(2026, 1, 1, 12, 5)
    """
    index = (now - _EPOCH + timedelta(seconds=offset)) // timedelta(seconds=seconds)
    return (_EPOCH + index * seconds * _SECOND).replace(tzinfo=None)
