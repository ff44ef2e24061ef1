"""Shared reads: requests made while a query runs are answered by the next query.

Each job has a share of the lines of one query. Readers of one job at very different positions can't all be
served by one query: the next one begins with the readers that the last left out, so that none starves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zeke_queue.core import event_limits
from zeke_queue.system.waiting import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent
    from zeke_queue.storage.store import Reader

Q = TypeVar("Q")
A = TypeVar("A")


class BatchedReader:
    """Coalesces concurrent reads of a storage into one query."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._jobs = _Shared["UUID", "Job | None"](self._look_for_jobs)
        self._lines = _Shared["tuple[UUID, int]", "tuple[list[JobEvent], bool]"](self._look_for_lines)

    async def job(self, job_id: UUID) -> Job | None:
        """Return a job; None if there is none."""
        return await self._jobs.ask(job_id)

    async def lines(self, job_id: UUID, after: int) -> tuple[list[JobEvent], bool]:
        """Return lines of a job with ``seq`` above ``after``, and whether there may be more.

        If there are none, there are no more either.
        """
        return await self._lines.ask((job_id, after))

    async def close(self) -> None:
        """End all waits."""
        await self._jobs.close()
        await self._lines.close()

    async def _look_for_jobs(self, asked: list[UUID]) -> dict[UUID, Job | None]:
        found = await self._reader.get(list(dict.fromkeys(asked)))
        return {job_id: found.get(job_id) for job_id in asked}

    async def _look_for_lines(
        self, asked: list[tuple[UUID, int]]
    ) -> dict[tuple[UUID, int], tuple[list[JobEvent], bool]]:
        """Answer as many requests as one query can; for each job, at least the oldest request."""
        begin: dict[UUID, int] = {}
        for job_id, after in asked:
            begin.setdefault(job_id, after)
        by_job: dict[UUID, list[JobEvent]] = {job_id: [] for job_id in begin}
        for line in await self._reader.events_of(begin):
            by_job[line.job_id].append(line)
        share = event_limits.of_each(len(begin))
        served: dict[tuple[UUID, int], tuple[list[JobEvent], bool]] = {}
        for job_id, after in asked:
            lines = by_job[job_id]
            cut = len(lines) >= share
            if after >= begin[job_id] and not (cut and after >= lines[-1].seq):
                served[job_id, after] = [line for line in lines if line.seq > after], cut
        return served


class _Shared(Generic[Q, A]):
    """One query at a time for all callers.

    Args:
        query: answers questions, the one that has waited longest first: that one in any case, and as many of
            the others as it can. The next query gets the rest, before questions asked meanwhile.
    """

    def __init__(self, query: Callable[[list[Q]], Awaitable[Mapping[Q, A]]]) -> None:
        self._query = query
        self._asked: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: asyncio.Task[Any] | None = None

    async def ask(self, question: Q) -> A:
        """Return the answer to a question.

        Raises:
            StorageError: the query failed.
        """
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._asked.append((question, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        return await answer

    async def close(self) -> None:
        if self._running is not None:
            await end(self._running)

    async def _run(self) -> None:
        asked: list[tuple[Q, asyncio.Future[A]]] = []
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                try:
                    answers = await self._query([question for question, _ in asked])
                except Exception as error:  # noqa: BLE001 - it is raised again in every caller
                    _tell(asked, lambda waiting, error=error: waiting.set_exception(error))
                else:
                    left = [one for one in asked if one[0] not in answers and not one[1].done()]
                    for question, waiting in asked:
                        if question in answers and not waiting.done():
                            waiting.set_result(answers[question])
                    self._asked[:0] = left
        finally:
            _tell([*asked, *self._asked], lambda waiting: waiting.cancel())


def _tell(asked: list[tuple[Q, asyncio.Future[A]]], how: Callable[[asyncio.Future[A]], object]) -> None:
    for _, waiting in asked:
        if not waiting.done():
            how(waiting)
