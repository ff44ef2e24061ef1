"""Sending of jobs that read the pages of items, one chunk per job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.task.task import Send
from zeke_tasks.payloads import FetchContent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.task.context import JobContext
    from zeke_queue.task.senders import Transaction

CHUNK: Final = 20
"""Items per ``fetch-content`` job."""

FORGOTTEN_AFTER: Final = 12 * 3600.0
"""Seconds after which a pending item is sent again: longer than its job waits for anything but a scheduled
video. If two jobs have the same item, only one finishes it."""


async def send_to_be_read(
    transaction: Transaction, job: JobContext, item_ids: Sequence[UUID], *, priority: int | None = None
) -> None:
    """Send the jobs that read some items, in the transaction that wrote the items.

    Args:
        transaction: the open transaction.
        job: the parent of the jobs; each is sent once, however often the parent runs.
        item_ids: the items, without duplicates.
        priority: of the jobs; the task's by default.
    """
    chunks = [list(item_ids[start : start + CHUNK]) for start in range(0, len(item_ids), CHUNK)]
    await transaction.send_many(
        Send(
            "fetch-content",
            FetchContent(raw_item_ids=chunk),
            id=job.child_id(f"fetch-content/{chunk[0]}"),
            priority=priority,
        )
        for chunk in chunks
    )
