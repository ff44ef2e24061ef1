"""Uniqueness rules: pg-boss 9's four partial unique indexes, as one key per row.

A row falls under at most one of the four, so "which index, which values, until which state" is one value, the
hold. The indexes of the first migration define the same in SQL; ``tests/model`` compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.model import RowState

if TYPE_CHECKING:
    from datetime import datetime

RANK: Final = {state: rank for rank, state in enumerate(RowState)}
"""The order of states in the database's enum, by which the indexes compare them."""

_SINGLETON_QUEUE: Final = "__pgboss__singleton_queue"


class Hold(NamedTuple):
    """The unique value that a row occupies while its state ranks below ``until``."""

    until: int
    name: str
    slot: datetime | None
    key: str | None


def hold_of(name: str, key: str | None, slot: datetime | None) -> Hold | None:
    """Return the hold of a row with these columns, or None if nothing about it is unique.

    A slot is held until the job expires, fails or is cancelled, also by a completed one; a key while the job
    waits or runs; a key with pg-boss's prefix for its singleton queues only while the job waits.

    Source: the indexes ``job_singletonOn``, ``job_singletonKeyOn``, ``job_singletonKey`` and
    ``job_singleton_queue``.
    """
    if slot is not None:
        return Hold(RANK[RowState.EXPIRED], name, slot, key)
    if key is None:
        return None
    until = RowState.ACTIVE if key.startswith(_SINGLETON_QUEUE) else RowState.COMPLETED
    return Hold(RANK[until], name, None, key)


def held_in(hold: Hold | None, state: RowState) -> bool:
    """Return whether a row in this state still has its hold."""
    return hold is not None and RANK[state] < hold.until
