"""tRPC's protocol over HTTP, as its clients of version 10 and 11 speak it: pure, it knows no framework.

A query is a GET with ``?input=``, a mutation a POST with its input as the body. With ``?batch=1`` a request
has several calls: their paths are separated by commas, their inputs are the members "0", "1", … of one
object, and their answers stand in an array. One call's error is that call's own.

Source: tRPC 11.25, ``resolveResponse.ts``, ``contentType.ts``, ``getHTTPStatusCode.ts``, ``codes.ts``.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

from pydantic_core import from_json

from zeke_queue.web.trpc.superjson import BadSuperJson, Budget, decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from zeke_queue.storage.access import Scope

C = TypeVar("C")

BATCH_MAX: Final = 100
"""Calls in one request at most."""

_OK: Final = 200
_MIXED: Final = 207
_TEXT_MAX: Final = 200
_METHODS: Final = {"query": "GET", "mutation": "POST"}


class Code(enum.Enum):
    """What can go wrong, by tRPC's names: the code of JSON-RPC, and the HTTP status."""

    PARSE_ERROR = (-32700, 400)
    BAD_REQUEST = (-32600, 400)
    UNAUTHORIZED = (-32001, 401)
    FORBIDDEN = (-32003, 403)
    NOT_FOUND = (-32004, 404)
    METHOD_NOT_SUPPORTED = (-32005, 405)
    CONFLICT = (-32009, 409)
    PAYLOAD_TOO_LARGE = (-32013, 413)
    UNSUPPORTED_MEDIA_TYPE = (-32015, 415)
    UNPROCESSABLE_CONTENT = (-32022, 422)
    TOO_MANY_REQUESTS = (-32029, 429)
    INTERNAL_SERVER_ERROR = (-32603, 500)
    NOT_IMPLEMENTED = (-32603, 501)
    SERVICE_UNAVAILABLE = (-32603, 503)

    @property
    def number(self) -> int:
        """JSON-RPC's code."""
        return self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]

    @classmethod
    def of_status(cls, status: int) -> Code:
        """Return the code for an HTTP status; the nearest one where it has no code of its own."""
        # Of two with one status, the one that says less of the JSON stands for both.
        known = {code.status: code for code in reversed(cls) if code is not cls.PARSE_ERROR}
        return known.get(
            status, cls.BAD_REQUEST if status < Code.INTERNAL_SERVER_ERROR.status else known[500]
        )


class TrpcError(Exception):
    """What a call is answered with when it failed.

    Attributes:
        code: what went wrong.
        message: for whoever made the call.
        data: further members of the error's ``data``.
        headers: of the HTTP answer.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = dict(data or {})
        self.headers = dict(headers or {})

    def shape(self, path: str | None) -> dict[str, Any]:
        """Return the error as clients get it; ``path`` is None if it is of no single call."""
        where = {} if path is None else {"path": path}
        data = {**self.data, "code": self.code.name, "httpStatus": self.code.status, **where}
        return {"error": encode({"message": self.message, "code": self.code.number, "data": data})}


class Procedure(NamedTuple, Generic[C]):
    """What a path leads to: by which method, what it does with a context and an input, and who may."""

    kind: Literal["query", "mutation"]
    run: Callable[[C, Any], Awaitable[Any]]
    scope: Scope


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as tRPC looks at it.

    Attributes:
        path: behind the endpoint's own, percent-decoded.
        query: its parameters, the first of those with one name.
        media_type: the Content-Type header, None if there is none.
        body: what was sent; nobody looks at that of a GET.
    """

    method: str
    path: str
    query: Mapping[str, str]
    media_type: str | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: JSON, unless it has no body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


class _Call(NamedTuple):
    path: str
    wire: Any
    """superjson's form of the input; None if there is no input."""


