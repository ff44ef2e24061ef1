"""``fetch-content``: read the pages and videos of raw items, and turn each text into a story."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of, read
from zeke_tasks.payloads import FetchContent
from zeke_tasks.stories.items import work_off
from zeke_tasks.stories.read import read_body, read_page
from zeke_tasks.stories.video import read_named_video
from zeke_tasks.youtube.items import video_id

if TYPE_CHECKING:
    from zeke_tasks.store.model import RawItem
    from zeke_tasks.stories.keep import Reading

tasks = Catalog()


@tasks.task("fetch-content", concurrency_limit=3)
async def fetch_content(payload: FetchContent, job: JobContext) -> dict[str, Any]:
    """Read the pages of raw items, and turn each text into a story."""
    context = context_of(job)

    async def reads(item: RawItem) -> Reading | None:
        body, now = item.body, context.clock.now()
        if item.url is None:
            return await read(context.compute, item.external_id, read_body, body) if body else None
        if video_id(item) is not None:
            return await read_named_video(job, item)
        fetched = await context.web.fetch(item.url, kind="page")
        return await read(context.compute, fetched.final_url, read_page, fetched, now)

    told = await work_off(job, payload.raw_item_ids, reads)
    job.logger.info("content fetched", **told)
    return told
