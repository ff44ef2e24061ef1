"""Which slot of time a throttled job falls into.

Slots are aligned to the Unix epoch, not to the first job, so that every sender computes the same one
without asking.

Source: pg-boss 9 writes the slot's start into ``singletonon``, a timestamp without a zone that is meant as
UTC, and a unique index does the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


def slot_start(now: datetime, seconds: int, offset: int = 0) -> datetime:
    """Return the start of the slot that ``now`` plus the offset lies in.

    Args:
        now: aware.
        seconds: length of a slot, at least 1.
        offset: seconds that are added to ``now`` first; a whole slot's length gives the next slot.

    Returns:
        A naive datetime in UTC, as the column ``singletonon`` holds it.

    >>> slot_start(datetime(2026, 1, 1, 12, 7, 31, tzinfo=UTC), 300)
    datetime.datetime(2026, 1, 1, 12, 5)
    """
    index = (now - _EPOCH + timedelta(seconds=offset)) // timedelta(seconds=seconds)
    return (_EPOCH + index * seconds * _SECOND).replace(tzinfo=None)
