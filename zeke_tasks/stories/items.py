"""Processing of raw items, each with its own status, attempts and error.

Every item is finished in a transaction of its own, so an attempt after a crash or a failure processes only
the unfinished items.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.task.signals import Retry, Snooze
from zeke_tasks.context import context_of
from zeke_tasks.fetch import Permanent, Transient
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.payloads import AnalyzeStory
from zeke_tasks.store.conflicts import repeated
from zeke_tasks.store.model import ItemStatus, Kind, StoryStatus
from zeke_tasks.stories.keep import Reading, keep
from zeke_tasks.youtube import watch_url
from zeke_tasks.youtube.items import text_of_video, video_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
    from uuid import UUID

    from zeke_queue.task.context import JobContext
    from zeke_queue.task.senders import Transaction
    from zeke_tasks.store.model import RawItem
    from zeke_tasks.store.repository import Rows

    Reads = Callable[[RawItem], Awaitable[Reading | None]]
    """Reads an item; None if there is no text. `work_off` handles its errors, including `NotYet` and
    `ReadingBlocked`."""


class NotYet(Exception):
    """An item can't be read yet. It stays unchanged until the next check of its source."""


class Later(NotYet):
    """An item can't be read yet, and its source is not checked, so the job itself tries again.

    Attributes:
        after: seconds until then; this uses up neither a retry nor an attempt at the item.
    """

    def __init__(self, reason: str, after: float) -> None:
        self.after = after
        super().__init__(reason)


class ReadingBlocked(Transient):
    """This machine can't read any item of a kind at the moment; the items are not the cause.

    The items stay unchanged without using up attempts, and no further item is started. Videos are read last,
    so that they don't delay pages.
    """


AT_ONCE: Final = 4
"""Items of one job that are read concurrently; the web client limits the requests per host."""

ITEM_ATTEMPTS: Final = 8
"""Attempts after which an unreadable item has failed: those of two jobs."""


async def work_off(job: JobContext, item_ids: Collection[UUID], reads: Reads) -> dict[str, Any]:
    """Read the pending ones of some items, and turn each text into a story to be analysed.

    Args:
        job: the job.
        item_ids: finished and deleted items are skipped.
        reads: reads one item; a few are read concurrently.

    Returns:
        ``items``, the number of items by status, and ``stories``, the number of their stories.

    Raises:
        Retry: some items had temporary errors and must be tried again; the others are finished.
        Snooze: all unfinished items must be tried again later.
        ReadingBlocked: raised by ``reads``, after the items in progress are finished.
        Exception: an error other than the web's, after the other items are finished: its cause is this
            machine or our code, so the operator should see it.
    """
    repository = context_of(job).repository
    async with job.transaction() as transaction:
        items = await repository.within(transaction).items(item_ids)
    left = await _finish_all(job, [item for item in items if item.status is ItemStatus.PENDING], reads)
    if left:
        raise _failure_of(left, len(items))
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        statuses = Counter(item.status.value for item in await rows.items(item_ids))
        stories = await rows.stories_of(item_ids)
    return {"items": dict(statuses), "stories": len({story.id for story in stories.values()})}


def _failure_of(left: Sequence[Exception], of: int) -> Exception:
    """Return the exception of the job for the errors that left items unfinished."""
    if hindered := next((error for error in left if isinstance(error, ReadingBlocked)), None):
        return hindered
    later = [error.after for error in left if isinstance(error, Later)]
    if len(later) == len(left):
        return Snooze(min(later))
    waits: list[float] = []
    for error in left:
        if isinstance(error, Later):
            continue
        if not isinstance(error, Transient):
            return error
        waits.append(error.retry_after or 0.0)
    first = next(error for error in left if not isinstance(error, Later))
    reason = f"{len(left)} of {of} items are left to try again; the first: {first}"
    return Retry(after=max(waits) or None, reason=reason)


