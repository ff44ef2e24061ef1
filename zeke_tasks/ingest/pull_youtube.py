"""``ingest-pull-youtube``: send jobs that check the channels and searches that are due."""

from __future__ import annotations

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.ingest.pull import pull
from zeke_tasks.payloads import IngestPull
from zeke_tasks.store.model import SourceType

tasks = Catalog()


@tasks.task("ingest-pull-youtube", concurrency_limit=1)
async def ingest_pull_youtube(payload: IngestPull, job: JobContext) -> dict[str, int]:
    """Send jobs for all channels and searches that are due."""
    types = (SourceType.YOUTUBE_CHANNEL, SourceType.YOUTUBE_SEARCH)
    return await pull(payload, job, types, into="ingest-from-youtube")
