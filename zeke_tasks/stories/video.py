"""Read a video: its captions, and, where nobody has told what it is called, its page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from zeke_tasks.context import context_of, read
from zeke_tasks.ingest.videos import text_of_video, video_of
from zeke_tasks.store.model import Kind
from zeke_tasks.stories.items import ITEM_ATTEMPTS, Hindered, NotYet
from zeke_tasks.stories.keep import Reading
from zeke_tasks.stories.read import read_video
from zeke_tasks.web import Transient
from zeke_tasks.youtube import Blocked, NotOutYet, parse_watch_page
from zeke_tasks.youtube.channels import RECENT

if TYPE_CHECKING:
    from zeke_queue.context import JobContext
    from zeke_tasks.context import Context
    from zeke_tasks.store.model import RawItem
    from zeke_tasks.youtube import Video, YouTube

CAPTIONS_WITHIN: Final = timedelta(hours=12)
"""How long after a video was published its captions are waited for."""

LOOK_AGAIN: Final = 3600.0
"""Seconds after which captions that may still come are looked for again, of a video that somebody named."""


async def read_video_once(job: JobContext, youtube: YouTube, item: RawItem) -> Reading | None:
    """Return the text of a video that its channel or a search told of; None if it says nothing.

    Raises:
        NotYet: it is still to come, or its captions may be.
        Hindered: YouTube answers this machine nothing, whichever video it asks for.
    """
    return await _told_elsewhere(job, item) or await _read(context_of(job), youtube, video_of(item))


async def read_named_video(job: JobContext, item: RawItem) -> Reading | None:
    """Return the text of a video that somebody named; None if it says nothing.

    What its channel's feed would tell, its page tells. Nobody checks it again later, so the job itself waits
    for captions that may still come, and does without them in the end.

    Raises:
        Transient: it is still to come, or its captions may be.
        Hindered: YouTube answers this machine nothing, whichever video it asks for; or nobody can ask it.
    """
    context = context_of(job)
    if (told := await _told_elsewhere(job, item)) is not None:
        return told
    if context.youtube is None:
        raise Hindered(item.url or "", "this worker was given no YouTube to ask")
    video = video_of(item)
    if not video.title:
        page = await context.web.fetch(video.url, kind="page")
        video = await read(context.compute, video.url, parse_watch_page, page.body, page.charset, video.id)
    last = item.attempts + 1 >= ITEM_ATTEMPTS
    try:
        reading = await _read(context, context.youtube, video, waits=not last)
    except NotYet as reason:
        raise Transient(video.url, str(reason), retry_after=LOOK_AGAIN) from reason
    return reading and replace(reading, title=reading.title or video.url)


async def _told_elsewhere(job: JobContext, item: RawItem) -> Reading | None:
    """Return what was read of the same video for another item, so that both are one story."""
    async with job.transaction() as transaction:
        known = await text_of_video(context_of(job).repository.within(transaction), item)
    if known is None:
        return None
    return Reading(
        text=known.text,
        url=item.url,
        kind=Kind.VIDEO,
        language=known.language,
        transcript_vtt=known.transcript_vtt,
        duration_seconds=known.duration_seconds,
        view_count=known.view_count,
    )


async def _read(context: Context, youtube: YouTube, video: Video, *, waits: bool = True) -> Reading | None:
    """Get a video's captions, and return its text; None if it says nothing.

    Args:
        waits: whether captions are waited for that may still come.

    Raises:
        NotYet: it is still to come, or its captions may be.
        Hindered: YouTube answers this machine nothing, whichever video it asks for.
    """
    age = context.clock.now() - (video.published_at or datetime.min.replace(tzinfo=UTC))
    try:
        captions = await youtube.captions.captions(video.id)
    except Blocked as error:
        raise Hindered(error.url, error.reason, retry_after=error.retry_after) from error
    except NotOutYet as error:
        if age < RECENT:
            raise NotYet(str(error)) from error
        raise
    if captions is None and waits and age < CAPTIONS_WITHIN:
        raise NotYet("Its captions may still come")
    if not video.description and not (captions and captions.text):
        return None
    return await read(context.compute, video.url, read_video, video, captions)
