"""The errors of requests. Where the queue has an error for a case, that one is raised.

::

    ZekeError
     ├── UnknownTaskError, PayloadValidationError, PayloadTooLargeError, JobConflictError,
     │   JobNotFoundError, ScheduleNotFoundError, ResultTimeoutError
     │                          as for ``Queue``, since code handles them the same way remotely
     ├── RunFailedError         the awaited job failed or was cancelled; ``run`` is that job
     ├── ApiResponseError       any other refusal: ``status``, ``message``, ``description``, ``fields``
     │    ├── UnauthorizedError 401: no key, or an invalid one
     │    ├── ForbiddenError    403: the key lacks a scope
     │    └── RateLimitedError  429: ``retry_after`` seconds
     └── ServerUnavailableError no answer, or that of a server that is temporarily unavailable; the effect
                                of the request is unknown, and trying again later may help

The server's ``zeke_queue.web.ApiError`` is another class: an authenticator raises it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from zeke_queue.errors import (
    FieldError,
    JobConflictError,
    JobNotFoundError,
    PayloadTooLargeError,
    PayloadValidationError,
    ScheduleNotFoundError,
    UnknownTaskError,
    ZekeError,
)
from zeke_queue.model import JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from zeke_queue.api_client.model import Run

AWAY: Final = frozenset({502, 503, 504})
"""Statuses of a server that is temporarily unavailable, or of a proxy that can't reach it."""

_UNDER_PAYLOAD: Final = "payload."


class RunFailedError(ZekeError):
    """The awaited job failed or was cancelled.

    Attributes:
        run: the job in its final state; its output is the error, unless its task hides that.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        output: object = run.output
        error = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
        why = f": {error['type']}: {error['message']}" if {"type", "message"} <= error.keys() else ""
        ended = "was cancelled" if run.status is JobStatus.CANCELLED else "failed"
        super().__init__(f"Job {run.id} of {run.task_id!r} {ended}{why if ended == 'failed' else ''}")


class ApiResponseError(ZekeError):
    """The server refused a request, or its answer can't be read.

    Attributes:
        status: the HTTP status.
        message: the error, in the server's words.
        description: details; None if there are none.
        fields: the invalid fields.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        description: str | None = None,
        fields: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(f"{message} ({status})" if description is None else f"{message}: {description}")
        self.status = status
        self.message = message
        self.description = description
        self.fields = fields


class UnauthorizedError(ApiResponseError):
    """The request has no key, or an invalid one."""


class ForbiddenError(ApiResponseError):
    """The key lacks a scope; ``description`` says which."""


class RateLimitedError(ApiResponseError):
    """The caller's limit is exhausted.

    Attributes:
        retry_after: seconds until the next try may succeed; None if the server does not say.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(429, message)
        self.retry_after = retry_after


class ServerUnavailableError(ZekeError):
    """The server is unreachable or temporarily unavailable; the effect of the request is unknown."""


def refusal(response: httpx2.Response, *, task: str | None = None, about: UUID | None = None) -> ZekeError:
    """Return the error for an answer.

    Args:
        response: a response that was read, with a status of 300 or more.
        task: the task to trigger.
        about: the job to change.
    """
    body = _body(response)
    message = str(body.get("error") or _status_message(response))
    fields = tuple(_fields(body.get("fields")))
    known = _known(response.status_code, message, body, task=task, about=about)
    if known is not None:
        return known
    if (
        response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        and task is not None
        and fields
        and all(map(_is_payload, fields))
    ):
        paths = (FieldError(field.path.removeprefix(_UNDER_PAYLOAD), field.message) for field in fields)
        return PayloadValidationError(task, tuple(paths))
    description = body.get("description")
    description = description if isinstance(description, str) else None
    kind = {401: UnauthorizedError, 403: ForbiddenError}.get(response.status_code, ApiResponseError)
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError(message, retry_after(response))
    return kind(response.status_code, message, description=description, fields=fields)


def _known(
    status: int, message: str, body: Mapping[str, Any], *, task: str | None, about: UUID | None
) -> ZekeError | None:
    """Return the queue's own error for an answer; None if it has none.

    A 404 counts only with the API's message: one of another server, at a wrong address, says nothing about a
    job.
    """
    if status == HTTPStatus.NOT_FOUND:
        if task is not None and message.startswith("Unknown task"):
            return UnknownTaskError(message)
        if message in ("Job run not found", "Job not found"):
            return JobNotFoundError(message)
        return ScheduleNotFoundError(message) if message == "Schedule not found" else None
    if status == HTTPStatus.CONFLICT:
        holder = _uuid(body.get("id"))
        return None if about is not None and holder == about else JobConflictError(message, holder)
    return PayloadTooLargeError(message) if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None


def retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds after which the server asks to be tried again; None if it does not say."""
    text = response.headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def is_away(response: httpx2.Response) -> bool:
    """Return whether the server is temporarily unavailable, so that repeating the request may help."""
    return response.status_code in AWAY and _body(response).get("retry") is not False


def unreadable(response: httpx2.Response, why: str) -> ApiResponseError:
    """Return the error for an answer that is not from the API."""
    return ApiResponseError(
        response.status_code,
        f"The answer of {response.url.copy_with(query=None)} is not one of the jobs API; check base_url."
        f" {why}",
    )


def _status_message(response: httpx2.Response) -> str:
    said = f"The server answered {response.status_code} {response.reason_phrase}".rstrip()
    location = response.headers.get("location")
    return said if location is None else f"{said}; pass what it redirects to as base_url, {location}"


def _body(response: httpx2.Response) -> dict[str, Any]:
    try:
        body: object = response.json()
    except ValueError:
        # Most likely a proxy's page; the status says enough.
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _fields(given: object) -> list[FieldError]:
    if not isinstance(given, list):
        return []
    objects = (cast("dict[str, Any]", one) for one in cast("list[object]", given) if isinstance(one, dict))
    return [FieldError(str(one.get("path", "")), str(one.get("message", ""))) for one in objects]


def _is_payload(field: FieldError) -> bool:
    return field.path == "payload" or field.path.startswith(_UNDER_PAYLOAD)


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
