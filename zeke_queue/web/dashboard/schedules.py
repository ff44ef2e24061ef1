"""The page of schedules: next ticks, and creating, editing, running, pausing and deleting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from zeke_queue.client.parts import parts_of
from zeke_queue.core import jsonb
from zeke_queue.core.cron import Cron
from zeke_queue.core.failure import shown
from zeke_queue.errors import (
    InvalidNameError,
    InvalidOptionError,
    InvalidScheduleError,
    JobConflictError,
    PayloadValidationError,
    ScheduleNotFoundError,
    UnknownTaskError,
    UsageError,
)
from zeke_queue.model import CatchUp, Schedule
from zeke_queue.storage.access import Scope
from zeke_queue.storage.inspect import require_schedule
from zeke_queue.web.access.teams import payload_of_team
from zeke_queue.web.admin import delete_schedule, put_schedule, run_schedule, set_schedule_paused
from zeke_queue.web.dashboard import formatting
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.dashboard.trigger import parse_payload
from zeke_queue.web.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from zeke_queue.web.dashboard.page_request import PageRequest


@dataclass(frozen=True, slots=True)
class Written:
    """A schedule in the form's fields, all of them text."""

    name: str = ""
    task: str = ""
    cron: str = ""
    zone: str = ""
    payload: str = ""
    catch_up: str = CatchUp.ONCE.value
    description: str = ""
    paused: bool = False


async def schedules(request: PageRequest) -> Response:
    """Show all schedules."""
    now = await request.parts.storage.now()
    stored = await request.parts.queue.schedules.list()
    return request.page(
        "schedules.html",
        schedules=[request.parts.presenter.schedule(one, now) for one in stored],
        unreadable={one.name: why for one in stored if (why := _unreadable(one))},
    )


def _unreadable(schedule: Schedule) -> str | None:
    """Return why a schedule can never fire, which is possible if another program stored it; else None."""
    try:
        Cron.parse(schedule.cron, schedule.zone)
    except InvalidScheduleError as error:
        return str(error)
    return None


async def ask(request: PageRequest) -> Response:
    """Show the form for a new or an existing schedule."""
    name = request.asked("name")
    if not name:
        return _form(request, Written(zone=request.parts.queue.settings.jobs_cron_tz), None)
    stored = await _require(request, name)
    return _form(request, _written(request, stored), stored)


async def save(request: PageRequest) -> Response:
    """Store a schedule, or show the errors of its form."""
    written = Written(
        name=request.field("name").strip(),
        task=request.field("task"),
        cron=request.field("cron").strip(),
        zone=request.field("zone").strip(),
        payload=request.field("payload"),
        catch_up=request.field("catch_up"),
        description=request.field("description").strip(),
        paused=request.field("paused") == "1",
    )
    stored = await _require(request, request.field("edits")) if request.field("edits") else None
    wrong = await _store(request, written, stored)
    if wrong:
        return _form(request, written, stored, wrong=wrong, status=422)
    return request.go(request.url("schedules"), f"Schedule {written.name} saved")


async def change(request: PageRequest) -> Response:
    """Run, pause, resume or delete a schedule."""
    name, action = request.field("name"), request.field("do")
    await _require(request, name)
    if action == "run":
        try:
            sent, _ = await run_schedule(request.parts, request.known_caller, name)
        except (JobConflictError, UsageError) as error:
            return request.go(request.url("schedules"), str(error), kind="wrong")
        return request.go(request.url("jobs", sent.id), f"Job of {name} sent")
    if action == "delete":
        await delete_schedule(request.parts, request.known_caller, name)
        return request.go(request.url("schedules"), f"Schedule {name} deleted")
    if action not in ("pause", "resume"):
        raise ApiError(422, "do: must be run, pause, resume or delete")
    await set_schedule_paused(request.parts, request.known_caller, name, paused=action == "pause")
    return request.go(
        request.url("schedules"), f"{name} {'is paused' if action == 'pause' else 'is resumed'}"
    )


async def ask_to_delete(request: PageRequest) -> Response:
    """Ask for confirmation of the deletion of a schedule."""
    stored = await _require(request, request.asked("name"))
    declared = stored.name in {one.name for one in request.parts.queue.catalog.schedules}
    return request.page("delete_schedule.html", schedule=stored, declared=declared)


VIEWS: Final = (
    View("/schedules", schedules),
    View("/schedules", change, changes=True, scope=Scope.ADMIN),
    View("/schedules/edit", ask),
    View("/schedules/edit", save, changes=True, scope=Scope.ADMIN),
    View("/schedules/delete", ask_to_delete),
)


