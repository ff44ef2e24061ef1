"""tRPC's protocol over HTTP for clients of version 10 and 11, independent of a web framework.

A query is a GET with ``?input=``, a mutation a POST with its input as the body. With ``?batch=1``, a request
contains several calls: their paths are separated by commas, their inputs are the members "0", "1", … of one
object, and their answers form an array. An error of one call does not affect the others.

Source: tRPC 11.25, ``resolveResponse.ts``, ``contentType.ts``, ``getHTTPStatusCode.ts``, ``codes.ts``.
"""

from __future__ import annotations

import asyncio
import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

from pydantic_core import from_json

from zeke_queue.web.request_bodies import LARGE
from zeke_queue.web.trpc.superjson import BadSuperJson, decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from zeke_queue.storage.access import Scope

C = TypeVar("C")

BATCH_MAX: Final = 100
"""Maximum number of calls in one request."""

ANSWER_MAX: Final = 8 * 2**20
"""Bytes of an answer from which on further calls of its batch are refused, and not carried out."""

_OK: Final = 200
_MIXED: Final = 207
_TEXT_MAX: Final = 200
_METHODS: Final = {"query": "GET", "mutation": "POST"}


class Code(enum.Enum):
    """tRPC's error codes by name, each with its JSON-RPC code and HTTP status."""

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
        """The JSON-RPC code."""
        return self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]

    @classmethod
    def of_status(cls, status: int) -> Code:
        """Return the code for an HTTP status, or the closest one if the status has none."""
        # Two codes have the status 400, so use the more general one, not PARSE_ERROR.
        known = {code.status: code for code in reversed(cls) if code is not cls.PARSE_ERROR}
        return known.get(
            status, cls.BAD_REQUEST if status < Code.INTERNAL_SERVER_ERROR.status else known[500]
        )


class TrpcError(Exception):
    """The error of a failed call.

    Attributes:
        code: the kind of error.
        message: the message for the caller.
        data: additional members of the error's ``data``.
        headers: headers of the HTTP response.
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
        """Return the error's JSON form; ``path`` is None for an error of the whole request."""
        where = {} if path is None else {"path": path}
        data = {**self.data, "code": self.code.name, "httpStatus": self.code.status, **where}
        return {"error": encode({"message": self.message, "code": self.code.number, "data": data})}


class Procedure(NamedTuple, Generic[C]):
    """The procedure of a path: its method, its function of a context and an input, and its scope."""

    kind: Literal["query", "mutation"]
    run: Callable[[C, Any], Awaitable[Any]]
    scope: Scope


@dataclass(frozen=True, slots=True)
class TrpcRequest:
    """The parts of a request that tRPC uses.

    Attributes:
        path: the percent-decoded path after the endpoint's path.
        query: the query parameters; the first value of each name.
        media_type: the Content-Type header, if any.
        body: the body; ignored for a GET.
    """

    method: str
    path: str
    query: Mapping[str, str]
    media_type: str | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered:
    """A response: JSON, or without a body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


class _Call(NamedTuple):
    path: str
    wire: Any
    """The input in superjson's format; None if there is no input."""


async def answer(
    procedures: Mapping[str, Procedure[C]],
    request: TrpcRequest,
    context: C,
    to_trpc_error: Callable[[Exception], TrpcError],
    *,
    authorize: Callable[[Scope], Awaitable[object]],
) -> Answered:
    """Answer a request; every ``Exception`` becomes part of the answer.

    Calls of a batch run sequentially in order. The inputs of an unauthorized caller are not decoded.

    Args:
        procedures: the procedures by path.
        context: an argument for the procedures in addition to their inputs.
        to_trpc_error: converts an exception of a procedure or of ``authorize`` to the caller's error.
        authorize: raises an error if the caller lacks a scope; called for each call.
    """
    if request.method == "HEAD":  # sent by a client to open the connection
        return Answered(204)
    batch = request.query.get("batch") == "1"
    try:
        calls = _calls(request, batch=batch)
    except TrpcError as error:
        return refused(error)
    outcomes: list[TrpcError | None] = []
    shapes: list[bytes] = []
    size = 0
    for call in calls:
        try:
            _check_size(size)
            procedure = _procedure(procedures, request.method, call)
            await authorize(procedure.scope)
            # A thread decodes large inputs, which would block the event loop for seconds in all.
            is_large = len(request.body) > LARGE
            value = await asyncio.to_thread(_input, call) if is_large else _input(call)
            result = await procedure.run(context, value)
            error, shape = None, {"result": {"data": encode(result)}}
        except Exception as raised:  # noqa: BLE001 - an error of one call does not affect the others
            error = raised if isinstance(raised, TrpcError) else to_trpc_error(raised)
            shape = error.shape(call.path)
        outcomes.append(error)
        shapes.append(_json(shape))
        size += len(shapes[-1])
    return _answered(outcomes, b"[%b]" % b",".join(shapes) if batch else shapes[0])


def _check_size(answered: int) -> None:
    """Refuse a call whose batch has such a long answer already."""
    if answered > ANSWER_MAX:
        message = f"batch: must be answered with at most {ANSWER_MAX} bytes; send this call in another one"
        raise TrpcError(Code.PAYLOAD_TOO_LARGE, message)


def refused(error: TrpcError) -> Answered:
    """Return the answer to a request that is refused as a whole."""
    return _answered([error], _json(error.shape(None)))


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


def _input(call: _Call) -> Any:
    try:
        return None if call.wire is None else decode(call.wire)
    except BadSuperJson as error:
        raise TrpcError(Code.BAD_REQUEST, f"input: {error}") from error


def _calls(request: TrpcRequest, *, batch: bool) -> list[_Call]:
    """Parse the calls of a request."""
    media_type = (request.media_type or "").partition(";")[0].strip().lower()
    if request.method != "GET" and media_type != "application/json":
        problem = (
            f'Unsupported content-type "{shown(media_type)}"' if media_type else "Missing content-type header"
        )
        raise TrpcError(Code.UNSUPPORTED_MEDIA_TYPE, f"{problem}; send application/json")
    paths = request.path.split(",") if batch else [request.path]
    if len(paths) > BATCH_MAX:
        raise TrpcError(
            Code.BAD_REQUEST,
            f"batch: must have at most {BATCH_MAX} calls, got {len(paths)}; set maxItems of httpBatchLink",
        )
    text = (
        request.query.get("input", "").encode("utf-8", "surrogatepass")
        if request.method == "GET"
        else request.body
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
        raise TrpcError(Code.PARSE_ERROR, f"input: must be JSON: {error}") from error


def shown(text: str) -> str:
    """Shorten a caller's text for an error message."""
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"


def _answered(outcomes: list[TrpcError | None], body: bytes) -> Answered:
    statuses = {_OK if error is None else error.code.status for error in outcomes}
    headers = {
        name: value for error in outcomes if error is not None for name, value in error.headers.items()
    }
    return Answered(statuses.pop() if len(statuses) == 1 else _MIXED, body, headers)


def _json(shape: Any) -> bytes:
    # A lone surrogate cannot be encoded, so all non-ASCII characters are escaped.
    return json.dumps(shape, allow_nan=False, separators=(",", ":")).encode()
