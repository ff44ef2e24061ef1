"""What the queue holds of a team: its keys, its schedules, and its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from zeke_queue.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job, Schedule
    from zeke_queue.storage.access import ApiKey


def team_id_of(text: str, named: str = "--team") -> UUID:
    """Return a team's id given as an option or an argument.

    Raises:
        InvalidOptionError: it is not a UUID.
    """
    try:
        return UUID(text)
    except ValueError:
        raise InvalidOptionError(f"{named}: must be a UUID, got {text!r}; pass a team's id") from None


async def keys_of(queue: Queue, team_id: UUID) -> list[ApiKey]:
    """Return a team's API keys, by creation."""
    from zeke_queue.client.parts import parts_of  # noqa: PLC0415 - see the package

    return [key for key in await parts_of(queue).storage.access.keys() if key.team_id == team_id]


async def schedules_of(queue: Queue, team_id: UUID) -> list[Schedule]:
    """Return the schedules whose payload names a team, by name."""
    from zeke_queue.core import jsonb  # noqa: PLC0415 - see the package

    return [
        schedule
        for schedule in await queue.schedules.list()
        if schedule.data is not None and _is_of(team_id, jsonb.loads(schedule.data))
    ]


async def jobs_of(queue: Queue, team_id: UUID, *, living: bool) -> list[Job]:
    """Return the jobs whose payload or meta names a team, newest first.

    The jobs that a run of a playbook sends have the team in their meta.

    Args:
        queue: the queue.
        team_id: the team.
        living: whether to return those that have not ended; otherwise all, also archived ones.
    """
    from zeke_queue.model import JobQuery, JobStatus  # noqa: PLC0415 - see the package

    found: list[Job] = []
    for archived in (False,) if living else (False, True):
        before: UUID | None = None
        while True:
            page = await queue.find(
                JobQuery(
                    status=(JobStatus.QUEUED, JobStatus.EXECUTING) if living else (),
                    text=str(team_id),
                    archived=archived,
                    before=before,
                    limit=1000,
                )
            )
            found += [job for job in page.jobs if _is_of(team_id, job.data) or _is_of(team_id, job.meta)]
            if not page.has_more:
                break
            before = page.jobs[-1].id
    return found


def _is_of(team_id: UUID, told: Any) -> bool:
    """Return whether a payload or a meta names a team."""
    of = cast("Mapping[str, Any]", told).get("teamId") if isinstance(told, dict) else None
    return str(of).lower() == str(team_id)
