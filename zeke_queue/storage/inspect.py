"""Reads of one job or schedule that must exist."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING
from uuid import UUID

from zeke_queue.core.failure import shown
from zeke_queue.errors import InvalidOptionError, JobNotFoundError, ScheduleNotFoundError

if TYPE_CHECKING:
    from zeke_queue.model import Job, Schedule
    from zeke_queue.storage.store import Admin, Reader


def check_id(job_id: UUID) -> UUID:
    """Return a job's id.

    Raises:
        InvalidOptionError: it is not a UUID, for example its text, which no row can match.
    """
    if not isinstance(job_id, UUID):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise InvalidOptionError(
            f"job_id: {job_id!r} is no UUID; give what send returned, or uuid.UUID(text)"
        )
    return job_id


async def require(reader: Reader, job_id: UUID) -> Job:
    """Return a job, live or archived.

    Raises:
        JobNotFoundError: there is none with this id.
    """
    job = (await reader.get([check_id(job_id)])).get(job_id)
    if job is None:
        raise JobNotFoundError.of(job_id)
    return job


async def require_schedule(admin: Admin, name: str) -> Schedule:
    """Return a schedule.

    Raises:
        ScheduleNotFoundError: there is none with this name.
    """
    schedules = {one.name: one for one in await admin.schedules()}
    if name not in schedules:
        near = get_close_matches(name, sorted(schedules), n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ScheduleNotFoundError(f"No schedule is called {shown(name)}{hint}")
    return schedules[name]
