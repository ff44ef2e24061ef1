"""Bringing ended jobs back to their queues, and saying who is in the way where that can't be."""

from __future__ import annotations

from datetime import UTC
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final
from uuid import UUID

from zeke_queue.core.failure import shown
from zeke_queue.errors import BadOption, JobNotFound, Refused, ScheduleNotFound
from zeke_queue.model import NewJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from zeke_queue.model import Job, JobState, Schedule
    from zeke_queue.storage.store import Admin, Reader

_NOBODY: Final = UUID(int=0)
_TRIES: Final = 2
_SLOT_GRIDS: Final = (86_400, 3_600, 60, 1)


def check_id(job_id: UUID) -> UUID:
    """Return a job's id.

    Raises:
        BadOption: it is no UUID, such as the text of one; no row could have it.
    """
    if not isinstance(job_id, UUID):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise BadOption(f"job_id: {job_id!r} is no UUID; give what send returned, or uuid.UUID(text)")
    return job_id


async def require(reader: Reader, job_id: UUID) -> Job:
    """Return a job, live or archived.

    Raises:
        JobNotFound: there is none of this id.
    """
    job = (await reader.get([check_id(job_id)])).get(job_id)
    if job is None:
        raise JobNotFound(f"No job has the id {job_id}: it never existed, or was purged")
    return job


async def require_schedule(admin: Admin, name: str) -> Schedule:
    """Return a schedule.

    Raises:
        ScheduleNotFound: there is none of this name.
    """
    schedules = {one.name: one for one in await admin.schedules()}
    if name not in schedules:
        near = get_close_matches(name, sorted(schedules), n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ScheduleNotFound(f"No schedule is called {shown(name)}{hint}")
    return schedules[name]


async def bring_back(
    reader: Reader,
    job_id: UUID,
    verb: Callable[[Sequence[UUID]], Awaitable[set[UUID]]],
    ended: frozenset[JobState],
) -> bool:
    """Put an ended job back into its queue.

    Args:
        reader: looks jobs up.
        job_id: the job.
        verb: ``resume`` or ``retry`` of a storage.
        ended: the states that the verb takes jobs from.

    Returns:
        False if the job is not in one of the states, or is archived.

    Raises:
        JobNotFound: there is no such job.
        Refused: another job has its singleton key or its slot.
    """
    check_id(job_id)
    for _ in range(_TRIES):
        if await verb([job_id]):
            return True
        job = await require(reader, job_id)
        if job.state not in ended or job.archived_on is not None:
            return False
        holder = await _holder_of_place(reader, job)
        if holder is not None:
            raise Refused(f"Job {job_id} stays {job.state}: job {holder} has its key or its slot", holder)
        # Whoever was in the way has ended in between.
    raise Refused(f"Job {job_id} stays as it is: another job had its key or its slot; try again")


async def _holder_of_place(reader: Reader, job: Job) -> UUID | None:
    """Return who has the singleton key or the slot that a job would take again."""
    seconds, offset = None, 0
    if job.singleton_on is not None:
        # A storage computes slots from its own time, so the old one is named by its distance from now. How
        # long it was is not known any more, but any grid that it lies on leads to it; the coarser the grid,
        # the less it matters that time goes on in between.
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
