"""Reads that several interfaces share: queues, workers, and pages of jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from zeke_queue.api_client import model as answers
from zeke_queue.core.validation import check_query
from zeke_queue.errors import ReadTimeoutError
from zeke_queue.model import QueueStats, RowState
from zeke_queue.web.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.model import Job, JobQuery
    from zeke_queue.web.api import Api

BYTES_MOST: Final = 8 * 2**20
"""Maximum total size of a page's payloads and outputs in bytes, unless its only job is larger."""


async def all_queues(parts: Api) -> list[answers.QueueInfo]:
    """Return every queue that has live jobs, settings or a task, by name.

    Raises:
        ReadTimeoutError: counting the jobs takes too long; ``uncounted`` returns the rest.
    """
    async with parts.searches.search():
        stats = await parts.storage.queue_stats()
    return await described(parts, stats)


async def known_queues(parts: Api) -> list[answers.QueueInfo]:
    """Return every queue as ``all_queues`` does, but without counts if counting takes too long."""
    try:
        return await all_queues(parts)
    except ReadTimeoutError:
        return await uncounted(parts)


async def uncounted(parts: Api) -> list[answers.QueueInfo]:
    """Return every queue that has settings or a task, without counts."""
    return [one.model_copy(update={"counts": {}}) for one in await described(parts, ())]


async def one_queue(parts: Api, name: str) -> answers.QueueInfo:
    """Return a queue that has settings or a task, without its counts if these can't be read now."""
    try:
        queues = await known_queues(parts)
    except ApiError:
        queues = await uncounted(parts)
    return next(one for one in queues if one.name == name)


async def described(parts: Api, counted: Sequence[QueueStats]) -> list[answers.QueueInfo]:
    """Return every queue that was counted, or has settings or a task, by name."""
    stats = {one.name: one for one in counted}
    settings = {one.name: one for one in await parts.storage.queues()}
    names = sorted({*stats, *settings, *parts.queue.catalog.tasks})
    shown = [(name, stats.get(name, QueueStats(name, {}))) for name in names]
    return [
        answers.QueueInfo(
            name=name,
            counts={state.value: has.row_counts.get(state, 0) for state in RowState},
            lag=has.oldest_due_age,
            concurrency_limit=settings[name].concurrency_limit if name in settings else None,
            paused=name in settings and settings[name].paused_on is not None,
        )
        for name, has in shown
    ]


async def all_workers(parts: Api) -> list[answers.WorkerInfo]:
    """Return the registered workers by start time, with the number of jobs that each holds."""
    storage = parts.storage
    now = await storage.now()
    return [
        answers.WorkerInfo(
            id=one.id,
            host=one.host,
            pid=one.pid,
            queues=one.queues,
            alive=one.is_alive(now),
            asleep=one.asleep,
            duties=one.duties,
            started_on=one.started_on,
            beat_on=one.beat_on,
            holds=one.active_jobs,
        )
        for one in await storage.workers()
    ]


def waiting(queue: answers.QueueInfo) -> int:
    """Return the number of waiting jobs of a queue, due or not; 0 if they are not counted."""
    return queue.counts.get(RowState.CREATED, 0) + queue.counts.get(RowState.RETRY, 0)


async def page_of(parts: Api, query: JobQuery) -> tuple[list[Job], UUID | None]:
    """Return a page of jobs, and the id of its last job if there is a next page, else None.

    In jobs with hidden values, a text is searched only in id and singleton key; otherwise hidden values could
    be guessed by searching. The page ends where its jobs exceed ``BYTES_MOST`` in total.
    """
    asked = check_query(replace(query, opaque=parts.presenter.opaque, bytes_max=BYTES_MOST))
    page = await parts.find(asked)
    return page.jobs, page.jobs[-1].id if page.has_more else None
