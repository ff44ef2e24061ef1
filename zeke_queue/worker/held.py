"""What a worker knows of a job that it holds, from the claim until its outcome is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_queue.task.context import JobContext

if TYPE_CHECKING:
    from zeke_queue.model import Claimed
    from zeke_queue.task.context import JobHost
    from zeke_queue.task.task import Task
    from zeke_queue.worker.coroutine_pool import Lane

Outcome = Completed | Failed | Released | Waiting

Reason = Literal["expired", "lost", "shutdown"]
"""Why a handler was interrupted: its time was up; the job is another's or was cancelled; the worker ends."""

WAITING: Final = 0
RUNNING: Final = 1
SETTLING: Final = 2


class Served:
    """A queue that a worker serves: a task under one of its names, and what was measured of it.

    Attributes:
        busy: how many of its jobs the worker holds, kept for tasks with a limit only.
        seconds: how long its jobs take, leaning to the slow ones; None until one has ended.
    """

    __slots__ = ("busy", "limit", "name", "seconds", "task")

    def __init__(self, name: str, task: Task[Any, Any]) -> None:
        self.name = name
        self.task = task
        self.limit = task.concurrency_limit
        self.busy = 0
        self.seconds: float | None = None


class Held:
    """A job that this worker claimed.

    Attributes:
        deadline: on the worker's monotonic clock; computed from before the claim was sent, so that it is
            never later than the one the storage goes by.
        stage: WAITING for a lane, RUNNING in one, or SETTLING: its outcome is on its way.
        began: whether its handler did, so that the time it took tells something.
        reason: why its handler was interrupted, if it was.
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
    """A context that knows the worker's own record of the job."""

    __slots__ = ("held",)

    def __init__(self, held: Held, host: JobHost) -> None:
        super().__init__(held.claimed, held.served.task.name, host, held.deadline)
        self.held = held
