"""Schedules: their next ticks, and editing, pausing and running them."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Response
from starlette.convertors import Convertor, register_url_convertor

from zeke_queue.api_client import model as answers
from zeke_queue.core import jsonb
from zeke_queue.core.cron import Cron
from zeke_queue.errors import (
    InvalidNameError,
    InvalidOptionError,
    InvalidScheduleError,
    ScheduleNotFoundError,
    UnknownTaskError,
    UsageError,
)
from zeke_queue.model import CatchUp, Schedule
from zeke_queue.storage.inspect import require_schedule
from zeke_queue.web.api import Administers, Api, Parts, Reads
from zeke_queue.web.errors import ApiError, field_errors, problems, told
from zeke_queue.web.request_bodies import ScheduleEdit

if TYPE_CHECKING:
    from collections.abc import Generator

    from zeke_queue.web.access.guard import Caller


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

router = APIRouter(prefix="/schedules", tags=["schedules"])

_EVERY_MINUTE: Final = "* * * * *"


@router.get("", summary="List schedules", responses=problems(401, 403, 503))
async def schedules(parts: Parts, caller: Reads) -> answers.Schedules:
    """Return all schedules, by name, each with its next ticks."""
    del caller
    now = await parts.queue.storage.now()
    return answers.Schedules(
        schedules=tuple(parts.showing.schedule(one, now) for one in await parts.queue.schedules())
    )


@router.get("/{name:schedule}", summary="Look at a schedule", responses=problems(401, 403, 404, 503))
async def schedule(name: str, parts: Parts, caller: Reads) -> answers.ScheduleInfo:
    """Return a schedule with its next ticks."""
    del caller
    return await _shown(parts, name)


@router.put(
    "/{name:schedule}",
    summary="Create or edit a schedule",
    responses=problems(400, 401, 403, 413, 422, 503),
)
async def put(name: str, body: ScheduleEdit, parts: Parts, caller: Administers) -> answers.ScheduleInfo:
    """Create a schedule, or replace it; one that fires at other times than before starts anew from now.

    What its task hides of the payload stays as it is where ``[redacted]`` stands for it, and so do options of
    its jobs, which are not shown.
    """
    del caller
    await save(parts, name, body)
    return await _shown(parts, name)


async def save(parts: Api, name: str, edit: ScheduleEdit) -> None:
    """Create or replace a schedule.

    Raises:
        ApiError: 422 with the invalid fields.
    """
    queue = parts.queue
    stored = next((one for one in await queue.schedules() if one.name == name), None)
    zone = edit.zone or queue.settings.jobs_cron_tz
    wrong: list[ApiError] = []
    with _about("cron", wrong):
        Cron.parse(edit.cron)
    with _about("zone", wrong):
        Cron.parse(_EVERY_MINUTE, zone)
    payload = None
    with _about("task", wrong):
        task = queue.catalog.get(edit.task or name)
        is_same = stored is not None and task is queue.catalog.served.get(stored.task)
        kept = (
            jsonb.loads(stored.data) if stored is not None and stored.data is not None and is_same else None
        )
        payload = parts.showing.restored(task.name, edit.payload, kept)
        task.dump(payload)
    if not wrong:
        with _about("name", wrong):
            given = Schedule(
                name=name,
                cron=edit.cron,
                task=name,
                zone=zone,
                catch_up=CatchUp(edit.catch_up),
                description=edit.description,
                paused=edit.paused,
            )
            checked = queue.sender.schedule(given, edit.task, payload, {}, external=False)
            # The options are not shown, so a caller that writes back what it read must not remove them.
            await queue.storage.put_schedule(
                checked if stored is None else replace(checked, options=stored.options)
            )
    if wrong:
        raise _all_of(wrong)


@contextmanager
def _about(field: str, wrong: list[ApiError]) -> Generator[None]:
    """Collect the errors of a field under its name; a payload's errors name their own fields."""
    try:
        yield
    except (InvalidOptionError, InvalidNameError, InvalidScheduleError, UnknownTaskError) as error:
        named, _, why = str(error).partition(": ")
        if named in ScheduleEdit.model_fields:  # the error names its field itself
            field, message = named, why
        else:
            message = str(error)
        wrong.append(field_errors(f"{field}: {message}", [(field, message)]))
    except (ApiError, UsageError) as error:
        wrong.append(told(error))


def _all_of(wrong: list[ApiError]) -> ApiError:
    """Merge several errors into one."""
    if len(wrong) == 1:
        return wrong[0]
    fields = [field for error in wrong for field in error.more.get("fields", ())]
    return ApiError(422, "; ".join(error.message for error in wrong), fields=fields)


@router.delete(
    "/{name:schedule}",
    status_code=204,
    summary="Delete a schedule",
    responses=problems(401, 403, 404, 503),
)
async def delete(name: str, parts: Parts, caller: Administers) -> Response:
    """Delete a schedule; one that code declares is back when the next worker starts."""
    del caller
    with suppress(InvalidNameError):  # no schedule has an invalid name
        if await parts.queue.unschedule(name):
            return Response(status_code=204)
    raise ScheduleNotFoundError(f"No schedule is called {name!r}")


@router.post("/{name:path}/pause", summary="Pause a schedule", responses=problems(401, 403, 404, 503))
async def pause(name: str, parts: Parts, caller: Administers) -> answers.ScheduleInfo:
    """Pause a schedule until it is resumed."""
    del caller
    return await set_paused(parts, name, paused=True)


@router.post("/{name:path}/resume", summary="Resume a schedule", responses=problems(401, 403, 404, 503))
async def resume(name: str, parts: Parts, caller: Administers) -> answers.ScheduleInfo:
    """Resume a paused schedule from its next tick on."""
    del caller
    return await set_paused(parts, name, paused=False)


@router.post(
    "/{name:path}/run",
    summary="Run a schedule now",
    responses=problems(401, 403, 404, 409, 422, 429, 503),
)
async def run(name: str, response: Response, parts: Parts, caller: Administers) -> answers.Triggered:
    """Send the job of a schedule's tick at once; its ticks stay as they are."""
    triggered, headers = await run_now(parts, caller, name)
    response.headers.update(headers)
    return triggered


async def run_now(parts: Api, caller: Caller, name: str) -> tuple[answers.Triggered, dict[str, str]]:
    """Send the job of a schedule's tick, within the caller's limit.

    Raises:
        ApiError: 429 if the limit is used up.
        ScheduleNotFoundError: there is no schedule with this name.
        JobConflictError: a uniqueness rule of the schedule's options refused it.
    """
    headers = await parts.jobs.admit(caller)
    sent = await parts.queue.run_schedule(name)
    return answers.Triggered(id=sent.id, task_id=sent.task), headers


async def set_paused(parts: Api, name: str, *, paused: bool) -> answers.ScheduleInfo:
    """Pause or resume a schedule.

    Raises:
        ScheduleNotFoundError: there is no schedule with this name.
    """
    schedule = await require_schedule(parts.queue.storage, name)
    if schedule.paused != paused:
        await parts.queue.storage.put_schedule(replace(schedule, paused=paused))
    return await _shown(parts, name)


async def _shown(parts: Api, name: str) -> answers.ScheduleInfo:
    return parts.showing.schedule(
        await require_schedule(parts.queue.storage, name), await parts.queue.storage.now()
    )
