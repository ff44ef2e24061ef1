"""What a uniqueness rule refuses: pg-boss 9's four partial unique indexes, as one key a row.

A row falls under one of the four at most, so "which index, which values, until which state" is one value, the
hold. SQL says the same in the indexes of the first migration; ``tests/model`` holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.model import JobState

if TYPE_CHECKING:
    from datetime import datetime

RANK: Final = {state: rank for rank, state in enumerate(JobState)}
"""The order of the database's enum, in which the indexes compare states."""

_SINGLETON_QUEUE: Final = "__pgboss__singleton_queue"


class Hold(NamedTuple):
    """What a row keeps others from having while its state ranks below ``until``."""

    until: int
    name: str
    slot: datetime | None
    key: str | None


def hold_of(name: str, key: str | None, slot: datetime | None) -> Hold | None:
    """Return what a row with these columns holds, or None if nothing about it is unique.

    A slot is held until the job expires, fails or is cancelled, by a completed one too; a key while the job
    waits or runs; a key with pg-boss's prefix for its singleton queues only while it waits.

    Source: the indexes ``job_singletonOn``, ``job_singletonKeyOn``, ``job_singletonKey`` and
    ``job_singleton_queue``.
    """
    if slot is not None:
        return Hold(RANK[JobState.EXPIRED], name, slot, key)
    if key is None:
        return None
    until = JobState.ACTIVE if key.startswith(_SINGLETON_QUEUE) else JobState.COMPLETED
    return Hold(RANK[until], name, None, key)


def held_in(hold: Hold | None, state: JobState) -> bool:
    """Return whether a row in this state still holds what it may hold."""
    return hold is not None and RANK[state] < hold.until
