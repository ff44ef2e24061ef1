"""The team of a caller: it may send, change and schedule only jobs of its own team.

A task names the field of its payload that holds a team (``team_field``). ``triggers`` and ``admin``, through
which every interface changes jobs and schedules, call these functions. Callers without a team, and jobs of
tasks without such a field, are not restricted. Reading is not restricted either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_queue.core.failure import shown
from zeke_queue.web.errors import ApiError, field_errors

if TYPE_CHECKING:
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.web.access.guard import Caller


def payload_of_team(catalog: Catalog, caller: Caller, name: str, payload: Any) -> Any:
    """Return a payload with the caller's team in it; a payload without a team gets it.

    Args:
        name: the name or alias of a task; unknown ones have no teams.
        payload: a payload for the task's model.

    Raises:
        ApiError: 403: the payload names another team.
        PayloadValidationError: the payload is invalid.
    """
    task = catalog.find(name)
    if caller.team_id is None or task is None or task.team_field is None:
        return payload
    given: Any = {} if payload is None else payload
    if isinstance(given, Mapping):
        fields = cast("Mapping[str, Any]", given)
        if fields.get(task.team_field) is None:
            given = {**fields, task.team_field: str(caller.team_id)}
    # A model may accept the team under several names, so check the stored form, which has one.
    stored = task.dump(given, strict=False)
    check_team(catalog, caller, name, None if stored is None else jsonb.loads(stored))
    return cast("Any", given)


def check_team(catalog: Catalog, caller: Caller, name: str, data: Any) -> None:
    """Check that a stored payload is of the caller's team.

    Args:
        name: the queue of the job, or the task of the schedule.
        data: its decoded payload. One without a team concerns all teams.

    Raises:
        ApiError: 403: it is of another team, or concerns all teams.
    """
    task = catalog.find(name)
    if caller.team_id is None or task is None or task.team_field is None:
        return
    team = cast("Mapping[str, Any]", data).get(task.team_field) if isinstance(data, Mapping) else None
    if _uuid(team) != caller.team_id:
        of = "none, which concerns all teams" if team is None else shown(team)
        raise _of_another_team(caller, task.team_field, of)


def team_of(caller: Caller, given: UUID | None) -> UUID:
    """Return the team on whose behalf a caller acts: its own, or the one that a caller without a team names.

    Raises:
        ApiError: 403: a caller with a team names another one; 422: a caller without a team names none.
    """
    if given is None and caller.team_id is None:
        why = "must be a team's id, got none; pass one, or use a key of a team"
        raise field_errors(f"teamId: {why}", [("teamId", why)])
    if None not in {given, caller.team_id} and given != caller.team_id:
        raise _of_another_team(caller, "teamId", str(given))
    return cast("UUID", given or caller.team_id)


def _of_another_team(caller: Caller, field: str, got: str) -> ApiError:
    why = f"{field}: must be the team of {caller.name}, {caller.team_id}, got {got}"
    return ApiError(403, "Forbidden", description=f"{why}; use a key of that team, or one without a team")


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value)
    except (AttributeError, TypeError, ValueError):
        return None
