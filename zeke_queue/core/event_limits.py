"""Limits on the events of one query, in total and per job; shared by both storages and their callers."""

from __future__ import annotations

from typing import Final

EVENTS_AT_ONCE: Final = 1000
"""Events of one query at most, unless that would be less than one for each job."""


def of_each(jobs: int) -> int:
    """Return how many events per job a query over several jobs returns at most, independent of the others.

    >>> of_each(1), of_each(3), of_each(5000)
    (1000, 333, 1)
    """
    return max(1, EVENTS_AT_ONCE // max(1, jobs))
