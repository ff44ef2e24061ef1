"""``apply-retention``: delete what is older than the deployment keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.errors import JobNotFoundError
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of
from zeke_tasks.payloads import ApplyRetention
from zeke_tasks.store.conflicts import repeated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from zeke_tasks.store.repository import Rows

tasks = Catalog()

BATCH: Final = 200
"""Rows that are deleted in one transaction at most."""


@tasks.task("apply-retention", concurrency_limit=1)
async def apply_retention(
    payload: ApplyRetention,  # noqa: ARG001 - checked before the handler runs
    job: JobContext,
) -> dict[str, int]:
    """Delete stories, items without a text, runs and AI usage that are older than the settings allow.

    Each batch is a transaction of its own, so a job that runs again continues.

    Returns:
        The number of deleted rows of each kind that is not kept forever.
    """
    retention = context_of(job).retention
    stories, runs = retention.zeke_delete_stories_after, retention.zeke_delete_runs_after
    counts: dict[str, int] = {}
    if stories is not None:

        async def delete_stories(rows: Rows) -> int:
            return (await rows.expire_stories(stories, BATCH)).stories

        counts["stories"] = await _in_batches(job, delete_stories)
        counts["items"] = await _in_batches(job, lambda rows: rows.expire_items(stories, BATCH))
    if runs is not None:
        counts["runs"] = await _in_batches(job, lambda rows: rows.expire_runs(runs, BATCH))
        counts["runs"] += await _delete_runs_without_jobs(job, runs)
    if (spending := retention.zeke_delete_spending_after) is not None:
        counts["spending"] = await _in_batches(job, lambda rows: rows.expire_spending(spending, BATCH))
    job.logger.info("retention applied" if counts else "everything is kept forever", **counts)
    return counts


async def _in_batches(job: JobContext, delete: Callable[[Rows], Awaitable[int]]) -> int:
    """Delete rows in batches until one is not full; returns their number."""

    async def batch() -> int:
        async with job.transaction() as transaction:
            return await delete(context_of(job).repository.within(transaction))

    deleted, last = 0, BATCH
    while last >= BATCH:
        last = await repeated(batch)
        deleted += last
    return deleted


async def _delete_runs_without_jobs(job: JobContext, after: float) -> int:
    """Delete runs that can't end, since their jobs were deleted; returns their number."""
    repository, deleted, last = context_of(job).repository, 0, None
    while True:
        async with job.transaction() as transaction:
            found = await repository.within(transaction).open_runs(after, BATCH, last)
        if not found:
            return deleted
        forgotten = [key for key in found if not await _exists(job, key)]
        async with job.transaction() as transaction:
            deleted += await repository.within(transaction).delete_open_runs(forgotten)
        last = found[-1]


async def _exists(job: JobContext, job_id: UUID) -> bool:
    try:
        await job.stored(job_id)
    except JobNotFoundError:
        return False
    return True
