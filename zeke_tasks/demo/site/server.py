"""A small HTTP/1.1 server for loopback, on the standard library alone, that records its requests.

It is for the demo and for tests. It serves GET without keep-alive, and must not be exposed to a network.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

# Our clients send a dozen headers; a larger head comes from another client.
_LONGEST_HEAD = 64 * 1024
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as received.

    Attributes:
        method: as sent, normally ``GET``.
        path: decoded, without the query.
        query: as sent, without the question mark.
        headers: by lower-case name; the last value of a repeated header.
        times: number of requests for this path, including this one.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: the HTTP status.
        body: the bytes as sent; already encoded if there is a Content-Encoding header.
        content_type: the header, or ``""`` for none.
        headers: further headers, sent unchanged.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())


Handler = Callable[[Request], Awaitable[Answer]]


class LoopbackServer:
    """Answers requests on 127.0.0.1, on a port chosen by the system. An async context manager.

    Args:
        handler: answers each request. If it raises, the connection is aborted.

    Attributes:
        hits: number of requests by path.
        statuses: number of answers by status.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.hits: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            raise RuntimeError("The server is not running; use it as an async context manager")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        """The URL of its root, without a slash at the end."""
        return f"http://{_HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._server = await asyncio.start_server(self._connected, _HOST, 0, limit=_LONGEST_HEAD)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, and abort requests in progress."""
        if self._server is not None:
            self._server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            # The client disconnected or sent an invalid request; in both cases there is no answer to send.
            writer.transport.abort()
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.split("\r\n")
        method, target, _ = request_line.split(" ", 2)
        parts = urlsplit(target)
        path = unquote(parts.path)
        self.hits[path] += 1
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        request = Request(method, path, parts.query, headers, self.hits[path])
        answer = await self._handler(request)
        self.statuses[answer.status] += 1
        writer.write(_wire(answer))
        await writer.drain()


def with_validator(request: Request, answer: Answer, modified: str | None = None) -> Answer:
    """Return the answer with an ETag of its body, or 304 if the request's validator matches.

    Args:
        request: may carry If-None-Match or If-Modified-Since.
        answer: with status 200.
        modified: the Last-Modified header, or None for none.
    """
    etag = f'"{sha256(answer.body).hexdigest()[:16]}"'
    headers = (*answer.headers, ("ETag", etag), *((("Last-Modified", modified),) if modified else ()))
    known, since = request.headers.get("if-none-match"), request.headers.get("if-modified-since")
    # By the standard, If-None-Match takes precedence over If-Modified-Since.
    unchanged = known == etag if known else modified is not None and since == modified
    if unchanged:
        return Answer(status=304, content_type="", headers=headers)
    return Answer(status=answer.status, body=answer.body, content_type=answer.content_type, headers=headers)


def _wire(answer: Answer) -> bytes:
    # Nonstandard statuses, such as the 520s of some proxies, have no phrase.
    phrase = next((known.phrase for known in HTTPStatus if known == answer.status), "")
    lines = [f"HTTP/1.1 {answer.status} {phrase}", "Connection: close"]
    if answer.content_type:
        lines.append(f"Content-Type: {answer.content_type}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    names = {name.lower() for name, _ in answer.headers}
    if not names & {"content-length", "transfer-encoding"} and answer.status != HTTPStatus.NOT_MODIFIED:
        lines.append(f"Content-Length: {len(answer.body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + answer.body
