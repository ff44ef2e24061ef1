"""``ingest-pull``: find the feeds that are due, and have each of them read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.prepare import Send
from zeke_tasks.context import context_of
from zeke_tasks.ingest.pace import PULL_SLACK
from zeke_tasks.payloads import IngestPull, IngestSource
from zeke_tasks.store.model import SourceType

if TYPE_CHECKING:
    from collections.abc import Collection

tasks = Catalog()


@tasks.task("ingest-pull", concurrency_limit=1)
async def ingest_pull(payload: IngestPull, job: JobContext) -> dict[str, int]:
    """Send jobs for all RSS sources that are due."""
    return await pull(payload, job, (SourceType.RSS,), into="ingest-source")


async def pull(
    payload: IngestPull, job: JobContext, types: Collection[SourceType], *, into: str
) -> dict[str, int]:
    """Send one job for each active source that is due; on a manual pull, for each active source.

    The singleton key lets one job of a source wait or run at a time, so that pulls don't pile up behind a
    slow source, or one whose server asked to be left alone. The id lets a pull that is run again send no job
    a second time.

    Returns:
        How many sources are due, and how many jobs were sent for them.
    """
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        due = await rows.sources(types, due_in=PULL_SLACK if payload.reason == "schedule" else None)
        sent = await transaction.send_many(
            Send(
                into,
                IngestSource(source_id=source.id, reason=payload.reason),
                singleton_key=str(source.id),
                id=job.child_id(str(source.id)),
            )
            for source in due
        )
    counts = {"due": len(due), "sent": sum(job_id is not None for job_id in sent)}
    job.logger.info("sources pulled", reason=payload.reason, **counts)
    return counts
