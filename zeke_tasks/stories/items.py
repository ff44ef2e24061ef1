"""Work on raw items: each has a status, attempts and an error of its own.

Every item is finished in a transaction of its own: a run that is killed, or that leaves items to be tried
again, does only those again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.task.signals import Retry, Snooze
from zeke_tasks.context import context_of
from zeke_tasks.fetch import Permanent, Transient
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.ingest.videos import text_of_video, video_id
from zeke_tasks.payloads import AnalyzeStory
from zeke_tasks.store.model import ItemStatus, Kind, StoryStatus
from zeke_tasks.stories.keep import Reading, keep
from zeke_tasks.youtube import watch_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
    from uuid import UUID

    from zeke_queue.client.transaction import QueueTransaction
    from zeke_queue.task.context import JobContext
    from zeke_tasks.store.model import RawItem
    from zeke_tasks.store.repository import Rows

    Reads = Callable[[RawItem], Awaitable[Reading | None]]
    """Reads an item; None if there is no text. What it raises is `work_off`'s to judge, `NotYet` and
    `Hindered` too."""


class NotYet(Exception):
    """There is nothing to read of an item yet. It stays as it was, for whoever checks its source next."""


class Later(NotYet):
    """There is nothing to read of an item yet, and nobody checks its source: the job itself looks again.

    Attributes:
        after: the seconds after which it does; none of its retries, and no attempt at the item, is used up.
    """

    def __init__(self, reason: str, after: float) -> None:
        self.after = after
        super().__init__(reason)


class Hindered(Transient):
    """Something keeps this machine from reading any item of a kind, and none of them is to blame.

    The items stay as they were, with all their attempts before them, and no other is begun. Videos are read
    last, so that they hold up no pages.
    """


AT_ONCE: Final = 4
"""Items of one job that are read at once; how many requests one host gets is the web client's business."""

ITEM_ATTEMPTS: Final = 8
"""Attempts after which an item that still can't be read has failed: those of two jobs."""


async def work_off(job: JobContext, item_ids: Collection[UUID], reads: Reads) -> dict[str, Any]:
    """Read those of some items that are pending, and make each text a story that is to be analysed.

    Args:
        job: whose work it is.
        item_ids: items that were finished before are left as they are, and those that are gone passed over.
        reads: reads one item; a few are read at once.

    Returns:
        ``items``, how many of them have which status now, and ``stories``, how many stories they are of.

    Raises:
        Retry: errors that may pass have left some items to be tried again; the others are done.
        Snooze: all that is left is to be looked at again later.
        Hindered: as ``reads`` raised it, once the items are done that were begun.
        Exception: an error that is none of the web's, as it is, once the other items are done: it tells of
            this machine or of our code, and who runs them should see it.
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
    """Return what the job fails with if these errors left some of its items to be tried again."""
    if hindered := next((error for error in left if isinstance(error, Hindered)), None):
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
    """Read some items, a few at once; returns the errors that left some to be tried again."""
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
            if any(isinstance(error, Hindered) for error in left):
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(items))):
                group.create_task(work(waiting))
    except ExceptionGroup as several:
        # The first is what the job should be seen to fail with; a group has no message that says what
        # happened.
        raise several.exceptions[0] from several
    return left


async def _finish(job: JobContext, item: RawItem, reads: Reads) -> Exception | None:
    """Read one item and write down what came of it; returns the error that left it to be tried again."""
    about = {"rawItemId": str(item.id), "url": without_secrets(item.url)}
    try:
        reading = await reads(item)
    except NotYet as reason:
        job.logger.info("item put off", **about, reason=str(reason))
        return reason if isinstance(reason, Later) else None
    except Permanent as error:
        await _settle(job, item, ItemStatus.FAILED, str(error))
        return None
    except Hindered as error:
        job.logger.warning("item not read", **about, error=str(error))
        return error
    except Transient as error:
        job.logger.warning("item failed", **about, error=str(error))
        last = item.attempts + 1 >= ITEM_ATTEMPTS
        await _settle(job, item, ItemStatus.FAILED if last else ItemStatus.PENDING, str(error))
        return None if last else error
    except Exception as error:  # noqa: BLE001 - the job raises it
        # It says nothing of the page, so the item stays as it was, and none of its attempts is used up. The
        # others are still tried, for it may be this page alone that our code is not up to.
        reason = f"{type(error).__name__}: {error}"
        job.logger.warning("item not read", **about, error=reason)
        return error
    if reading is None:
        await _settle(job, item, ItemStatus.NO_TEXT)
    else:
        await _keep(job, item, reading)
    return None


async def _settle(job: JobContext, item: RawItem, status: ItemStatus, error: str | None = None) -> None:
    async with job.transaction() as transaction:
        await context_of(job).repository.within(transaction).finish_item(item.id, status, error)


async def _keep(job: JobContext, item: RawItem, reading: Reading) -> None:
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        # First the item, whose row then is locked: of two jobs with one item, one goes on.
        if await rows.finish_item(item.id, ItemStatus.PROCESSED):
            if reading.kind is Kind.VIDEO and (key := video_id(item)) is not None:
                # Then the video: of two jobs that have read it for two items, the second keeps what the
                # first has read.
                await rows.lock_video(key)
                reading = await told_elsewhere(rows, item) or reading
            story_id, new = await keep(rows, item, reading)
            if new or await _is_to_be_analysed(rows, story_id):
                await _send_analysis(transaction, job, story_id)


async def told_elsewhere(rows: Rows, item: RawItem) -> Reading | None:
    """Return what was read of the same video for another item, so that both are one story."""
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
    """Return whether nobody has analysed a story yet: the job that was to do it may have failed for good."""
    story = await rows.story(story_id)
    return story is not None and story.status is StoryStatus.NEW


async def _send_analysis(transaction: QueueTransaction, job: JobContext, story_id: UUID) -> None:
    """Send a job that analyses a story, unless one waits or runs already."""
    await transaction.send(
        "analyze-story",
        AnalyzeStory(story_id=story_id, trigger="auto"),
        id=job.child_id(f"analyze-story/{story_id}"),
        singleton_key=str(story_id),
        priority=job.priority,
    )
