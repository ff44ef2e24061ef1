"""Waits that would never end: for no job, for one that waits for the waiting job, or again for one end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

WAIT_CHAIN_MAX: Final = 1000
"""Jobs that may wait for each other in a row; a longer chain is refused, so that every cycle is found."""

_NAMED_MAX: Final = 10
"""Maximum jobs of a chain that an error names."""


def is_endless(chain: Sequence[UUID], job_id: UUID) -> bool:
    """Return whether a job must not wait for the first job of a chain.

    Args:
        chain: the job to wait for, the one for which that waits, and so on. It ends with the first one that
            waits for none, with ``job_id``, or after ``WAIT_CHAIN_MAX`` jobs.

    >>> is_endless("BC", "A"), is_endless("BCA", "A"), is_endless("A", "A")
    (False, True, True)
    """
    return chain[-1] == job_id or len(chain) >= WAIT_CHAIN_MAX


def missing_error(child: UUID) -> str:
    """Return the error of a job that waits for one that does not exist."""
    return (
        f"The handler waits for job {child}, which does not exist; send it before waiting for it, and wait "
        "before it is purged"
    )


def is_ended(chain: Sequence[UUID], job_id: UUID) -> bool:
    """Return whether a wait was refused because the job had ended and the handler waits for it a second time.

    >>> is_ended("B", "A"), is_ended("A", "A"), is_ended("BCA", "A"), is_ended("", "A")
    (True, False, False, False)
    """
    return len(chain) == 1 and chain[0] != job_id


def ended_error(child: UUID) -> str:
    """Return the error of a job that waits again for one that had ended before."""
    return (
        f"The handler waits again for job {child}, which had ended before this attempt; wait only for jobs "
        "that have not ended, as job.wait_for does, which returns the others"
    )


def cycle_error(chain: Sequence[UUID], job_id: UUID) -> str:
    """Return the error of a job that would wait for itself, with the chain of jobs that leads back to it."""
    if chain[-1] != job_id:
        return (
            f"The handler waits for job {chain[0]}, the first of {WAIT_CHAIN_MAX} or more jobs, each of "
            "which waits for the next one; use fewer generations of children"
        )
    if len(chain) == 1:
        return "The job would wait for itself, which would never end; wait for another job"
    named = [str(one) for one in (job_id, *chain[:-1])]
    if len(named) > _NAMED_MAX:
        named[_NAMED_MAX - 1 : -1] = [f"{len(named) - _NAMED_MAX} more jobs"]
    return (
        f"These jobs would wait for each other, which would never end: {' -> '.join(named)} -> {job_id};"
        " remove one of these waits"
    )
