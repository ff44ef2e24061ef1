"""What stands before every route: a cap on bodies, and headers that keep browsers careful."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from zeke_queue.web.access.guard import CALLER, SAFE
from zeke_queue.web.errors import ApiError, told

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from zeke_queue.web.access.guard import Guard

POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The content security policy of answers that set none: of JSON, nothing is ever run or drawn."""

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
    """Adds headers that an answer does not have already."""

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


class Failures:
    """Answers what no route foresaw, so that the answer passes what all answers pass."""

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
            await told(error).response()(scope, receive, send)


class Gate:
    """Asks who calls before a body is read, so that strangers have nothing read for them.

    Routes that ask again are told the same, without another look.

    Args:
        app: what comes behind it.
        guard: tells who calls.
        elsewhere: paths, each with all below it, that see to it themselves, since their forms carry a token.
    """

    def __init__(self, app: ASGIApp, guard: Guard, elsewhere: tuple[str, ...]) -> None:
        self._app = app
        self._guard = guard
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, if its caller may call at all."""
        if scope["type"] == "http" and scope["method"] not in SAFE:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if not any(path == one or path.startswith(f"{one}/") for one in self._elsewhere):
                try:
                    scope[CALLER] = await self._guard.caller(HTTPConnection(scope))
                except ApiError as refused:
                    await refused.response()(scope, receive, send)
                    return
        await self._app(scope, receive, send)


class BodyCap:
    """Refuses a body that is too large: before it is read where its length is told, else while it is.

    It is refused where a route reads it, and so in the form in which that route refuses things.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, as long as its body is within the cap."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        read = int(length) if length.isdigit() else 0

        async def receive_capped() -> Message:
            nonlocal read
            # Of one whose length is told, nothing is read.
            message: Message = await receive() if read <= self._most else {}
            read += 0 if length.isdigit() else len(message.get("body", b""))
            if read > self._most:
                raise self._refusal()
            return message

        await self._app(scope, receive_capped, send)

    def _refusal(self) -> HTTPException:
        detail = f"The body is too large: {self._most} bytes at most"
        return HTTPException(413, detail, headers={"connection": "close"})
