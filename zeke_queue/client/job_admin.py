"""Requeueing of ended jobs, with the conflicting job in the error if that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.errors import JobConflictError
from zeke_queue.storage.inspect import check_id, require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from zeke_queue.model import JobStatus
    from zeke_queue.storage.inspect import Inspector

_TRIES: Final = 2


async def requeue(
    reader: Inspector, job_id: UUID, verb: Callable[[Sequence[UUID]], Awaitable[set[UUID]]], ended: JobStatus
) -> bool:
    """Requeue an ended job.

    Args:
        verb: ``resume`` or ``retry`` of a storage.
        ended: the status that the verb takes jobs from.

    Returns:
        False if the job has another status, or is archived.

    Raises:
        JobNotFoundError: there is no such job.
        JobConflictError: another job has its singleton key or its slot.
    """
    check_id(job_id)
    for _ in range(_TRIES):
        if await verb([job_id]):
            return True
        job = await require(reader, job_id)
        if job.status is not ended or job.archived_on is not None:
            return False
        (holder,) = await reader.find_conflicts([job_id])
        if holder is not None:
            raise JobConflictError(
                f"Job {job_id} stays {job.status}: job {holder} has its key or its slot", holder
            )
        # The conflicting job ended between the two queries, so try once more.
    raise JobConflictError(f"Job {job_id} stays as it is: another job had its key or its slot; try again")
