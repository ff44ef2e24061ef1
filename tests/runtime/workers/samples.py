"""Claimed jobs for tests of the worker's parts, which no storage has heard of."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from zeke_queue.model import Claimed
from zeke_queue.task.task import Task
from zeke_queue.worker.held import Held, Served


async def nothing() -> None:
    """Do nothing."""


SERVED = Served("work", Task(nothing, "work"))


def held(number: int) -> Held:
    """Make a held job of ``work`` with this number in its id, and 60 seconds for it."""
    claimed = Claimed(
        id=UUID(int=number),
        name="work",
        data=None,
        attempt=1,
        priority=0,
        retry_count=0,
        retry_limit=3,
        retry_delay=1,
        retry_backoff=True,
        retry_delay_max=None,
        expire_in=60.0,
        start_after=datetime(2026, 1, 1, tzinfo=UTC),
        parent=None,
        meta=None,
    )
    return Held(claimed, SERVED, 60.0)
