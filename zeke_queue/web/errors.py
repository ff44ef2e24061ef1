"""Errors of requests, and their responses: a JSON object with ``error``, and a matching HTTP status.

A response never contains internal data: no statement, no path, no traceback, no secret.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from zeke_queue.errors import (
    JobConflictError,
    JobNotFoundError,
    LockTimeoutError,
    PayloadTooLargeError,
    PayloadValidationError,
    PermissionDeniedError,
    ReadTimeoutError,
    ScheduleNotFoundError,
    StatementTimeoutError,
    StorageError,
    StorageUnavailableError,
    UnknownTaskError,
    UsageError,
)
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi.exceptions import RequestValidationError
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

RETRY_AFTER: Final = "5"
"""Seconds after which a client may retry a request that was refused with 503."""

INSTANT: Final = "Input should be a date and time with a time zone, such as 2026-01-31T12:00:00Z"
"""The message for an invalid instant."""

_INSTANTS: Final = frozenset({"datetime_from_date_parsing", "datetime_parsing", "timezone_aware"})
"""Pydantic's error types for an invalid instant."""

_CODES: Final[Mapping[type[Exception], tuple[int, str | None]]] = {
    JobNotFoundError: (404, "Job run not found"),
    ScheduleNotFoundError: (404, "Schedule not found"),
    UnknownTaskError: (404, None),
    PayloadTooLargeError: (413, None),
    UsageError: (422, None),
}
"""The status of each error that the caller caused, and a message that replaces the error's; the first match
counts."""


class ApiError(Exception):
    """An error response to a request.

    Attributes:
        message: the problem and the remedy.
        more: additional members of the body.
        headers: headers of the response.
    """

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.more = more
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """Return the HTTP response."""
        return JSONResponse({"error": self.message, **self.more}, self.status, self.headers)


class FieldProblem(BaseModel):
    """An invalid field."""

    path: str
    message: str


class Problem(BaseModel):
    """An error response; ``retry`` is false if repeating the request unchanged is of no use."""

    error: str
    description: str | None = None
    fields: list[FieldProblem] | None = None
    id: str | None = None
    retry: bool | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses with these statuses for an operation of the OpenAPI document."""
    return {status: {"model": Problem} for status in statuses}


def field_errors(message: str, fields: Sequence[tuple[str, str]]) -> ApiError:
    """Return the error for invalid fields: 422, with the path and the reason of each."""
    return ApiError(422, message, fields=[{"path": path, "message": why} for path, why in fields])


def to_api_error(error: Exception) -> ApiError:
    """Convert an exception to an API error; an unexpected one reveals no details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PayloadValidationError):
        fields = [(path if path == "payload" else f"payload.{path}", why) for path, why in error.fields]
        return field_errors(str(error), fields)
    if isinstance(error, JobConflictError):
        return ApiError(409, str(error), id=None if error.holder is None else str(error.holder))
    for kind, (status, message) in _CODES.items():
        if isinstance(error, kind):
            return ApiError(status, message or str(error))
    return _ours(error)


def _ours(error: Exception) -> ApiError:
    """Convert an exception that the caller did not cause to an API error."""
    if isinstance(error, LockTimeoutError):
        message = "Another transaction keeps a row locked; nothing was changed. Retry later"
        return ApiError(503, message, headers={"retry-after": RETRY_AFTER})
    if isinstance(error, ReadTimeoutError):
        return ApiError(503, str(error), retry=False)
    if isinstance(error, StatementTimeoutError):
        message = "The database took too long; nothing was changed, retry later"
        return ApiError(503, message, headers={"retry-after": RETRY_AFTER})
    if isinstance(error, StorageUnavailableError):
        return ApiError(503, "The database is unavailable; retry later", headers={"retry-after": RETRY_AFTER})
    get_logger().error("request_failed", error=f"{type(error).__name__}: {error}", exc_info=error)
    if isinstance(error, PermissionDeniedError | StorageError):
        return ApiError(500, "The database refused the request; see the server's log, and run `zeke doctor`")
    return ApiError(500, "Internal server error; see the server's log")


async def answer(request: Request, error: Exception) -> JSONResponse:
    """Respond to a failed request; FastAPI's exception handler for ZekeError."""
    del request
    return to_api_error(error).response()


async def answer_disconnected(request: Request, error: Exception) -> Response:
    """Respond to a request whose client left before its end, so that nothing has to be logged."""
    del request, error
    return Response(status_code=400)


async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Respond to a request with an invalid body or parameters, without repeating its values."""
    details = cast("RequestValidationError", error).errors()
    is_json = "json" in request.headers.get("content-type", "").lower()
    fields = [(_path(detail["loc"]), _reason(detail, is_json=is_json)) for detail in details]
    listed = "; ".join(f"{path}: {why}" for path, why in fields)
    status = 400 if any(detail["type"] == "json_invalid" for detail in details) else 422
    if status == HTTPStatus.BAD_REQUEST:
        return ApiError(400, f"body: must be JSON: {listed}").response()
    return field_errors(f"Invalid request: {listed}", fields).response()


def _reason(detail: Mapping[str, Any], *, is_json: bool) -> str:
    if detail["type"] == "json_invalid":
        return str(detail.get("ctx", {}).get("error", detail["msg"]))
    if detail["type"] == "model_attributes_type":
        return "must be a JSON object" + (
            "" if is_json else "; send the header Content-Type: application/json"
        )
    if detail["type"] in _INSTANTS:
        return INSTANT
    return str(detail["msg"]).removeprefix("Value error, ")


def _path(loc: Sequence[int | str]) -> str:
    """Return the path of a field without the leading ``body``, ``query``, ``path`` or ``header``.

    The index of a repeated query parameter is left out.
    """
    parts = [str(part) for part in loc[:2] if loc[0] == "query"] or [str(part) for part in loc]
    return ".".join(parts[1:]) or parts[0]


async def answer_http(request: Request, error: Exception) -> JSONResponse:
    """Respond to errors of the framework, such as an unknown route or method."""
    refused = cast("HTTPException", error)
    headers = {name.lower(): value for name, value in (refused.headers or {}).items()}
    if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(_methods(request))
    message = {
        404: f"Nothing found at {request.url.path}",
        405: f"{request.method} is not allowed at {request.url.path}",
    }.get(refused.status_code, str(refused.detail))
    return ApiError(refused.status_code, message, headers=headers).response()


def _methods(request: Request) -> list[str]:
    """Return the methods that routes accept at a request's path."""
    routes = cast("Starlette", request.app).routes
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
