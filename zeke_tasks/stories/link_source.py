"""``link-source-to-story``: set the primary source of a story."""

from __future__ import annotations

from uuid import UUID

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail
from zeke_tasks.context import context_of
from zeke_tasks.payloads import LinkSourceToStory
from zeke_tasks.stories.require import require_story

tasks = Catalog()


@tasks.task("link-source-to-story", concurrency_limit=5)
async def link_source_to_story(payload: LinkSourceToStory, job: JobContext) -> dict[str, UUID]:
    """Set the primary source of a story."""
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        await require_story(rows, payload.story_id)
        linked = await rows.link_source(payload.story_id, payload.source_id)
    if not linked:
        raise Fail(f"Source {payload.source_id} does not exist; add it first, or name another one")
    job.logger.info("source linked", storyId=str(payload.story_id), sourceId=str(payload.source_id))
    return {"storyId": payload.story_id, "sourceId": payload.source_id}
