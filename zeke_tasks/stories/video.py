"""Read a video: its captions, and, where nobody has told what it is called, its page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from zeke_tasks.context import context_of, read
from zeke_tasks.fetch import Permanent
from zeke_tasks.ingest.videos import video_of
from zeke_tasks.stories.items import Hindered, Later, NotYet, told_elsewhere
from zeke_tasks.stories.read import read_video
from zeke_tasks.youtube import Blocked, NotOutYet, parse_watch_page
from zeke_tasks.youtube.channels import RECENT

if TYPE_CHECKING:
    from zeke_queue.task.context import JobContext
    from zeke_tasks.context import Context
    from zeke_tasks.store.model import RawItem
    from zeke_tasks.stories.keep import Reading
    from zeke_tasks.youtube import Video, YouTube

CAPTIONS_WITHIN: Final = timedelta(hours=12)
"""How long after a video was published its captions are waited for."""

LOOK_AGAIN: Final = timedelta(hours=1)
"""After how long a video that somebody named is looked at again, if it or its captions may still come."""


async def read_video_once(job: JobContext, youtube: YouTube, item: RawItem) -> Reading | None:
    """Return the text of a video that its channel or a search told of; None if it says nothing.

    Raises:
        NotYet: it is still to come, or its captions may be.
        Hindered: YouTube answers this machine nothing, whichever video it asks for.
    """
    return await _told_elsewhere(job, item) or await _read(context_of(job), youtube, video_of(item))


async def read_named_video(job: JobContext, item: RawItem) -> Reading | None:
    """Return the text of a video that somebody named, or that a page is of; None if it says nothing.

    What its channel's feed would tell, its page tells, and where that can't be read, its captions will do.
    Nobody checks it again later, so the job itself waits for what a check of its channel would wait for.

    Raises:
        Later: it is still to come, or its captions may be.
        Hindered: YouTube answers this machine nothing, whichever video it asks for; or nobody can ask it.
    """
    context = context_of(job)
    if (told := await _told_elsewhere(job, item)) is not None:
        return told
    video = video_of(item)
    if context.youtube is None:
        raise Hindered(video.url, "this worker was given no YouTube to ask")
    if not video.title:
        video = await _on_its_page(job, video)
    try:
        reading = await _read(context, context.youtube, video)
    except NotYet as reason:
        raise Later(str(reason), _wait(context, video)) from reason
    return reading and replace(reading, title=reading.title or video.url)


async def _told_elsewhere(job: JobContext, item: RawItem) -> Reading | None:
    async with job.transaction() as transaction:
        return await told_elsewhere(context_of(job).repository.within(transaction), item)


async def _on_its_page(job: JobContext, video: Video) -> Video:
    """Return a video as its page tells of it; as it is known if that can never be read, or tells nothing."""
    context = context_of(job)
    try:
        page = await context.web.fetch(video.url, kind="page")
        told = await read(context.compute, video.url, parse_watch_page, page.body, page.charset, video.id)
    except Permanent as error:
        job.logger.warning("page of a video not read", url=video.url, error=error.reason)
        return video
    return told if told.title else video


def _wait(context: Context, video: Video) -> float:
    """Return the seconds after which a video is looked at again, by when its captions are done without."""
    left = CAPTIONS_WITHIN - _age(context, video)
    return (left if timedelta() < left < LOOK_AGAIN else LOOK_AGAIN).total_seconds()


def _age(context: Context, video: Video) -> timedelta:
    """Return how long ago a video was published, which is less than nothing if it is announced."""
    return context.clock.now() - (video.published_at or datetime.min.replace(tzinfo=UTC))


def _is_waited_for(age: timedelta, within: timedelta) -> bool:
    """Return whether a video is young enough; one that is announced for later than in a week is not."""
    return -RECENT < age < within


async def _read(context: Context, youtube: YouTube, video: Video) -> Reading | None:
    """Get a video's captions, and return its text; None if it says nothing.

    Raises:
        NotYet: it is still to come, or its captions may be.
        Hindered: YouTube answers this machine nothing, whichever video it asks for.
    """
    age = _age(context, video)
    try:
        captions = await youtube.captions.captions(video.id)
    except Blocked as error:
        raise Hindered(error.url, error.reason, retry_after=error.retry_after) from error
    except NotOutYet as error:
        if _is_waited_for(age, RECENT):
            raise NotYet(error.reason) from error
        raise
    if captions is None and _is_waited_for(age, CAPTIONS_WITHIN):
        raise NotYet("Its captions may still come")
    if not video.description and not (captions and captions.text):
        return None
    return await read(context.compute, video.url, read_video, video, captions)
