"""A job that a worker holds, and what the state of a worker needs of its context and its slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_queue.worker.claims import AHEAD_SLOWEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zeke_queue.model import Claimed
    from zeke_queue.worker.claims import ServedQueue

Outcome = Completed | Failed | Released | Waiting

Reason = Literal["expired", "lost", "shutdown"]
"""Why a handler was interrupted: its deadline passed, its job was lost or cancelled, the worker stops."""

Deferral = Literal["new", "failed", "locked"]
"""Why an outcome is stored later than others of its batch: the whole batch failed, it was tried since and
failed, its row is locked."""

WAITING: Final = 0
RUNNING: Final = 1
SETTLING: Final = 2


class Context(Protocol):
    """What a handler knows of its interruption, and its log."""

    cancelled: bool
    interrupted: bool

    def end_log(self) -> None:
        """Store how many of the attempt's log lines were dropped."""
        ...


class Slot(Protocol):
    """What runs one job at a time."""

    @property
    def task(self) -> object:
        """The task that runs the job."""
        ...

    def cancel(self) -> None:
        """Cancel the handler of the job that runs."""
        ...


@dataclass(slots=True, eq=False)
class LeasedJob:
    """A job that this worker claimed, until its outcome is stored.

    Attributes:
        deadline: on the worker's monotonic clock; counted from before the claim was sent, so it is never
            later than the storage's, except after an extension that an error of ``job.transaction()`` rolled
            back: up to ``LOCK_SECONDS`` later, so that the job can be extended again.
        claim: the number of the claim that brought it.
        stage: WAITING for a pool task, RUNNING, or SETTLING: its outcome is under way.
        began: whether its handler began, so that its duration is meaningful.
        reason: why its handler was interrupted; None if it was not.
        interrupted: when, on the monotonic clock.
        context: the context passed to the handler, if any.
    """

    claimed: Claimed
    queue: ServedQueue
    deadline: float
    claim: int = 0
    stage: int = WAITING
    began: bool = False
    reason: Reason | None = None
    context: Context | None = None
    outcome: Outcome | None = None
    started: float = 0.0
    took: float = 0.0
    interrupted: float = 0.0
    payload_bytes: int = 0

    def log_fields(self) -> dict[str, Any]:
        """Return the fields by which log lines name the job."""
        claimed = self.claimed
        return {"taskId": self.queue.task, "jobId": str(claimed.id), "attempt": claimed.attempt}


def count_slow(running: Iterable[LeasedJob], first: Iterable[LeasedJob], now: float) -> int:
    """Count the jobs without a limit that hold a pool task for long, or will.

    Args:
        running: the jobs that run.
        first: the first jobs that wait; those that were claimed for free pool tasks are among them.
    """
    slow = [job for job in running if not job.queue.is_quick or now - job.started > AHEAD_SLOWEST]
    slow += [job for job in first if not job.queue.is_quick]
    return sum(job.queue.limit is None for job in slow)
