"""The page to send a job: the task, and a payload with an example from the task's model."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobConflictError, JobNotFoundError, PayloadValidationError, UsageError
from zeke_queue.storage.access import Scope
from zeke_queue.storage.inspect import require
from zeke_queue.web.dashboard import formatting, schema
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.errors import ApiError
from zeke_queue.web.ids import parse_id
from zeke_queue.web.request_bodies import check_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from zeke_queue.model import Job
    from zeke_queue.web.dashboard.page_request import PageRequest

UNKNOWN: Final = "This task is not in the catalog, so it can't be sent from here"
_HIDDEN: Final = "Parts of the job's payload are hidden, so it can't be sent again from here; enter a payload"
_TOKEN_BYTES: Final = 16


async def ask(request: PageRequest) -> Response:
    """Show the form, optionally for a selected task or as a copy of an earlier job."""
    task, payload, told = request.asked("task"), None, None
    if request.asked("like"):
        try:
            like = await require(request.parts.storage, parse_id(request.asked("like"), "No job has this id"))
        except JobNotFoundError:
            raise ApiError(404, "No job has this id") from None
        task, payload, told = like.name, *_again(request, like)
    return _form(request, task, payload, told=told)


def why_not_again(request: PageRequest, like: Job) -> str | None:
    """Return why a copy of a job cannot be sent from here; None if it can."""
    if like.name not in request.parts.queue.catalog.served:
        return UNKNOWN
    return _HIDDEN if request.parts.presenter.data(like) != like.data else None


def _again(request: PageRequest, like: Job) -> tuple[str | None, str | None]:
    """Return a job's payload for the form; None and the reason if it has hidden values."""
    if why_not_again(request, like) == _HIDDEN:
        return None, _HIDDEN
    return "" if like.data is None else formatting.written(like.data), None


async def send(request: PageRequest) -> Response:
    """Send the job, or show the errors of its form."""
    task, text = request.field("task"), request.field("payload")
    wrong: dict[str, str] = {}
    try:
        payload = parse_payload(text)
    except ApiError as error:
        return _form(request, task, text, wrong={"payload": error.message}, status=422)
    try:
        sent = await request.parts.jobs.trigger(
            request.known_caller, task, payload, idempotency_key=request.field("once") or None
        )
    except PayloadValidationError as error:
        wrong = {field.path: field.message for field in error.fields}
    except (JobConflictError, UsageError) as error:
        wrong = {"payload": str(error)}
    except ApiError as error:
        message = str(error.more.get("description", error.message))
        wrong = {"task" if error.status == HTTPStatus.NOT_FOUND else "payload": message}
    else:
        return request.go(request.url("jobs", sent.triggered.id), "Job sent")
    return _form(request, task, text, wrong=wrong, status=422)


VIEWS: Final = (
    View("/trigger", ask, scope=Scope.READ),
    View("/trigger", send, changes=True, scope=Scope.TRIGGER),
)


def parse_payload(text: str) -> Any:
    """Parse the payload of a form; return None for an empty field.

    Raises:
        ApiError: 422 if the text is not JSON.
    """
    if not text.strip():
        return None
    check_parts(text.encode("utf-8", "surrogatepass"))
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ApiError(422, f"Line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise ApiError(422, f"Must be JSON that can be stored: {error}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _form(
    request: PageRequest,
    name: str,
    payload: str | None,
    *,
    wrong: Mapping[str, str] | None = None,
    told: str | None = None,
    status: int = 200,
) -> Response:
    catalog = request.parts.queue.catalog
    task = catalog.served.get(name)
    described = None if task is None else task.json_schema()
    errors = dict(wrong or {})
    if name and task is None and "task" not in errors:
        errors["task"] = UNKNOWN
    listed = schema.fields(described)
    top = {path.partition(".")[0] for path in errors}
    draw = parts_of(request.parts.queue).entropy.stream("form").randbytes(_TOKEN_BYTES)
    return request.page(
        "trigger.html",
        status=status,
        tasks=sorted(catalog.tasks.values(), key=lambda one: one.name),
        task=task,
        name=name,
        payload=schema.example(described) if payload is None else payload,
        fields=listed,
        marked=top,
        wrong=errors,
        told=told,
        once=draw.hex(),
    )