async def _require(request: PageRequest, name: str) -> Schedule:
    try:
        return await require_schedule(request.parts.storage, name)
    except ScheduleNotFoundError:
        raise ApiError(404, f"No schedule has the name {shown(name)}; it may have been deleted") from None


def _written(request: PageRequest, stored: Schedule) -> Written:
    """Return a schedule in the form's fields; a payload with hidden values is omitted."""
    data = None if stored.data is None else jsonb.loads(stored.data)
    hidden = _hides(request, stored)
    return Written(
        name=stored.name,
        task=stored.task,
        cron=stored.cron,
        zone=stored.zone,
        payload="" if data is None or hidden else formatting.written(data),
        catch_up=stored.catch_up.value,
        description=stored.description or "",
        paused=stored.paused,
    )


def _hides(request: PageRequest, stored: Schedule) -> bool:
    """Return whether a schedule's payload has hidden values, so that a form cannot contain it."""
    rules = request.parts.presenter.rules(stored.task)
    return stored.data is not None and any(rule.partition(".")[0] == "payload" for rule in rules)


async def _store(request: PageRequest, written: Written, stored: Schedule | None) -> dict[str, str]:
    """Store a schedule; if it is invalid, store nothing and return the errors by field."""
    queue = request.parts.queue
    wrong = _wrong_times(written)
    payload: Any = None
    task = written.task or written.name
    if stored is not None and _hides(request, stored) and not written.payload.strip():
        # Another task may hide fewer values.
        if task != stored.task:
            wrong["payload"] = (
                "The stored payload is hidden and can't be given to another task; enter a payload"
            )
        payload = jsonb.loads(stored.data or "null")
    else:
        try:
            payload = parse_payload(written.payload)
        except ApiError as error:
            wrong["payload"] = error.message
    if stored is None and any(one.name == written.name for one in await queue.schedules.list()):
        wrong["name"] = "A schedule with this name exists; edit it, or choose another name"
    if stored is not None and stored.name != written.name:
        wrong["name"] = "A schedule can't be renamed; delete it and create another one"
    if wrong:
        return wrong
    complete = Schedule(
        name=written.name,
        cron=written.cron,
        task=written.name,
        zone=written.zone,
        catch_up=CatchUp(written.catch_up) if written.catch_up in list(CatchUp) else CatchUp.ONCE,
        description=written.description or None,
        paused=written.paused,
    )
    external = stored is not None and task == stored.task and task not in queue.catalog.served
    try:
        payload = payload_of_team(queue.catalog, request.known_caller, task, payload)
        checked = parts_of(queue).factory.schedule(complete, task, payload, {}, external=external)
    except UsageError as error:
        return {_field_of(error): _message(error)}
    # The form does not show the options of the schedule's jobs, so they are preserved.
    await put_schedule(request.parts, request.known_caller, checked, stored)
    return {}


def _wrong_times(written: Written) -> dict[str, str]:
    """Return the errors of a schedule's cron expression and time zone, by field."""
    try:
        ZoneInfo(written.zone)
    except (KeyError, ValueError, OSError):
        return {"zone": "Must be a time zone, such as Europe/Berlin or UTC"}
    try:
        Cron.parse(written.cron, written.zone)
    except InvalidScheduleError as error:
        return {_field_of(error): _message(error)}
    return {}


def _field_of(error: UsageError) -> str:
    if isinstance(error, InvalidNameError):
        return "name"
    if isinstance(error, UnknownTaskError):
        return "task"
    if isinstance(error, InvalidScheduleError):
        return "zone" if str(error).startswith("timezone") else "cron"
    if isinstance(error, InvalidOptionError) and str(error).startswith("description"):
        return "description"
    return "payload"


def _message(error: UsageError) -> str:
    if isinstance(error, PayloadValidationError):
        return "; ".join(f"{field.path}: {field.message}" for field in error.fields)
    named, _, why = str(error).partition(": ")
    named = "zone" if named == "timezone" else named
    return f"{why[0].upper()}{why[1:]}" if why and named == _field_of(error) else str(error)


def _form(
    request: PageRequest,
    written: Written,
    stored: Schedule | None,
    *,
    wrong: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    tasks = {*request.parts.queue.catalog.tasks}
    if written.task:
        tasks.add(written.task)
    return request.page(
        "schedule_form.html",
        status=status,
        written=written,
        edits=stored is not None,
        hides=stored is not None and _hides(request, stored),
        tasks=sorted(tasks),
        policies=[one.value for one in CatchUp],
        wrong=dict(wrong or {}),
    )
