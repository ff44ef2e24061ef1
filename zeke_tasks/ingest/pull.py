"""``ingest-pull``: send jobs that read the feeds that are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.task import Send
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

    Because of the singleton key, at most one job per source waits or runs, so pulls don't pile up behind a
    slow source or one that waits for its server's Retry-After. Because of the fixed id, a pull that runs
    again sends no job a second time.

    Returns:
        The number of sources that are due, and of jobs that were sent.
    """
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        due = await rows.sources(types, due_in=PULL_SLACK if payload.reason == "schedule" else None)
        runs = await transaction.send_many(
            Send(
                into,
                IngestSource(source_id=source.id, reason=payload.reason),
                singleton_key=str(source.id),
                id=job.child_id(str(source.id)),
            )
            for source in due
        )
    counts = {"due": len(due), "sent": sum(run.created for run in runs)}
    job.logger.info("sources pulled", reason=payload.reason, **counts)
    return counts
