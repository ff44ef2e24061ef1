"""Changes of queues and schedules that the REST API and the dashboard share."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from zeke_queue.api_client import model as answers
from zeke_queue.client.parts import parts_of
from zeke_queue.core import jsonb
from zeke_queue.core.cron import Cron
from zeke_queue.core.names import queue_name
from zeke_queue.errors import (
    InvalidNameError,
    InvalidOptionError,
    InvalidScheduleError,
    ScheduleNotFoundError,
    UnknownTaskError,
    UsageError,
)
from zeke_queue.model import CatchUp, JobQuery, Schedule
from zeke_queue.storage.inspect import require_schedule
from zeke_queue.web.access.teams import check_team, payload_of_team
from zeke_queue.web.errors import ApiError, field_errors, to_api_error
from zeke_queue.web.request_bodies import ScheduleEdit

if TYPE_CHECKING:
    from collections.abc import Generator

    from zeke_queue.web.access.guard import Caller
    from zeke_queue.web.api import Api

_EVERY_MINUTE: Final = "* * * * *"


async def set_queue_paused(parts: Api, name: str, *, paused: bool) -> None:
    """Pause or resume an existing queue, also while searches take too long or are at their limit.

    Raises:
        ApiError: 404 if there is no queue with this name.
    """
    try:
        queue_name(name)
    except InvalidNameError:
        raise ApiError(404, "Queue not found") from None
    known = {*parts.queue.catalog.tasks, *(one.name for one in await parts.storage.queues())}
    if name not in known and not (await parts.storage.find(JobQuery(names=(name,), limit=1))).jobs:
        raise ApiError(404, "Queue not found")
    await parts.storage.pause_queue(name, paused=paused)


async def save_schedule(parts: Api, caller: Caller, name: str, edit: ScheduleEdit) -> None:
    """Create or replace a schedule on behalf of a caller.

    Raises:
        ApiError: 422 with the invalid fields; 403 if it is, or becomes, a schedule of another team.
    """
    queue = parts.queue
    stored = next((one for one in await queue.schedules.list() if one.name == name), None)
    if stored is not None:
        _check_team(parts, caller, stored)
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
        payload = payload_of_team(
            queue.catalog, caller, task.name, parts.presenter.restored(task.name, edit.payload, kept)
        )
        task.dump(payload, strict=False)
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
            checked = parts_of(queue).factory.schedule(
                given, edit.task, payload, {}, external=False, strict=False
            )
            # The options are not shown, so a caller that writes back what it read must not remove them.
            await put_schedule(parts, caller, checked, stored)
    if wrong:
        raise _all_of(wrong)


async def put_schedule(parts: Api, caller: Caller, schedule: Schedule, stored: Schedule | None) -> None:
    """Store a complete schedule on behalf of a caller, with the options of the one that it replaces.

    Raises:
        ApiError: 403 if one of the two is of another team.
    """
    for one in (schedule,) if stored is None else (schedule, stored):
        _check_team(parts, caller, one)
    await parts.storage.put_schedule(
        schedule if stored is None else replace(schedule, options=stored.options)
    )


def _check_team(parts: Api, caller: Caller, schedule: Schedule) -> None:
    data = None if schedule.data is None else jsonb.loads(schedule.data)
    check_team(parts.queue.catalog, caller, schedule.task, data)


@contextmanager
def _about(field: str, wrong: list[ApiError]) -> Generator[None]:
    """Collect the errors of a field under its name; a payload's errors name their own fields."""
    try:
        yield
    except (InvalidOptionError, InvalidNameError, InvalidScheduleError, UnknownTaskError) as error:
        named, _, why = str(error).partition(": ")
        named = "zone" if named == "timezone" else named
        if named == field or named in ScheduleEdit.model_fields:  # the error names its field itself
            field, message = named, why
        else:
            message = str(error)
        wrong.append(field_errors(f"{field}: {message}", [(field, message)]))
    except (ApiError, UsageError) as error:
        if isinstance(error, ApiError) and error.status == HTTPStatus.FORBIDDEN:
            raise  # no field of the request can be corrected
        wrong.append(to_api_error(error))


def _all_of(wrong: list[ApiError]) -> ApiError:
    """Merge several errors into one."""
    if len(wrong) == 1:
        return wrong[0]
    fields = [field for error in wrong for field in error.more.get("fields", ())]
    return ApiError(422, "; ".join(error.message for error in wrong), fields=fields)


async def run_schedule(parts: Api, caller: Caller, name: str) -> tuple[answers.Triggered, dict[str, str]]:
    """Send the job of a schedule's tick, within the caller's limit.

    Raises:
        ApiError: 429 if the limit is used up; 403 if the schedule is of another team.
        ScheduleNotFoundError: there is no schedule with this name.
        JobConflictError: a uniqueness rule of the schedule's options refused it.
    """
    headers = await parts.jobs.acquire(caller)
    if caller.team_id is not None:
        _check_team(parts, caller, await require_schedule(parts.storage, name))
    sent = await parts.queue.schedules.trigger(name)
    return answers.Triggered(id=sent.id, task_id=sent.task), headers


async def set_schedule_paused(parts: Api, caller: Caller, name: str, *, paused: bool) -> answers.ScheduleInfo:
    """Pause or resume a schedule on behalf of a caller.

    Raises:
        ApiError: 403 if it is of another team.
        ScheduleNotFoundError: there is no schedule with this name.
    """
    schedule = await require_schedule(parts.storage, name)
    _check_team(parts, caller, schedule)
    if schedule.paused != paused:
        await parts.storage.put_schedule(replace(schedule, paused=paused))
    return await shown_schedule(parts, name)


async def delete_schedule(parts: Api, caller: Caller, name: str) -> None:
    """Delete a schedule on behalf of a caller.

    Raises:
        ApiError: 403 if it is of another team.
        ScheduleNotFoundError: there is no schedule with this name.
    """
    with suppress(InvalidNameError):  # no schedule has an invalid name
        if caller.team_id is not None:
            _check_team(parts, caller, await require_schedule(parts.storage, name))
        if await parts.queue.schedules.delete(name):
            return
    raise ScheduleNotFoundError(f"No schedule has the name {name!r}")


async def shown_schedule(parts: Api, name: str) -> answers.ScheduleInfo:
    """Return a schedule as callers may see it.

    Raises:
        ScheduleNotFoundError: there is no schedule with this name.
    """
    stored = await require_schedule(parts.storage, name)
    return parts.presenter.schedule(stored, await parts.storage.now())
