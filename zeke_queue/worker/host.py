"""The worker's side of a job's context."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

from zeke_queue.errors import InvalidOptionError, LeaseLostError
from zeke_queue.model import Extended
from zeke_queue.storage.inspect import require
from zeke_queue.system import logging as log
from zeke_queue.task.context import JobHost
from zeke_queue.task.prepare import insert, insert_surely

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job, NewJob
    from zeke_queue.system.clock import Clock
    from zeke_queue.task.context import Child, JobContext
    from zeke_queue.task.prepare import SendOptions
    from zeke_queue.worker.job_context import WorkerContext
    from zeke_queue.worker.progress import Notes
    from zeke_queue.worker.state import LeasedJob


class Host(JobHost, Protocol):
    """A job's host that also accepts log lines of a handler in another process."""

    def keep(self, job: JobContext, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Store a log line for watchers."""
        ...


class WorkerHost:
    """The ``JobHost`` of all jobs of one worker, over a queue.

    Args:
        queue: sends children and opens transactions.
        notes: stores progress and log lines.
        lost: called with a job that turned out to be lost, to interrupt it.
        extended: called with a job and its new deadline.
        resources: the value that the catalog's ``resources`` yielded.
        clock: the clock of deadlines.
    """

    def __init__(
        self,
        queue: Queue,
        notes: Notes,
        *,
        lost: Callable[[LeasedJob], None],
        extended: Callable[[LeasedJob, float], None],
        resources: Any,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._notes = notes
        self._lost = lost
        self._extended = extended
        self._loop = asyncio.get_running_loop()
        self.resources = resources

    def progress(self, job: JobContext, value: float, message: str | None) -> None:
        """Store a job's progress."""
        self._notes.progress(job.id, job.attempt, value, message)

    def keep(self, job: JobContext, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Store a log line for watchers."""
        self._notes.line(job.id, job.attempt, level, message, fields)

    def logger(self, job: JobContext) -> FilteringBoundLogger:
        """Return a logger whose lines are printed, and stored at info and above."""

        def keep(level: str, message: str, fields: Mapping[str, Any]) -> None:
            self.keep(job, level, message, fields)

        return log.job_logger(keep, taskId=job.task, jobId=str(job.id), attempt=job.attempt)

    async def extend(self, job: JobContext, seconds: float) -> None:
        """Move a job's deadline, here and in the storage."""
        leased = cast("WorkerContext", job).leased
        asked = self._clock.monotonic()
        if not await self._queue.storage.extend([Extended(job.id, job.attempt, seconds)]):
            self._lost(leased)
            raise LeaseLostError.of(job.id)
        job.deadline = asked + seconds
        self._extended(leased, job.deadline)

    async def send(self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]) -> UUID | None:
        """Send a child."""
        return await self._queue.send(task, payload, **self._family(job, options))

    async def trigger(self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]) -> Child:
        """Send a child and return its run."""
        return await self._queue.trigger(task, payload, **self._family(job, options))

    async def child(
        self, job: JobContext, task: Any, payload: Any, key: str, options: Mapping[str, Any]
    ) -> Child:
        """Send a child that the job waits for, once."""
        queue = self._queue
        for name in options.keys() & {"id", "parent"}:
            raise InvalidOptionError(
                f"{name}: a child that is waited for has its own; leave it out, or use job.trigger"
            )
        told = {**self._family(job, options), "id": job.child_id(key), "parent": job.id}
        prepared = queue.sender.prepare(task, payload, cast("SendOptions", told))

        async def spawn(jobs: Sequence[NewJob]) -> list[UUID | None]:
            return [await queue.storage.insert_child(child, job.attempt) for child in jobs]

        (child_id,) = await insert([prepared], lambda jobs: insert_surely(jobs, spawn, queue.clock))
        return await queue.run_of(prepared, child_id)

    async def look(self, job: JobContext, job_id: UUID) -> Job:
        """Return a job as it is stored."""
        del job
        return await require(self._queue.storage, job_id)

    def transaction(self, job: JobContext, connection: Any) -> AbstractAsyncContextManager[Any]:
        """Open a transaction whose jobs are children."""
        return self._queue.transaction(connection, parent=job.id, meta=job.meta or None)

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the worker's loop, from a thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        work.close()
        raise RuntimeError(
            "job.wait() is for handlers in threads: on the event loop itself nothing can be waited for; await"
            " instead, in an async handler"
        )

    def _family(self, job: JobContext, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"parent": job.id, "meta": job.meta or None, **options}
