"""Claimed jobs for tests of the worker's parts, which no storage has heard of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from zeke_queue.model import Claimed
from zeke_queue.worker.claims import ServedQueue
from zeke_queue.worker.leased_job import LeasedJob

QUEUE = ServedQueue("work", "work")


class Slot:
    """A slot of a pool that a test plays itself."""

    task: Any = None

    def cancel(self) -> None:
        """Do nothing."""


SLOT = Slot()


def claimed_job(
    number: int, name: str = "work", expire_in: float = 60.0, data: bytes | None = None
) -> Claimed:
    return Claimed(
        id=UUID(int=number),
        name=name,
        data=data,
        attempt=1,
        priority=0,
        retry_count=0,
        retry_limit=3,
        retry_delay=1,
        retry_backoff=True,
        retry_delay_max=None,
        expire_in=expire_in,
        start_after=datetime(2026, 1, 1, tzinfo=UTC),
        parent=None,
        meta=None,
    )


def leased(number: int) -> LeasedJob:
    """Make a leased job of ``work``, with 60 seconds for it."""
    return LeasedJob(claimed_job(number), QUEUE, 60.0)
