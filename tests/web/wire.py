"""A connection of the server without a socket, on a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from zeke_queue.system.clock import SystemClock
from zeke_queue.web.acceptor import Acceptor
from zeke_queue.web.http_connection import Deadlines, HttpConnection

DEADLINES = Deadlines(header=10, body=30, idle=5)


class Timers:
    """An event loop whose timers a test moves."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, Callable[[], object], list[bool]]] = []
        self.create_task = asyncio.get_running_loop().create_task

    def time(self) -> float:
        return self._now

    def call_later(self, seconds: float, call: Callable[..., object], *given: object) -> Any:
        cancelled = [False]
        self._timers.append((self._now + seconds, partial(call, *given), cancelled))

        class Handle:
            def cancel(self) -> None:
                cancelled[0] = True

        return Handle()

    def advance(self, seconds: float) -> None:
        until = self._now + seconds
        while due := [timer for timer in self._timers if timer[0] <= until and not timer[2][0]]:
            first = min(due, key=lambda timer: timer[0])
            self._timers.remove(first)
            self._now = max(self._now, first[0])
            first[1]()
        self._now = until


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unread = 0
        self.closed = self.aborted = self.is_half_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {}.get(name, default)

    def write(self, data: Any) -> None:
        if self.is_half_closed:
            raise RuntimeError("written after the end")
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None:
        self.is_half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        """Accept the call."""

    def resume_reading(self) -> None:
        """Accept the call."""


class Line:
    """A connection of a small application, with its client's end."""

    def __init__(self) -> None:
        self.loop = Timers()
        self.wire = Wire()
        self.received: list[Any] = []
        self.on_change: Callable[[HttpConnection], None] = lambda _: None
        self.on_late: Callable[[str], None] = lambda _: None
        self.ready = asyncio.Event()
        config = uvicorn.Config(
            self._app, http="h11", ws="none", lifespan="off", log_config=None, interface="asgi3"
        )
        config.load()
        self.connection = HttpConnection(
            config=config,
            server_state=ServerState(),
            app_state={},
            deadlines=DEADLINES,
            on_change=self._changed,
            on_late=self._late,
            _loop=self.loop,
        )
        self.connection.connection_made(self.wire)

    def _changed(self, connection: HttpConnection) -> None:
        self.on_change(connection)

    def _late(self, what: str) -> None:
        self.on_late(what)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if "wait" in scope["path"]:
            await self.ready.wait()
        if "read" in scope["path"]:
            more = True
            while more:
                self.received.append(await receive())
                more = self.received[-1].get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    async def settle(self) -> None:
        for _ in range(10):
            await SystemClock().sleep(0)


def room_in(acceptor: Acceptor) -> asyncio.Future[None]:
    """Wait for room for one more connection."""
    return asyncio.ensure_future(acceptor._has_room())


def post(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n".encode()
