"""Requeueing of ended jobs, with the conflicting job in the error where that is refused."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final
from uuid import UUID

from zeke_queue.errors import JobConflictError
from zeke_queue.model import NewJob
from zeke_queue.storage.inspect import check_id, require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from zeke_queue.model import Job, JobStatus
    from zeke_queue.storage.inspect import Inspector

_NOBODY: Final = UUID(int=0)
_TRIES: Final = 2
_SLOT_GRIDS: Final = (86_400, 3_600, 60, 1)


async def bring_back(
    reader: Inspector,
    job_id: UUID,
    verb: Callable[[Sequence[UUID]], Awaitable[set[UUID]]],
    ended: JobStatus,
) -> bool:
    """Requeue an ended job.

    Args:
        reader: where jobs are read.
        job_id: the job.
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
        holder = await _holder_of_place(reader, job)
        if holder is not None:
            raise JobConflictError(
                f"Job {job_id} stays {job.status}: job {holder} has its key or its slot", holder
            )
        # The conflicting job ended between the two queries, so try once more.
    raise JobConflictError(f"Job {job_id} stays as it is: another job had its key or its slot; try again")


async def _holder_of_place(reader: Inspector, job: Job) -> UUID | None:
    """Return the job that holds the singleton key or the slot that a job would take again."""
    seconds, offset = None, 0
    if job.singleton_on is not None:
        # Storages compute slots from their own time, so the old slot is named by its distance from now. Its
        # length is not stored, but any grid that contains its start leads to it. A coarse grid leaves the
        # most room for time that passes between the two reads.
        start = int(job.singleton_on.replace(tzinfo=UTC).timestamp())
        now = int((await reader.now()).timestamp())
        seconds = next(grid for grid in _SLOT_GRIDS if start % grid == 0)
        offset = start - now // seconds * seconds
    return await reader.holder(
        NewJob(
            id=_NOBODY,
            name=job.name,
            singleton_key=job.singleton_key,
            slot_seconds=seconds,
            slot_offset=offset,
        )
    )
