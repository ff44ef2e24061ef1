"""A server on loopback that speaks as much of the OpenAI API as is used, and answers by a script."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Asked:
    """A request as it came: its path, its headers by lower-case name, and its body."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What to answer.

    Attributes:
        body: sent as JSON; bytes are sent unchanged.
        hang: whether to keep the connection open without an answer.
        drop: whether to close the connection without an answer.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False


class OpenAIServer:
    """Answers on 127.0.0.1, at a port that the system chooses. An async context manager.

    Args:
        script: the answers, one for each request.
        answer: returns the answer to a request, in place of a script.
    """

    def __init__(self, *script: Said, answer: Callable[[Asked], Said] | None = None) -> None:
        self.asked: list[Asked] = []
        self._script = deque(script)
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        assert self._server is not None
        return f"http://{_HOST}:{self._server.sockets[0].getsockname()[1]}/v1"

    def will_say(self, *script: Said) -> None:
        self._script = deque(script)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, _HOST, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.asked.append(Asked(request_line.split(" ")[1], headers, body))
        said = self._answer(self.asked[-1]) if self._answer else self._script.popleft()
        if said.hang:
            await asyncio.Event().wait()
        if not said.drop:
            writer.write(_wire(said))
            await writer.drain()


def _wire(said: Said) -> bytes:
    body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [
        f"HTTP/1.1 {said.status} ",
        *(f"{name}: {value}" for name, value in {**headers, **said.headers}.items()),
    ]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def response(
    text: str | None = None, *, refusal: str | None = None, usage: dict[str, Any] | None = None, **more: Any
) -> Said:
    """Return a response of a model that thought first, as the API gives it.

    Args:
        text: what the model wrote.
        refusal: the refusal in place of an answer.
        usage: tokens in place of 1,200 read, 1,000 of them from a cache, and 300 written.
        more: fields that replace those of the response.
    """
    parts = [{"type": "output_text", "text": text, "annotations": []}] if text is not None else []
    parts += [{"type": "refusal", "refusal": refusal}] if refusal is not None else []
    body: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_767_614_400,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-5-nano-2025-08-07",
        "output": [
            {"id": "rs_1", "type": "reasoning", "summary": []},
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": parts},
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 1200,
            "input_tokens_details": {"cached_tokens": 1000},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 100},
            "total_tokens": 1500,
        },
    }
    return Said(body={**body, **({"usage": usage} if usage is not None else {}), **more})


def embeddings(*vectors: list[float], **more: Any) -> Said:
    """Return an answer with vectors, last one first, as the API may give it."""
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    body = {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": data[::-1],
        "usage": {"prompt_tokens": 500, "total_tokens": 500},
    }
    return Said(body={**body, **more})


def error(status: int, message: str = "no", *, code: str | None = None, **headers: str) -> Said:
    """Return an answer without success; headers are written with underscores."""
    body = {"error": {"message": message, "type": "some_error", "param": None, "code": code}}
    return Said(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
