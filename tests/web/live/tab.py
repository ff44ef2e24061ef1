"""A browser's tab that reads a stream; it drives the ASGI application itself, so it can also read slowly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from tests.clocks import FrozenClock
from tests.conformance.driver import soon

NET = 1.0
"""Seconds without anything new, after which the clock is advanced."""


@dataclass(frozen=True)
class Event:
    name: str
    data: str
    id: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Tab:
    """One request for a stream.

    Args:
        slow: whether to take nothing before ``read_on``.
        clock: advanced if nothing arrives for a while; None in tests that advance it themselves.
        headers: of the request, with underscores.
    """

    def __init__(
        self,
        app: Any,
        path: str,
        *,
        query: str = "",
        slow: bool = False,
        clock: FrozenClock | None = None,
        method: str = "GET",
        **headers: str,
    ) -> None:
        self._clock = clock
        self._app = app
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 3003),
            "headers": [(b"host", b"127.0.0.1:3003")]
            + [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        self._asked = False
        self._gone = asyncio.Event()
        self._reads = asyncio.Event()
        if not slow:
            self._reads.set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.ended = False

    async def __aenter__(self) -> Self:
        self._task = task = asyncio.ensure_future(self._app(self._scope, self._receive, self._send))
        task.add_done_callback(lambda _: self._changed.set())
        await self._until(lambda: self.status != 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Close the tab; returns when the server's task has ended."""
        self._gone.set()
        self._reads.set()
        assert self._task is not None
        if not self._task.cancelled():
            await soon(self._task)

    async def kill(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode()

    @property
    def done(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def events(self) -> list[Event]:
        """The events so far; each must have ``data`` right behind ``event``, as old clients expect."""
        found: list[Event] = []
        for block in self.text.split("\n\n"):
            lines = block.split("\n")
            names = [n for n, line in enumerate(lines) if line.startswith("event: ")]
            if not names:
                continue
            (at,) = names
            assert lines[at + 1].startswith("data: "), block
            ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
            data = "\n".join(line.removeprefix("data: ") for line in lines[at + 1 :])
            found.append(Event(lines[at].removeprefix("event: "), data, ids[0] if ids else None))
        return found

    @property
    def statuses(self) -> list[str]:
        return [event.json["status"] for event in self.events if event.name == "status"]

    @property
    def earlier(self) -> dict[str, Any]:
        """What the earlier system's dashboard shows: the last status and output that it could read.

        It reads at most 64 KiB at once, and loses an event whose lines it does not read together.
        """
        shown: dict[str, Any] = {}
        rest = ""
        for chunk in self.chunks:
            for start in range(0, len(chunk), 65_536):
                *lines, rest = (rest + chunk[start : start + 65_536].decode()).split("\n")
                for line, following in pairwise(lines):
                    if line == "event: status" and following.startswith("data: "):
                        shown |= json.loads(following.removeprefix("data: "))
        return shown

    def named(self, *names: str) -> list[Event]:
        return [event for event in self.events if event.name in names]

    async def until(self, condition: Callable[[Tab], bool]) -> Tab:
        await self._until(lambda: condition(self))
        return self

    async def rest(self) -> list[Event]:
        await self._until(lambda: self.ended or self.done)
        return self.events

    def read_on(self) -> None:
        """Read the events sent from now on."""
        self._reads.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                if self.done:
                    assert self._task is not None
                    self._task.result()
                    assert condition(), self.text
                self._changed.clear()
                waiting = asyncio.ensure_future(self._changed.wait())
                if not (await asyncio.wait([waiting], timeout=NET))[0] and self._clock is not None:
                    # A change in the moment in which a watch began is found by the next query.
                    self._clock.advance(0.5)
                waiting.cancel()

        await soon(wait())

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            await self._reads.wait()
            if self._gone.is_set():
                return
            self.chunks.append(message["body"])
            self.ended = not message.get("more_body", False)
        self._changed.set()


Open = Callable[..., Tab]
"""Opens the stream of a job."""
