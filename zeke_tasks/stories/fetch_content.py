"""``fetch-content``: read the pages of raw items, and turn each text into a story.

Every item has a status, attempts and an error of its own, and is finished in a transaction of its own: a run
that is killed, or that leaves items to be tried again, does only those again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.catalog import Catalog
from zeke_queue.context import JobContext
from zeke_queue.signals import Retry
from zeke_tasks.context import context_of
from zeke_tasks.payloads import FetchContent
from zeke_tasks.store.model import ItemStatus
from zeke_tasks.stories.keep import Reading, keep
from zeke_tasks.stories.read import read_body, read_page
from zeke_tasks.web import Permanent, Transient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zeke_tasks.store.model import RawItem

tasks = Catalog()

AT_ONCE: Final = 4
"""Items of one job that are read at once; how many requests one host gets is the web client's business."""

ITEM_ATTEMPTS: Final = 8
"""Attempts after which an item that still can't be read has failed: those of two jobs."""


class _Left(NamedTuple):
    """An item that is left to be tried again."""

    reason: str
    retry_after: float | None


@tasks.task("fetch-content", concurrency_limit=3)
async def fetch_content(payload: FetchContent, job: JobContext) -> dict[str, Any]:
    """Read the pages of raw items, and turn each text into a story."""
    repository = context_of(job).repository
    async with job.transaction() as transaction:
        items = await repository.within(transaction).items(payload.raw_item_ids)
    left = await _work_off(job, [item for item in items if item.status is ItemStatus.PENDING])
    if left:
        raise Retry(
            after=max((item.retry_after or 0.0 for item in left), default=0.0) or None,
            reason=f"{len(left)} of {len(items)} items are left to try again; the first: {left[0].reason}",
        )
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        statuses = Counter(item.status.value for item in await rows.items(payload.raw_item_ids))
        stories = await rows.stories_of(payload.raw_item_ids)
    told = {"items": dict(statuses), "stories": len({story.id for story in stories.values()})}
    job.logger.info("content fetched", **told)
    return told


async def _work_off(job: JobContext, items: Sequence[RawItem]) -> list[_Left]:
    """Read some items, a few at once; returns those that are left to be tried again."""
    left: list[_Left] = []
    waiting = iter(items)
    done = 0

    async def work(waiting: Iterator[RawItem]) -> None:
        nonlocal done
        for item in waiting:
            if (again := await _finish(job, item)) is not None:
                left.append(again)
            done += 1
            await job.progress(done / len(items), item.title)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(items))):
                group.create_task(work(waiting))
    except ExceptionGroup as several:
        # The first is what the job should be seen to fail with; a group has no message that says what
        # happened.
        raise several.exceptions[0] from several
    return left


async def _finish(job: JobContext, item: RawItem) -> _Left | None:
    """Read one item and write down what came of it."""
    try:
        reading = await _read(job, item)
    except Permanent as error:
        await _settle(job, item, ItemStatus.FAILED, str(error))
        return None
    except Exception as error:  # noqa: BLE001 - one page that breaks a parser must not stop the others
        reason = str(error) if isinstance(error, Transient) else f"{type(error).__name__}: {error}"
        job.logger.warning("item failed", rawItemId=str(item.id), url=item.url, error=reason)
        last = item.attempts + 1 >= ITEM_ATTEMPTS
        await _settle(job, item, ItemStatus.FAILED if last else ItemStatus.PENDING, reason)
        retry_after = error.retry_after if isinstance(error, Transient) else None
        return None if last else _Left(reason, retry_after)
    if reading is None:
        await _settle(job, item, ItemStatus.NO_TEXT)
    else:
        await _keep(job, item, reading)
    return None


async def _read(job: JobContext, item: RawItem) -> Reading | None:
    """Fetch an item's page and extract its text, or that of its feed's entry; None if there is no text."""
    context = context_of(job)
    body, now = item.body, context.clock.now()
    if item.url is None:
        return await context.compute(lambda: read_body(body)) if body else None
    fetched = await context.web.fetch(item.url, kind="page")
    return await context.compute(lambda: read_page(fetched, now))


async def _settle(job: JobContext, item: RawItem, status: ItemStatus, error: str | None = None) -> None:
    async with job.transaction() as transaction:
        await context_of(job).repository.within(transaction).finish_item(item.id, status, error)


async def _keep(job: JobContext, item: RawItem, reading: Reading) -> None:
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        # First the item, whose row then is locked: of two jobs with one item, one goes on.
        if await rows.finish_item(item.id, ItemStatus.PROCESSED):
            await keep(rows, item, reading)