async def _finish_all(job: JobContext, items: Sequence[RawItem], reads: Reads) -> list[Exception]:
    """Read some items, a few concurrently; returns the errors that left items unfinished."""
    left: list[Exception] = []
    waiting = iter(sorted(items, key=lambda item: video_id(item) is not None))
    done = 0

    async def work(waiting: Iterator[RawItem]) -> None:
        nonlocal done
        for item in waiting:
            if (again := await _finish(job, item, reads)) is not None:
                left.append(again)
            done += 1
            await job.progress(done / len(items), item.title)
            if any(isinstance(error, ReadingBlocked) for error in left):
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(items))):
                group.create_task(work(waiting))
    except ExceptionGroup as several:
        # A group's message does not say what happened, so the job fails with the first exception.
        raise several.exceptions[0] from several
    return left


async def _finish(job: JobContext, item: RawItem, reads: Reads) -> Exception | None:
    """Read one item and record the outcome; returns the error that left it unfinished."""
    about = {"rawItemId": str(item.id), "url": without_secrets(item.url)}
    try:
        reading = await reads(item)
    except NotYet as reason:
        job.logger.info("item postponed", **about, reason=str(reason))
        return reason if isinstance(reason, Later) else None
    except Permanent as error:
        await _settle(job, item, ItemStatus.FAILED, str(error))
        return None
    except ReadingBlocked as error:
        job.logger.warning("item not read", **about, error=str(error))
        return error
    except Transient as error:
        job.logger.warning("item failed", **about, error=str(error))
        last = item.attempts + 1 >= ITEM_ATTEMPTS
        await _settle(job, item, ItemStatus.FAILED if last else ItemStatus.PENDING, str(error))
        return None if last else error
    except Exception as error:  # noqa: BLE001 - the job raises it
        # The page is not to blame, so the item stays unchanged and no attempt is used up. Our code may fail
        # for this page alone, so the others are still tried.
        reason = f"{type(error).__name__}: {error}"
        job.logger.warning("item not read", **about, error=reason)
        return error
    if reading is None:
        await _settle(job, item, ItemStatus.NO_TEXT)
    else:
        # What was read is not read again because of a conflict.
        await repeated(lambda: _keep(job, item, reading))
    return None


async def _settle(job: JobContext, item: RawItem, status: ItemStatus, error: str | None = None) -> None:
    async with job.transaction() as transaction:
        await context_of(job).repository.within(transaction).finish_item(item.id, status, error)


async def _keep(job: JobContext, item: RawItem, reading: Reading) -> None:
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        # The update locks the item's row first, so of two jobs with the same item only one continues.
        if await rows.finish_item(item.id, ItemStatus.PROCESSED):
            if reading.kind is Kind.VIDEO and (key := video_id(item)) is not None:
                # Then the video is locked: of two jobs that read it for two items, the second stores the text
                # of the first.
                await rows.lock_video(key)
                reading = await text_of_same_video(rows, item) or reading
            story_id, new = await keep(rows, item, reading)
            if new or await _is_to_be_analysed(rows, story_id):
                await _send_analysis(transaction, job, story_id)


async def text_of_same_video(rows: Rows, item: RawItem) -> Reading | None:
    """Return the text of the same video that was read for another item, so that both are one story."""
    key = video_id(item)
    known = None if key is None else await text_of_video(rows, item, key)
    if key is None or known is None:
        return None
    return Reading(
        text=known.text,
        url=watch_url(key),
        kind=Kind.VIDEO,
        language=known.language,
        transcript_vtt=known.transcript_vtt,
        duration_seconds=known.duration_seconds,
        view_count=known.view_count,
    )


async def _is_to_be_analysed(rows: Rows, story_id: UUID) -> bool:
    """Return whether a story is not analysed yet; an earlier job for that may have failed."""
    story = await rows.story(story_id)
    return story is not None and story.status is StoryStatus.NEW


async def _send_analysis(transaction: Transaction, job: JobContext, story_id: UUID) -> None:
    """Send a job that analyses a story, unless one is waiting or running."""
    await transaction.send(
        "analyze-story",
        AnalyzeStory(story_id=story_id, trigger="auto"),
        id=job.child_id(f"analyze-story/{story_id}"),
        singleton_key=str(story_id),
        priority=job.priority,
    )
