"""Shared reads: requests made while a query runs are answered by the next query.

Each job has a share of the events of one query. Readers of one job at very different positions can't all be
served by one query: the next one begins with the readers that the last left out, so that none starves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zeke_queue.core import event_limits
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.system.waiting import end, start_detached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent
    from zeke_queue.storage.inspect import Inspector

Q = TypeVar("Q")
A = TypeVar("A")


class BatchedReader:
    """Coalesces concurrent reads of a storage into one query.

    Attributes:
        closed: whether all reads fail from now on.
    """

    def __init__(self, reader: Inspector) -> None:
        self._reader = reader
        self._jobs = _Batches["UUID", "Job | None"](self._read_jobs)
        self._events = _Batches["tuple[UUID, int]", "tuple[list[JobEvent], bool]"](self._read_events)
        self.closed = False

    async def job(self, job_id: UUID) -> Job | None:
        """Return a job, or None if it does not exist.

        Raises:
            StorageUnavailableError: the storage is unavailable, or the reader was closed.
        """
        return await self._jobs.ask(job_id)

    async def events(self, job_id: UUID, after: int) -> tuple[Sequence[JobEvent], bool]:
        """Return events of a job with ``seq`` above ``after``, oldest first, and whether there may be more.

        An empty answer means that there are no further ones.

        Raises:
            StorageUnavailableError: the storage is unavailable, or the reader was closed.
        """
        return await self._events.ask((job_id, after))

    async def close(self) -> None:
        """Fail present and later reads."""
        self.closed = True
        await self._jobs.close()
        await self._events.close()

    async def _read_jobs(self, requested: list[UUID]) -> dict[UUID, Job | None]:
        found = await self._reader.get(list(dict.fromkeys(requested)))
        return {job_id: found.get(job_id) for job_id in requested}

    async def _read_events(
        self, requested: list[tuple[UUID, int]]
    ) -> dict[tuple[UUID, int], tuple[list[JobEvent], bool]]:
        """Answer as many requests as one query can; for each job, at least the oldest request."""
        begin: dict[UUID, int] = {}
        for job_id, after in requested:
            begin.setdefault(job_id, after)
        by_job: dict[UUID, list[JobEvent]] = {job_id: [] for job_id in begin}
        for event in await self._reader.events(begin):
            by_job[event.job_id].append(event)
        share = event_limits.of_each(len(begin))
        served: dict[tuple[UUID, int], tuple[list[JobEvent], bool]] = {}
        for job_id, after in requested:
            events = by_job[job_id]
            cut = len(events) >= share
            if after >= begin[job_id] and not (cut and after >= events[-1].seq):
                served[job_id, after] = [event for event in events if event.seq > after], cut
        return served


class _Batches(Generic[Q, A]):
    """One query at a time for all callers.

    Args:
        query: answers requests, the one that has waited longest first: that one in any case, and as many of
            the others as it can. The next query gets the rest, before requests made meanwhile.
    """

    def __init__(self, query: Callable[[list[Q]], Awaitable[Mapping[Q, A]]]) -> None:
        self._query = query
        self._requests: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: asyncio.Task[Any] | None = None
        self._closed = False

    async def ask(self, request: Q) -> A:
        """Return the answer to a request.

        Raises:
            StorageUnavailableError: the storage is unavailable, or the batches were closed.
        """
        if self._closed:
            raise _closed_error()
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._requests.append((request, answer))
        if self._running is None or self._running.done():
            self._running = start_detached(self._run())
        return await answer

    async def close(self) -> None:
        """Fail present and later requests."""
        self._closed = True
        if self._running is not None:
            await end(self._running)
        _fail(self._requests, _closed_error())  # a task that had not begun yet answers none

    async def _run(self) -> None:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        try:
            while self._requests:
                batch, self._requests = self._requests, []
                try:
                    answers = await self._query([request for request, _ in batch])
                except Exception as error:  # noqa: BLE001 - it is raised again in every caller
                    _fail(batch, error)
                else:
                    left = [one for one in batch if one[0] not in answers and not one[1].done()]
                    for request, answer in batch:
                        if request in answers and not answer.done():
                            answer.set_result(answers[request])
                    self._requests[:0] = left
        finally:
            _fail([*batch, *self._requests], _closed_error())


def _fail(requests: list[tuple[Q, asyncio.Future[A]]], error: Exception) -> None:
    for _, answer in requests:
        if not answer.done():
            answer.set_exception(error)


def _closed_error() -> StorageUnavailableError:
    return StorageUnavailableError("The job can't be read: the queue was closed")
