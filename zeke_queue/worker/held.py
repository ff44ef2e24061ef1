"""The worker's record of a job that it holds, from the claim until its outcome is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_queue.task.context import JobContext
from zeke_queue.worker.state import ServedQueue

if TYPE_CHECKING:
    from zeke_queue.model import Claimed
    from zeke_queue.task.context import JobHost
    from zeke_queue.task.task import Task
    from zeke_queue.worker.coroutine_pool import Lane

Outcome = Completed | Failed | Released | Waiting

Reason = Literal["expired", "lost", "shutdown"]
"""Why a handler was interrupted: its time was up; the job was lost or cancelled; the worker shuts down."""

WAITING: Final = 0
RUNNING: Final = 1
SETTLING: Final = 2


class Served(ServedQueue):
    """A queue that a worker serves, with the task of its jobs."""

    __slots__ = ("task",)

    def __init__(self, name: str, task: Task[Any, Any]) -> None:
        super().__init__(name, task.concurrency_limit)
        self.task = task


class Held:
    """A job that this worker claimed.

    Attributes:
        deadline: on the worker's monotonic clock; counted from before the claim was sent, so it is never
            later than the storage's.
        stage: WAITING for a slot, RUNNING, or SETTLING: its outcome is under way.
        began: whether its handler began, so that its duration is meaningful.
        reason: why its handler was interrupted; None if it was not.
        interrupted: when, on the monotonic clock.
    """

    __slots__ = (
        "began",
        "claimed",
        "context",
        "deadline",
        "interrupted",
        "lane",
        "outcome",
        "reason",
        "served",
        "stage",
        "started",
        "took",
    )

    def __init__(self, claimed: Claimed, served: Served, deadline: float) -> None:
        self.claimed = claimed
        self.served = served
        self.deadline = deadline
        self.stage = WAITING
        self.began = False
        self.reason: Reason | None = None
        self.lane: Lane | None = None
        self.context: WorkerContext | None = None
        self.outcome: Outcome | None = None
        self.started = 0.0
        self.took = 0.0
        self.interrupted = 0.0


class WorkerContext(JobContext):
    """A context with the worker's own record of the job."""

    __slots__ = ("held",)

    def __init__(self, held: Held, host: JobHost) -> None:
        super().__init__(held.claimed, held.served.task.name, host, held.deadline)
        self.held = held
