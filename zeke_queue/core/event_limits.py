"""Limits on the events of one query, and of one job; shared by both storages and their callers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from zeke_queue.model import JobEvent

EVENTS_AT_ONCE: Final = 1000
"""Events of one query at most, unless that would be less than one for each job."""

ATTEMPTS_KEPT: Final = 50
"""Maximum attempts of one job, its newest, whose events are kept; each attempt has a limit of its own."""

TRIMMED_AT_ONCE: Final = 1000
"""Maximum events of one job, its oldest, that one write deletes; more than one write adds."""


def of_each(jobs: int) -> int:
    """Return how many events per job a query over several jobs returns at most, independent of the others.

    >>> of_each(1), of_each(3), of_each(5000)
    (1000, 333, 1)
    """
    return max(1, EVENTS_AT_ONCE // max(1, jobs))


def no_longer_kept(events: Iterable[JobEvent]) -> dict[UUID, int]:
    """Return the last attempt whose events are deleted when these are written, of each job that has one."""
    last: dict[UUID, int] = {}
    for event in events:
        if event.attempt - ATTEMPTS_KEPT > last.get(event.job_id, 0):
            last[event.job_id] = event.attempt - ATTEMPTS_KEPT
    return last
