"""Reads of committed rows, returned as values that do not change with the rows."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from heapq import nlargest
from itertools import accumulate
from typing import TYPE_CHECKING

from zeke_queue.core.text_search import contains
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import no_page
from zeke_queue.model import STATUS_OF, JobPage
from zeke_queue.storage.memory.rows import as_job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import Job, JobQuery, WorkerInfo
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.storage.notifier import NotifiedFeed, Notifier
    from zeke_queue.system.clock import Clock

_FOUND_AT_ONCE = 1000


class MemoryReader:
    """``storage.inspect.Inspector`` in memory; the protocol documents each verb."""

    _tables: Tables
    _notifier: Notifier
    _clock: Clock

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Return those of the jobs that exist, live or archived."""
        rows = (self._tables.jobs.get(job_id) or self._tables.archive.get(job_id) for job_id in ids)
        return {row.id: as_job(row) for row in rows if row is not None}

    async def find(self, query: JobQuery) -> JobPage:
        """Return live jobs that match a filter, or archived ones if it says so, newest first."""
        check_limit(query.limit, _FOUND_AT_ONCE)
        newest = self._newest(query, query.limit + 1)
        rows = _within(newest, query)[: query.limit]
        return JobPage([as_job(row, query.without) for row in rows], has_more=len(newest) > len(rows))

    def _newest(self, query: JobQuery, limit: int) -> list[Row]:
        """Return the first ``limit`` rows of a list, without the limit on bytes."""
        before = self._place(query.before)
        table = self._tables.archive if query.archived else self._tables.jobs
        found = [row for row in table.values() if _fits(row, query)]
        if before is not None:
            found = [row for row in found if _age(row) < before]
        return nlargest(limit, found, key=_age)

    def _place(self, job_id: UUID | None) -> tuple[datetime, UUID] | None:
        """Return a job's position in the order of lists."""
        if job_id is None:
            return None
        row = self._tables.jobs.get(job_id) or self._tables.archive.get(job_id)
        if row is None:
            raise no_page(job_id)
        return _age(row)

    async def workers(self) -> list[WorkerInfo]:
        """Return the known workers, by start, with the number of jobs that each holds."""
        known = sorted(self._tables.workers.values(), key=lambda worker: (worker.started_on, worker.id))
        return [replace(worker, active_jobs=len(self._tables.held_by(worker.id))) for worker in known]

    async def now(self) -> datetime:
        """Return the clock's time."""
        return self._clock.now()

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[NotifiedFeed]:
        """Open a watch; every change after a job is added is reported."""
        watch = self._notifier.watch()
        try:
            yield watch
        finally:
            watch.end()


def _within(rows: list[Row], query: JobQuery) -> list[Row]:
    """Return the first rows whose bytes stay within the filter's limit; at least one."""
    if query.bytes_max is None:
        return rows
    totals = accumulate(_bytes(row, query.without) for row in rows)
    return [
        row
        for place, (row, total) in enumerate(zip(rows, totals, strict=True))
        if place == 0 or total <= query.bytes_max
    ]


def _bytes(row: Row, without: Sequence[str]) -> int:
    """Return how many bytes of a row's JSON are read, without its history."""
    carried = {"data": row.data, "output": row.output, "meta": row.meta}
    return sum(len(text.encode()) for part, text in carried.items() if text and part not in without)


def _fits(row: Row, query: JobQuery) -> bool:
    return (
        (query.ids is None or row.id in query.ids)
        and (not query.names or row.name in query.names)
        and (not query.status or STATUS_OF[row.state] in query.status)
        and (query.parent is None or row.parent == query.parent)
        and (not query.parents or row.parent in query.parents)
        and (query.created_from is None or row.created_on >= query.created_from)
        and (query.created_to is None or row.created_on < query.created_to)
        and (query.text is None or _contains_text(row, query.text, open_to_it=row.name not in query.opaque))
    )


def _contains_text(row: Row, text: str, *, open_to_it: bool) -> bool:
    """Return whether a row contains a text."""
    inside = (row.data, row.output, row.meta) if open_to_it else ()
    return any(contains(one, text) for one in (str(row.id), row.singleton_key, *inside))


def _age(row: Row) -> tuple[datetime, UUID]:
    """Return the sort key of lists; the greatest is the newest."""
    return row.created_on, row.id