async def answer(
    procedures: Mapping[str, Procedure[C]],
    asked: Asked,
    context: C,
    told: Callable[[Exception], TrpcError],
    *,
    admit: Callable[[Scope], Awaitable[object]],
) -> Answered:
    """Answer a request; nothing is raised but what ends the program.

    Calls of a batch run one after the other, in their order. Of a caller who may not, no input is decoded.

    Args:
        procedures: by path.
        asked: the request.
        context: what the procedures get beside their inputs.
        told: says what a caller is told of an error that a procedure or ``admit`` raised.
        admit: raises what a caller is refused with who does not hold a scope; asked for each call.
    """
    if asked.method == "HEAD":  # a client that warms up the connection
        return Answered(204)
    batch = asked.query.get("batch") == "1"
    try:
        calls = _calls(asked, batch=batch)
    except TrpcError as error:
        return refused(error)
    budget = Budget()
    outcomes: list[TrpcError | None] = []
    shapes: list[dict[str, Any]] = []
    for call in calls:
        try:
            procedure = _procedure(procedures, asked.method, call)
            await admit(procedure.scope)
            result = await procedure.run(context, _given(call, budget))
            error, shape = None, {"result": {"data": encode(result)}}
        except Exception as raised:  # noqa: BLE001 - one call's error, whatever it is, is that call's own
            error = raised if isinstance(raised, TrpcError) else told(raised)
            shape = error.shape(call.path)
        outcomes.append(error)
        shapes.append(shape)
    return _answered(outcomes, shapes if batch else shapes[0])


def refused(error: TrpcError) -> Answered:
    """Answer a request that is refused as a whole."""
    return _answered([error], error.shape(None))


def _procedure(procedures: Mapping[str, Procedure[C]], method: str, call: _Call) -> Procedure[C]:
    procedure = procedures.get(call.path)
    if procedure is None:
        raise TrpcError(Code.NOT_FOUND, f'No procedure found on path "{shown(call.path)}"')
    accepted = _METHODS[procedure.kind]
    if method != accepted:
        raise TrpcError(
            Code.METHOD_NOT_SUPPORTED,
            f'Unsupported {method}-request to {procedure.kind} procedure at path "{call.path}"',
            headers={"allow": accepted},
        )
    return procedure


def _given(call: _Call, budget: Budget) -> Any:
    try:
        return None if call.wire is None else decode(call.wire, budget)
    except BadSuperJson as error:
        raise TrpcError(Code.BAD_REQUEST, f"The input can't be read: {error}") from error


def _calls(asked: Asked, *, batch: bool) -> list[_Call]:
    """Return the calls of a request.

    Raises:
        TrpcError: it has too many, or what it brings is no JSON, or not of the right form.
    """
    media_type = (asked.media_type or "").partition(";")[0].strip().lower()
    if asked.method != "GET" and media_type != "application/json":
        told = (
            f'Unsupported content-type "{shown(media_type)}"' if media_type else "Missing content-type header"
        )
        raise TrpcError(Code.UNSUPPORTED_MEDIA_TYPE, f"{told}; send application/json")
    paths = asked.path.split(",") if batch else [asked.path]
    if len(paths) > BATCH_MAX:
        raise TrpcError(
            Code.BAD_REQUEST,
            f"The batch has {len(paths)} calls, {BATCH_MAX} at most; give httpBatchLink a maxItems of that",
        )
    text = (
        asked.query.get("input", "").encode("utf-8", "surrogatepass") if asked.method == "GET" else asked.body
    )
    inputs = _parsed(text)
    if not batch:
        return [_Call(paths[0], inputs)]
    if inputs is None:
        inputs = {}
    if not isinstance(inputs, dict):
        raise TrpcError(Code.BAD_REQUEST, '"input" needs to be an object when doing a batch call')
    by_index = cast("dict[str, Any]", inputs)
    return [_Call(path, by_index.get(str(index))) for index, path in enumerate(paths)]


def _parsed(text: bytes) -> Any:
    if not text:
        return None
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise TrpcError(Code.PARSE_ERROR, f"The input is no JSON that can be read: {error}") from error


def shown(text: str) -> str:
    """Return text that a caller sent as it is repeated to it: short."""
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"


def _answered(outcomes: list[TrpcError | None], shape: Any) -> Answered:
    statuses = {_OK if error is None else error.code.status for error in outcomes}
    headers = {
        name: value for error in outcomes if error is not None for name, value in error.headers.items()
    }
    # Text that is half of a surrogate pair, which no encoding takes, is escaped as all beyond ASCII is.
    body = json.dumps(shape, allow_nan=False, separators=(",", ":")).encode()
    return Answered(statuses.pop() if len(statuses) == 1 else _MIXED, body, headers)
