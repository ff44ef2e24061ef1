"""A job that was sent, in the hands of whoever sent it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.client.job_admin import require

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job


class Run:
    """A job that was sent, to be waited for.

    Attributes:
        id: the job's.
        task: the task's name.
    """

    __slots__ = ("_queue", "id", "task")

    def __init__(self, queue: Queue, job_id: UUID, task: str) -> None:
        self._queue = queue
        self.id = job_id
        self.task = task

    def __repr__(self) -> str:
        return f"<Run {self.task} {self.id}>"

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end and return its output; see ``Queue.result``."""
        return await self._queue.result(self.id, timeout)

    def watch(self) -> AsyncGenerator[Job]:
        """Yield the job at each change of its status; see ``Queue.watch``."""
        return self._queue.watch(self.id)

    async def job(self) -> Job:
        """Return the job as it is stored now.

        Raises:
            JobNotFound: it was purged.
        """
        return await require(self._queue.storage, self.id)

    async def cancel(self) -> bool:
        """Cancel the job; see ``Queue.cancel``."""
        return await self._queue.cancel(self.id)
