"""Sends jobs that read the pages of items, a chunk of them a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.task.prepare import Send
from zeke_tasks.payloads import FetchContent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.client.transaction import QueueTransaction
    from zeke_queue.task.context import JobContext

CHUNK: Final = 20
"""Items of one ``fetch-content`` job."""

FORGOTTEN_AFTER: Final = 12 * 3600.0
"""Seconds after which an item that is still pending is sent again: longer than its job waits for anything but
a video that is announced, and of two jobs with one item one does it."""


async def send_to_be_read(
    transaction: QueueTransaction, job: JobContext, item_ids: Sequence[UUID], *, priority: int | None = None
) -> None:
    """Send the jobs that read some items, in the transaction that wrote those.

    Args:
        transaction: the open transaction.
        job: whose children they are; each is sent once, however often that one runs.
        item_ids: the items, each once.
        priority: of the jobs; the task's own by default.
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
