"""What goes wrong with a request, and how it is told: one JSON object with ``error``, and a code that fits.

Nothing that a caller did not send is in an answer: no statement, no path, no traceback, no secret.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.responses import JSONResponse
from starlette.routing import Match

from zeke_queue.errors import (
    JobConflictError,
    JobNotFoundError,
    PayloadTooLargeError,
    PayloadValidationError,
    PermissionDeniedError,
    ScheduleNotFoundError,
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
"""Seconds after which a client may ask again when the database was away."""


INSTANT: Final = "Input should be a date and a time with a zone, as 2026-01-31T12:00:00Z"
"""What is said of an instant that is none."""

_INSTANTS: Final = frozenset({"datetime_from_date_parsing", "datetime_parsing", "timezone_aware"})
"""Pydantic's types of what is wrong with one."""

_CODES: Final[Mapping[type[Exception], tuple[int, str | None]]] = {
    JobNotFoundError: (404, "Job run not found"),
    ScheduleNotFoundError: (404, "Schedule not found"),
    UnknownTaskError: (404, None),
    PayloadTooLargeError: (413, None),
    UsageError: (422, None),
}
"""The codes of errors that are the caller's, and what is said instead of the error; the first that fits."""


class ApiError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: the HTTP status.
        message: what was wrong, and what to do.
        more: further members of the body.
        headers: of the answer.
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
        """Return the answer."""
        return JSONResponse({"error": self.message, **self.more}, self.status, self.headers)


def field_errors(message: str, fields: Sequence[tuple[str, str]]) -> ApiError:
    """Return the error for fields that do not fit: 422, with path and reason of each."""
    return ApiError(422, message, fields=[{"path": path, "message": why} for path, why in fields])


def told(error: Exception) -> ApiError:
    """Return an error as it is told to a caller; one that is not foreseen says nothing of itself."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PayloadValidationError):
        return field_errors(
            str(error), [(_under_payload(field.path), field.message) for field in error.fields]
        )
    if isinstance(error, JobConflictError):
        return ApiError(409, str(error), id=None if error.holder is None else str(error.holder))
    for kind, (status, message) in _CODES.items():
        if isinstance(error, kind):
            return ApiError(status, message or str(error))
    return _ours(error)


def _ours(error: Exception) -> ApiError:
    """Return the error for what is not the caller's fault."""
    if isinstance(error, StorageUnavailableError):
        return ApiError(
            503, "The database can't be reached; try again in a while", headers={"retry-after": RETRY_AFTER}
        )
    get_logger().error("request_failed", error=f"{type(error).__name__}: {error}", exc_info=error)
    if isinstance(error, PermissionDeniedError | StorageError):
        return ApiError(
            500, "The database refuses what this needs; the server's log says what, and zeke doctor helps"
        )
    return ApiError(500, "Internal server error; the server's log says more")


def _under_payload(path: str) -> str:
    return path if path == "payload" else f"payload.{path}"


async def answer(request: Request, error: Exception) -> JSONResponse:
    """Answer a request that failed; FastAPI's handler for errors of ours."""
    del request
    return told(error).response()


async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose body or parameters do not fit, without repeating what was sent."""
    details = cast("RequestValidationError", error).errors()
    is_json = "json" in request.headers.get("content-type", "").lower()
    fields = [(_path(detail["loc"]), _reason(detail, is_json=is_json)) for detail in details]
    listed = "; ".join(f"{path}: {why}" for path, why in fields)
    status = 400 if any(detail["type"] == "json_invalid" for detail in details) else 422
    if status == HTTPStatus.BAD_REQUEST:
        return ApiError(400, f"The body is no JSON: {listed}").response()
    return field_errors(f"The request does not fit: {listed}", fields).response()


def _reason(detail: Mapping[str, Any], *, is_json: bool) -> str:
    if detail["type"] == "json_invalid":
        return str(detail.get("ctx", {}).get("error", detail["msg"]))
    if detail["type"] == "model_attributes_type":
        return "give a JSON object" + ("" if is_json else ", and the header Content-Type: application/json")
    if detail["type"] in _INSTANTS:
        return INSTANT
    return str(detail["msg"]).removeprefix("Value error, ")


def _path(loc: Sequence[int | str]) -> str:
    """Return where a field stands, without ``body``, ``query``, ``path``, ``header``, which tell little.

    What is repeated in a query is told by its name, without the place among the others.
    """
    parts = [str(part) for part in loc[:2] if loc[0] == "query"] or [str(part) for part in loc]
    return ".".join(parts[1:]) or parts[0]


async def answer_http(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework itself refuses: no such route, no such method."""
    refused = cast("HTTPException", error)
    headers = {name.lower(): value for name, value in (refused.headers or {}).items()}
    if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(_methods(request))
    message = {
        HTTPStatus.NOT_FOUND: f"There is nothing at {request.url.path}",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path} does not take {request.method}",
    }.get(HTTPStatus(refused.status_code), str(refused.detail))
    return ApiError(refused.status_code, message, headers=headers).response()


def _methods(request: Request) -> list[str]:
    """Return the methods that some route takes at a request's path."""
    routes = cast("Starlette", request.app).routes
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
