"""Schedules: their next ticks, and editing, pausing and running them."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from starlette.convertors import Convertor, register_url_convertor

from zeke_queue.core.cron import Cron
from zeke_queue.errors import BadName, BadOption, BadSchedule, ScheduleNotFound, UnknownTask
from zeke_queue.tending import require_schedule
from zeke_queue.web import shapes
from zeke_queue.web.api import Administers, Api, Parts, Reads
from zeke_queue.web.errors import field_errors

if TYPE_CHECKING:
    from collections.abc import Generator

    from zeke_queue.web.guard import Caller


class _NameInPath(Convertor[str]):
    """A schedule's name, which may have slashes, but does not end as the paths of what is done with one."""

    regex = ".+(?<!/pause)(?<!/resume)(?<!/run)"

    def convert(self, value: str) -> str:
        """Return what stands in the path."""
        return value

    def to_string(self, value: str) -> str:
        """Return what is to stand in the path."""
        return value


register_url_convertor("schedule", _NameInPath())

router = APIRouter(prefix="/schedules", tags=["schedules"])


@router.get("", summary="List schedules", responses=shapes.problems(401, 403, 503))
async def schedules(parts: Parts, caller: Reads) -> shapes.Schedules:
    """Return all schedules, by name, each with its next ticks."""
    del caller
    now = await parts.queue.storage.now()
    return shapes.Schedules(
        schedules=[parts.showing.schedule(one, now) for one in await parts.queue.schedules()]
    )


@router.get("/{name:schedule}", summary="Look at a schedule", responses=shapes.problems(401, 403, 404, 503))
async def schedule(name: str, parts: Parts, caller: Reads) -> shapes.ScheduleShape:
    """Return a schedule with its next ticks."""
    del caller
    return await _shown(parts, name)


@router.put(
    "/{name:schedule}",
    summary="Create or edit a schedule",
    responses=shapes.problems(400, 401, 403, 413, 422, 503),
)
async def put(
    name: str, body: shapes.ScheduleEdit, parts: Parts, caller: Administers
) -> shapes.ScheduleShape:
    """Create a schedule, or replace it; one that fires at other times than before starts anew from now."""
    del caller
    await save(parts, name, body)
    return await _shown(parts, name)


async def save(parts: Api, name: str, edit: shapes.ScheduleEdit) -> None:
    """Create a schedule, or replace it.

    Raises:
        ApiError: 422, with the field that can't be.
    """
    with _about("cron"):
        Cron.parse(edit.cron)
    zone = edit.zone or parts.queue.settings.jobs_cron_tz
    with _about("zone"):
        Cron.parse(edit.cron, zone)
    with _about("task"):
        parts.queue.catalog.get(edit.task or name)
    with _about("name"):
        await parts.queue.schedule(
            name,
            edit.cron,
            task=edit.task,
            payload=edit.payload,
            zone=zone,
            catch_up=edit.catch_up,
            description=edit.description,
            paused=edit.paused,
        )


@contextmanager
def _about(field: str) -> Generator[None]:
    """Tell what is wrong with a field as its fault; a payload tells its own fields."""
    try:
        yield
    except (BadOption, BadName, BadSchedule, UnknownTask) as error:
        named, _, why = str(error).partition(": ")
        if named in shapes.ScheduleEdit.model_fields:  # it names its field itself
            field, message = named, why
        else:
            message = str(error)
        raise field_errors(f"{field}: {message}", [(field, message)]) from None


@router.delete(
    "/{name:schedule}",
    status_code=204,
    summary="Delete a schedule",
    responses=shapes.problems(401, 403, 404, 503),
)
async def delete(name: str, parts: Parts, caller: Administers) -> Response:
    """Delete a schedule; one that code declares is back when the next worker starts."""
    del caller
    with suppress(BadName):  # what is no name is none's
        if await parts.queue.unschedule(name):
            return Response(status_code=204)
    raise ScheduleNotFound(f"No schedule is called {name!r}")


@router.post("/{name:path}/pause", summary="Pause a schedule", responses=shapes.problems(401, 403, 404, 503))
async def pause(name: str, parts: Parts, caller: Administers) -> shapes.ScheduleShape:
    """Let a schedule serve no ticks until it is resumed."""
    del caller
    return await set_paused(parts, name, paused=True)


@router.post(
    "/{name:path}/resume", summary="Resume a schedule", responses=shapes.problems(401, 403, 404, 503)
)
async def resume(name: str, parts: Parts, caller: Administers) -> shapes.ScheduleShape:
    """Let a paused schedule fire again, from its next tick on."""
    del caller
    return await set_paused(parts, name, paused=False)


@router.post(
    "/{name:path}/run",
    summary="Run a schedule now",
    responses=shapes.problems(401, 403, 404, 409, 422, 429, 503),
)
async def run(name: str, response: Response, parts: Parts, caller: Administers) -> shapes.Triggered:
    """Send the job of a schedule's tick at once; its ticks stay as they are."""
    triggered, headers = await run_now(parts, caller, name)
    response.headers.update(headers)
    return triggered


async def run_now(parts: Api, caller: Caller, name: str) -> tuple[shapes.Triggered, dict[str, str]]:
    """Send the job of a schedule's tick, within its caller's limit.

    Raises:
        ApiError: 429.
        ScheduleNotFound: there is none of this name.
        Refused: a uniqueness rule of the schedule's options refused it.
    """
    headers = await parts.jobs.admit(caller)
    sent = await parts.queue.run_schedule(name)
    return shapes.Triggered(id=sent.id, task_id=sent.task), headers


async def set_paused(parts: Api, name: str, *, paused: bool) -> shapes.ScheduleShape:
    """Pause a schedule, or resume it.

    Raises:
        ScheduleNotFound: there is none of this name.
    """
    schedule = await require_schedule(parts.queue.storage, name)
    if schedule.paused != paused:
        await parts.queue.storage.put_schedule(replace(schedule, paused=paused))
    return await _shown(parts, name)


async def _shown(parts: Api, name: str) -> shapes.ScheduleShape:
    return parts.showing.schedule(
        await require_schedule(parts.queue.storage, name), await parts.queue.storage.now()
    )
