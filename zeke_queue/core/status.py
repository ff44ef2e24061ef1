"""A job as users see it: the row states behind a status, its names, and the attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zeke_queue.model import EXPIRED_TYPE, STATUS_OF, WAITING, JobStatus, RowState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zeke_queue.model import Job

STATES_OF: Final[Mapping[JobStatus, tuple[RowState, ...]]] = {
    status: tuple(state for state, its in STATUS_OF.items() if its is status) for status in JobStatus
}


def states_of(statuses: Iterable[JobStatus]) -> tuple[RowState, ...]:
    """Return the row states that these statuses cover.

    >>> [state.value for state in states_of([JobStatus.QUEUED])]
    ['created', 'retry']
    """
    return tuple(state for status in statuses for state in STATES_OF[status])


def read_status(word: str) -> tuple[JobStatus, bool]:
    """Return the status that a word names, and whether the word is deprecated.

    The five statuses are read in upper and lower case. The row states of pg-boss (created, retry, active,
    expired) are deprecated, and read as the status that shows them.

    Raises:
        ValueError: the word names no status.

    >>> read_status("failed"), read_status("expired")
    ((<JobStatus.FAILED: 'FAILED'>, False), (<JobStatus.FAILED: 'FAILED'>, True))
    """
    try:
        return JobStatus(word.upper()), False
    except ValueError:
        return STATUS_OF[RowState(word.lower())], True


def output_of(job: Job) -> Any:
    """Return a job's result or error; a job that pg-boss expired has none stored, so it is made here."""
    if job.output is None and job.row_state is RowState.EXPIRED:
        return {"type": EXPIRED_TYPE, "message": "The attempt exceeded its deadline."}
    return job.output


def attempt_of(job: Job) -> str:
    """Return a job's attempt, of a waiting job the next one, and how many there are if all fail: ``2 of 4``.

    A retry is counted when it is claimed, so a job that waits for one has not counted it. An attempt that
    ended without a failure (shutdown, snooze) adds one to both numbers.
    """
    number = job.attempt + (job.row_state in WAITING)
    left = job.retry_limit - job.retry_count - (job.row_state is RowState.RETRY)
    return f"{number} of {number + max(0, left)}"
