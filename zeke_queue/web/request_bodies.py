"""Bodies of requests, and their limits; answers are in ``zeke_queue.api_client.model``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.datastructures import FormData
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope

PARTS_MAX: Final = 40_000
"""Maximum objects, lists and further members of these in a body: each is parsed, checked and written several
times, and costs up to a hundred times as much as other bytes."""

SEPARATORS_MAX: Final = 10_000
"""Maximum separators of a form's fields: each, also between empty ones, is a step of a parser in Python."""

LARGE: Final = 65_536
"""Size in bytes from which on a tRPC body is decoded in a thread, so that it does not block the event loop.

Other bodies are parsed on the loop: the parser of ``json`` holds the interpreter's lock in any thread. With
``PARTS_MAX``, to parse, check and write one of 2 MiB, the default of ``API_BODY_MAX``, takes up to 0.14 s.
"""

MEMBERS_MAX: Final = 100
"""Maximum members of a body whose unknown members are errors, since each gets a line in the answer."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]


def check_parts(body: bytes) -> None:
    """Refuse JSON with too many objects, lists and members, before it is parsed.

    Raises:
        HTTPException: 413.
    """
    if body.count(b"[") + body.count(b"{") + body.count(b",") <= PARTS_MAX:
        return
    if re.match(rb"(?:%b){%d}" % (_PART, PARTS_MAX + 1), body, re.DOTALL):
        raise HTTPException(
            413,
            f"body: must have at most {PARTS_MAX} objects, lists and members, got more; send a reference"
            " instead",
        )


_PART: Final = rb'(?:[^"\[{,]++|"(?:[^"\\]++|\\.)*+")*+[\[{,]'
"""Matches up to the next bracket or comma outside of strings, without backtracking, even in an unterminated
string."""


def capped(scope: Scope, receive: Receive, most: int) -> Receive:
    """Return a function that receives a body and raises HTTPException if it has more than ``most`` bytes."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    read = int(length) if length.isdigit() else 0

    async def receive_capped() -> Message:
        nonlocal read
        # A body whose declared length is too large is not read at all.
        message: Message = await receive() if read <= most else {}
        read += 0 if length.isdigit() else len(message.get("body", b""))
        if read > most:
            detail = f"body: must have at most {most} bytes; send less, or raise API_BODY_MAX"
            raise HTTPException(413, detail, headers={"connection": "close"})
        return message

    return receive_capped


async def read_form(request: Request) -> FormData:
    """Return a form's fields.

    Raises:
        HTTPException: 415 if it is a multipart form, which takes much longer to parse, and whose fields may
            be in any encoding; 413 if there are too many separators; 400 if there are too many fields, or an
            invalid escape, which takes several times as long to decode as a valid one.
    """
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise HTTPException(
            415, "form: must be application/x-www-form-urlencoded, got multipart; leave out enctype"
        )
    body = await request.body()
    if body.count(b"&") > SEPARATORS_MAX:
        raise HTTPException(413, f"form: must have at most {SEPARATORS_MAX} separators; send fewer fields")
    if _INVALID_ESCAPE.search(body):
        raise HTTPException(400, "form: must have two hexadecimal digits after each %; write % as %25")
    return await request.form()


_INVALID_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class JsonRequest(Request):
    """A request whose body is checked before it is parsed."""

    async def json(self) -> Any:
        """Return the body's value.

        Raises:
            HTTPException: 413 if it has too many parts; 400 if it is in UTF-16 or UTF-32, which the parser
                accepts, but whose quotes and brackets ``check_parts`` cannot find.
        """
        body = await self.body()
        check_parts(body)
        if not (encoding := json.detect_encoding(body)).startswith("utf-8"):
            raise HTTPException(400, f"body: must be JSON in UTF-8, got {encoding}; encode it in UTF-8")
        return await super().json()


class JsonRoute(APIRoute):
    """A route that gets ``JsonRequest``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the route's function."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return checked


class RequestBody(BaseModel):
    """A JSON object whose members are in camel case; unknown members are an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _has_few_members(cls, given: Any) -> Any:
        members = len(cast("dict[str, Any]", given)) if isinstance(given, dict) else 0
        if members > MEMBERS_MAX and cls.model_config.get("extra") == "forbid":
            raise ValueError(
                f"must have at most {MEMBERS_MAX} members, got {members}; send only documented members"
            )
        return cast("Any", given)


class Trigger(RequestBody):
    """A job to send."""

    # Clients of the earlier system may send members that it ignored.
    model_config = ConfigDict(extra="ignore")

    task_id: Text
    payload: Any = Field(default_factory=dict)


class ScheduleEdit(RequestBody):
    """A schedule to create or replace."""

    cron: Text = Field(description="Five fields; an optional sixth is seconds.", examples=["*/5 * * * *"])
    task: Text | None = Field(default=None, description="By default the schedule's name.")
    zone: Text | None = Field(default=None, description="An IANA time zone; by default JOBS_CRON_TZ.")
    payload: Any = None
    catch_up: Literal["skip", "once", "all"] = "once"
    description: Annotated[str, StringConstraints(max_length=1000)] | None = None
    paused: bool = False
