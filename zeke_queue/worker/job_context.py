"""The context of a job whose handler runs in this worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.task.context import JobContext

if TYPE_CHECKING:
    from zeke_queue.task.context import JobHost
    from zeke_queue.worker.state import LeasedJob


class WorkerContext(JobContext):
    """A context with the worker's own record of the job."""

    __slots__ = ("leased",)

    def __init__(self, leased: LeasedJob, host: JobHost) -> None:
        super().__init__(leased.claimed, leased.queue.task, host, leased.deadline)
        self.leased = leased
