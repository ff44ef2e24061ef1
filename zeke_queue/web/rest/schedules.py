"""Schedules: their next ticks, and editing, pausing and running them."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.convertors import Convertor, register_url_convertor

from zeke_queue.api_client import model as answers
from zeke_queue.web.admin import (
    delete_schedule,
    run_schedule,
    save_schedule,
    set_schedule_paused,
    shown_schedule,
)
from zeke_queue.web.api import Administers, Parts, Reads
from zeke_queue.web.errors import problems
from zeke_queue.web.request_bodies import JsonRoute, ScheduleEdit


class _NameInPath(Convertor[str]):
    """A schedule's name, which may contain slashes but does not end like the path of an action."""

    regex = ".+(?<!/pause)(?<!/resume)(?<!/run)"

    def convert(self, value: str) -> str:
        """Return the name from the path."""
        return value

    def to_string(self, value: str) -> str:
        """Return the name for the path."""
        return value


register_url_convertor("schedule", _NameInPath())

router = APIRouter(prefix="/schedules", tags=["schedules"], route_class=JsonRoute)


@router.get("", summary="List schedules", responses=problems(401, 403, 503))
async def schedules(parts: Parts, _caller: Reads) -> answers.Schedules:
    """Return all schedules, by name, each with its next ticks."""
    now = await parts.storage.now()
    return answers.Schedules(
        schedules=tuple(parts.presenter.schedule(one, now) for one in await parts.queue.schedules.list())
    )


@router.get("/{name:schedule}", summary="Get a schedule", responses=problems(401, 403, 404, 503))
async def schedule(name: str, parts: Parts, _caller: Reads) -> answers.ScheduleInfo:
    """Return a schedule with its next ticks."""
    return await shown_schedule(parts, name)


@router.put(
    "/{name:schedule}", summary="Create or edit a schedule", responses=problems(400, 401, 403, 413, 422, 503)
)
async def put(name: str, body: ScheduleEdit, parts: Parts, caller: Administers) -> answers.ScheduleInfo:
    """Create or replace a schedule; a new cron expression or time zone takes effect from now on.

    Where the payload has ``[redacted]``, the stored value is kept, as are the options of its jobs, which are
    not shown.
    """
    await save_schedule(parts, caller, name, body)
    return await shown_schedule(parts, name)


@router.delete(
    "/{name:schedule}", status_code=204, summary="Delete a schedule", responses=problems(401, 403, 404, 503)
)
async def delete(name: str, parts: Parts, caller: Administers) -> Response:
    """Delete a schedule; one declared in code is created again when the next worker starts."""
    await delete_schedule(parts, caller, name)
    return Response(status_code=204)


@router.post("/{name:path}/pause", summary="Pause a schedule", responses=problems(401, 403, 404, 503))
async def pause(name: str, parts: Parts, caller: Administers) -> answers.ScheduleInfo:
    """Pause a schedule until it is resumed."""
    return await set_schedule_paused(parts, caller, name, paused=True)


@router.post("/{name:path}/resume", summary="Resume a schedule", responses=problems(401, 403, 404, 503))
async def resume(name: str, parts: Parts, caller: Administers) -> answers.ScheduleInfo:
    """Resume a paused schedule from its next tick on."""
    return await set_schedule_paused(parts, caller, name, paused=False)


@router.post(
    "/{name:path}/run", summary="Run a schedule now", responses=problems(401, 403, 404, 409, 422, 429, 503)
)
async def run(name: str, response: Response, parts: Parts, caller: Administers) -> answers.Triggered:
    """Send the schedule's job now; its ticks do not change."""
    triggered, headers = await run_schedule(parts, caller, name)
    response.headers.update(headers)
    return triggered
