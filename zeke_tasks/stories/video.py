"""Reading of videos: the captions, and the page if the title is unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from zeke_tasks.context import context_of, read
from zeke_tasks.fetch import Permanent
from zeke_tasks.stories.items import Later, NotYet, ReadingBlocked, text_of_same_video
from zeke_tasks.stories.read import read_video
from zeke_tasks.youtube import Blocked, NotOutYet, parse_watch_page
from zeke_tasks.youtube.channels import RECENT
from zeke_tasks.youtube.items import video_of

if TYPE_CHECKING:
    from zeke_queue.task.context import JobContext
    from zeke_tasks.context import Context
    from zeke_tasks.store.model import RawItem
    from zeke_tasks.stories.keep import Reading
    from zeke_tasks.youtube import Video, YouTube

CAPTIONS_WITHIN: Final = timedelta(hours=12)
"""Time after publication for which a job waits for captions."""

LOOK_AGAIN: Final = timedelta(hours=1)
"""Time after which a named video is tried again if it or its captions may still appear."""


async def read_video_once(job: JobContext, youtube: YouTube, item: RawItem) -> Reading | None:
    """Return the text of a video found by a channel or a search; None if it has no text.

    Raises:
        NotYet: the video or its captions may still appear.
        ReadingBlocked: YouTube answers no request of this machine.
    """
    return await _with_page_metadata(job, item) or await _read(context_of(job), youtube, video_of(item))


async def read_named_video(job: JobContext, item: RawItem) -> Reading | None:
    """Return the text of a video that a user named or an item links to; None if it has no text.

    The metadata comes from its page; if that can't be read, its captions are sufficient. The video belongs to
    no source that is checked, so the job itself waits for the video and its captions.

    Raises:
        Later: the video or its captions may still appear.
        ReadingBlocked: YouTube answers no request of this machine, or this worker can't ask it.
    """
    context = context_of(job)
    if (told := await _with_page_metadata(job, item)) is not None:
        return told
    video = video_of(item)
    if context.youtube is None:
        raise ReadingBlocked(video.url, "this worker was given no YouTube client")
    if not video.title:
        video = await _on_its_page(job, video)
    try:
        reading = await _read(context, context.youtube, video)
    except NotYet as reason:
        raise Later(str(reason), _wait(context, video)) from reason
    return reading and replace(reading, title=reading.title or video.url)


async def _with_page_metadata(job: JobContext, item: RawItem) -> Reading | None:
    async with job.transaction() as transaction:
        return await text_of_same_video(context_of(job).repository.within(transaction), item)


async def _on_its_page(job: JobContext, video: Video) -> Video:
    """Return a video with its page's metadata; unchanged if the page can't be read or has none."""
    context = context_of(job)
    try:
        page = await context.web.fetch(video.url, kind="page")
        told = await read(context.compute, video.url, parse_watch_page, page.body, page.charset, video.id)
    except Permanent as error:
        job.logger.warning("page of a video not read", url=video.url, error=error.reason)
        return video
    return told if told.title else video


def _wait(context: Context, video: Video) -> float:
    """Return the seconds until a video is tried again, at the latest when the wait for captions ends."""
    left = CAPTIONS_WITHIN - _age(context, video)
    return (left if timedelta() < left < LOOK_AGAIN else LOOK_AGAIN).total_seconds()


def _age(context: Context, video: Video) -> timedelta:
    """Return the time since a video's publication, negative if it is announced."""
    return context.clock.now() - (video.published_at or datetime.min.replace(tzinfo=UTC))


def _is_waited_for(age: timedelta, within: timedelta) -> bool:
    """Return whether a video is recent enough, and not announced for later than in a week."""
    return -RECENT < age < within


async def _read(context: Context, youtube: YouTube, video: Video) -> Reading | None:
    """Get a video's captions, and return its text; None if it has no text.

    Raises:
        NotYet: the video or its captions may still appear.
        ReadingBlocked: YouTube answers no request of this machine.
    """
    age = _age(context, video)
    try:
        captions = await youtube.captions.captions(video.id)
    except Blocked as error:
        raise ReadingBlocked(error.url, error.reason, retry_after=error.retry_after) from error
    except NotOutYet as error:
        if _is_waited_for(age, RECENT):
            raise NotYet(error.reason) from error
        raise
    if captions is None and _is_waited_for(age, CAPTIONS_WITHIN):
        raise NotYet("Its captions may still come")
    if not video.description and not (captions and captions.text):
        return None
    return await read(context.compute, video.url, read_video, video, captions)
