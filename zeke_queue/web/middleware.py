"""Middleware: authentication, error responses, a limit on body size, and security headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection

from zeke_queue.web.access.guard import CALLER, SAFE
from zeke_queue.web.errors import ApiError, to_api_error
from zeke_queue.web.request_bodies import capped

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from zeke_queue.web.access.guard import Guard

POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The default content security policy, for JSON: nothing may be executed or displayed."""

HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": POLICY,
    "cache-control": "no-store",
}


class SecurityHeaders:
    """Adds security headers that a response does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secure = scope.get("scheme") == "https"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if secure:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        await self._app(scope, receive, send_with_headers)


ESCAPES_MAX: Final = 1000
"""Maximum backslashes in a request's cookies.

In Python before 3.11.10 and 3.12.6, ``http.cookies`` takes seconds for 60 kB of them, and 0.1 s for these.
"""


class Failures:
    """Responds to unexpected errors, so that the response passes through the outer middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await to_api_error(error).response()(scope, receive, send)


class Gate:
    """Authenticates the caller before the body is read, so that no body of an unknown caller is read.

    Routes reuse the result without another lookup. Cookies that take long to parse are refused, since FastAPI
    parses them for every route.

    Args:
        app: the inner application.
        elsewhere: path prefixes that authenticate callers themselves, since their forms carry a token.
    """

    def __init__(self, app: ASGIApp, guard: Guard, elsewhere: tuple[str, ...]) -> None:
        self._app = app
        self._guard = guard
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its caller is authenticated."""
        if scope["type"] == "http" and _escapes(scope) > ESCAPES_MAX:
            problem = f"cookies: must have at most {ESCAPES_MAX} backslashes, got more; delete some"
            await ApiError(431, problem).response()(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] not in SAFE:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if not any(path == one or path.startswith(f"{one}/") for one in self._elsewhere):
                try:
                    scope[CALLER] = await self._guard.caller(HTTPConnection(scope))
                except ApiError as refused:
                    await refused.response()(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _escapes(scope: Scope) -> int:
    return sum(value.count(b"\\") for name, value in scope["headers"] if name == b"cookie")


class BodyCap:
    """Refuses a body that is too large: before reading if its length is declared, otherwise while reading.

    The error is raised when a route reads the body, so that the response has the route's error format.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as long as its body is within the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, capped(scope, receive, self._most), send)
