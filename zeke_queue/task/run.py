"""The handle of a sent job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from zeke_queue.errors import JobNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent


class RunSource(Protocol):
    """The part of a queue that its runs need."""

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job, or None if there is none with this id."""
        ...

    async def result(self, job_id: UUID, timeout: float | None = None) -> Any:
        """Wait for a job to end and return its output."""
        ...

    def watch(self, job_id: UUID) -> AsyncGenerator[Job | JobEvent]:
        """Yield a job at each change of its status, and its events between them."""
        ...

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job; False if it had ended already."""
        ...


class Run:
    """A sent job, which can be awaited.

    Attributes:
        id: the job's id.
        task: the task's name.
    """

    __slots__ = ("_queue", "id", "task")

    def __init__(self, queue: RunSource, job_id: UUID, task: str) -> None:
        self._queue = queue
        self.id = job_id
        self.task = task

    def __repr__(self) -> str:
        return f"<Run {self.task} {self.id}>"

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the job to end and return its output; see ``Queue.result``."""
        return await self._queue.result(self.id, timeout)

    def watch(self) -> AsyncGenerator[Job | JobEvent]:
        """Yield the job at each change of its status, and its progress and log lines; see ``Queue.watch``."""
        return self._queue.watch(self.id)

    async def job(self) -> Job:
        """Return the job as it is stored now.

        Raises:
            JobNotFoundError: it was purged.
        """
        job = await self._queue.get(self.id)
        if job is None:
            raise JobNotFoundError.of(self.id)
        return job

    async def cancel(self) -> bool:
        """Cancel the job; see ``Queue.cancel``."""
        return await self._queue.cancel(self.id)
