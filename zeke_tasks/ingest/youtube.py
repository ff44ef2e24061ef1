"""``ingest-from-youtube``: find the new videos of a channel or a search, and turn each into a story."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of, read
from zeke_tasks.fetch import Permanent, WebError
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.ingest.checks import checking, record_failure, record_success
from zeke_tasks.payloads import IngestSource
from zeke_tasks.store.model import SourceType, item_id
from zeke_tasks.stories.items import work_off
from zeke_tasks.stories.video import read_video_once
from zeke_tasks.youtube import (
    Duration,
    Order,
    channel_error,
    channel_feed_url,
    feed_url_on_page,
    newest,
    parse_channel_feed,
)
from zeke_tasks.youtube.channels import NEWEST, is_youtube
from zeke_tasks.youtube.items import TYPES, item_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_tasks.context import Context
    from zeke_tasks.fetch import Fetched
    from zeke_tasks.store.model import Health, RawItem, Source
    from zeke_tasks.stories.keep import Reading
    from zeke_tasks.youtube import Video, YouTube

tasks = Catalog()


class Search(BaseModel):
    """The metadata of a search source; other keys are ignored."""

    query: str = Field(min_length=1)
    order: Order = "relevance"
    duration: Duration = "any"


class MissingRequirement(Exception):
    """A source or this worker lacks something that the check needs; the message says what, to users."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a check.

    Attributes:
        videos: the videos, best or newest first.
        feed: the answer of a channel's feed; None for a search.
        place: the URL of the feed, if the source's url is a page that names it.
    """

    videos: Sequence[Video]
    feed: Fetched | None = None
    place: str | None = None


@tasks.task("ingest-from-youtube", aliases=("ingest-youtube-channel",), concurrency_limit=3)
async def ingest_from_youtube(payload: IngestSource, job: JobContext) -> dict[str, Any]:
    """Find the new videos of a channel or a search, and turn each into a story.

    Automatic captions appear some time after publication, so each check looks for them for half a day. After
    that the text of a video without captions is its description, if it has one.

    While YouTube blocks this machine, the videos wait without using up attempts, the source's health shows
    the block, and the first check after it reads them.
    """
    context = context_of(job)
    async with job.transaction() as transaction:
        rows = context.repository.within(transaction)
        source = await rows.source(payload.source_id)
        health = await rows.health(payload.source_id)
    reason = _not_youtube(source)
    if source is None or reason:
        job.logger.info("source skipped", sourceId=str(payload.source_id), reason=reason)
        return {"sourceId": payload.source_id, "skipped": reason}
    try:
        youtube = _youtube_of(context)
        async with checking(job, source):
            if source.type is SourceType.YOUTUBE_SEARCH:
                found = await _search(youtube, source)
            else:
                found = await _channel(context, source, health)
    except MissingRequirement as lacking:
        # Users find the reason only in the source's health, so it is recorded there.
        await record_failure(job, source, str(lacking))
        return {"sourceId": source.id, "skipped": str(lacking)}
    item_ids, new = await _record(job, source, found)

    async def reads(item: RawItem) -> Reading | None:
        return await read_video_once(job, youtube, item)

    async with checking(job, source):
        # The check succeeded, but a block of this machine is recorded in the source's health, where users see
        # it.
        read_now = await work_off(job, item_ids, reads)
    told: dict[str, Any] = {
        "videos": len(found.videos),
        "new": new,
        "notModified": found.feed is not None and found.feed.not_modified,
        **read_now,
    }
    job.logger.info("videos ingested", sourceId=str(source.id), url=without_secrets(source.url), **told)
    return {"sourceId": source.id, **told}


def _not_youtube(source: Source | None) -> str | None:
    if source is None:
        return "the source does not exist"
    if source.type not in TYPES:
        return f"its type is {source.type}, neither {' nor '.join(TYPES)}"
    return None if source.has_place else "it has no url"


def _youtube_of(context: Context) -> YouTube:
    if context.youtube is None:
        raise MissingRequirement("This worker has no YouTube client.")
    return context.youtube


async def _search(youtube: YouTube, source: Source) -> Found:
    """Run the search of a source."""
    said = {name: value for name, value in source.metadata.items() if value is not None}
    try:
        search = Search.model_validate(said)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise MissingRequirement(
            f"The metadata of a search needs a query, and may have order and duration: {wrong}."
        ) from None
    if youtube.search is None:
        raise MissingRequirement(
            "YOUTUBE_API_KEY is not set, and searches need a key of the YouTube Data API."
        )
    return Found(
        await youtube.search.search(search.query, order=search.order, duration=search.duration, limit=NEWEST)
    )


async def _channel(context: Context, source: Source, health: Health | None) -> Found:
    """Read the feed of a channel or playlist; returns its newest videos, or none if it is unchanged."""
    url = source.url or ""
    feed_url, place = channel_feed_url(url), None
    if feed_url is None:
        feed_url = place = await _feed_url_of(context, url)
    try:
        fetched = await context.web.fetch(
            feed_url,
            kind="feed",
            etag=health.etag if health else None,
            last_modified=health.last_modified if health else None,
        )
    except WebError as error:
        raise channel_error(error) from error
    if fetched.not_modified:
        return Found((), fetched, place)
    where = fetched.final_url
    channel = await read(
        context.compute, where, parse_channel_feed, fetched.body, fetched.content_type, where
    )
    return Found(newest(channel.videos, context.clock.now()), fetched, place)


async def _feed_url_of(context: Context, url: str) -> str:
    """Return the feed URL of the channel that a page belongs to, such as that of a ``@handle``.

    Raises:
        Permanent: it is not a YouTube page, or belongs to no channel.
    """
    if not is_youtube(url):
        raise Permanent(url, "must be a page of YouTube; pass the URL of a channel or a playlist")
    page = await context.web.fetch(url, kind="page")
    found = channel_feed_url(page.final_url) or await read(
        context.compute, page.final_url, feed_url_on_page, page.body, page.charset
    )
    if found is None:
        raise Permanent(page.final_url, "must name a channel; pass the URL of a channel or a playlist")
    return found


async def _record(job: JobContext, source: Source, found: Found) -> tuple[list[UUID], int]:
    """Store the result of a check in one transaction.

    Returns:
        The items to read, including those left by earlier checks, and the number of new ones.
    """
    items = [item_of(video) for video in found.videos]
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        warning = None
        if found.place and not await rows.move_source(source.id, found.place):
            warning = f"Its feed is {found.place}, which another source already has: remove one of the two."
        new = await rows.put_items(source.id, items)
        left = await rows.take_up_forgotten_items(source.id, 0.0)
        await record_success(
            rows,
            source,
            warning=warning,
            # A feed that can't move yet is stored without validators, so that the next check reads it and
            # tries again.
            etag=found.feed.etag if found.feed and not warning else None,
            last_modified=found.feed.last_modified if found.feed and not warning else None,
        )
    listed = [item_id(source.id, item.external_id) for item in items]
    return list(dict.fromkeys([*listed, *left])), len(new)
