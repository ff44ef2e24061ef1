"""A stream of server-sent events as an ASGI response, with exactly two tasks.

The request's task reads from the source, sends, and waits; the second task waits for the client to
disconnect. One task for all streams triggers what is due by time: keep-alive comments and the end of a
stream. The source is read only after the client has received the previous events, so a slow client uses no
memory and does not delay others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.system.clock import wait
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import end
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import Message, Receive, Scope, Send

    from zeke_queue.system.clock import Clock
    from zeke_queue.web.sse.sources import Source

    Authorized = Callable[[], Awaitable[bool]]

RETRY_AFTER: Final = 5
"""Seconds after which a client that was refused for a limit may retry."""

RECONNECT_DELAYS: Final = (1.0, 3.0)
"""Range of seconds after which browsers reconnect to a stream that has ended; each stream draws its own, so
that the clients of a restarted server do not reconnect all at once."""

SEND_TIMEOUT: Final = 60.0
"""Seconds for which a client may receive nothing of what is sent before it is disconnected."""

STOPPING: Final = frames.comment("the server is stopping; come back")
UNWANTED: Final = frames.comment("who opened this may not follow it any more, as far as can be told")

CONCURRENT_CHECKS: Final = 8
"""Maximum number of concurrent authorization checks for open streams."""

GRACE: Final = 1.0
"""Seconds that streams have to end on request; those whose clients receive nothing are then cut off."""


class Room:
    """Limits of streams, with the number of streams of each caller.

    Args:
        most: maximum number of streams.
        most_of_one: maximum number of streams of one caller; 0 for no limit.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken = 0
        self._taken_by: Counter[str | None] = Counter()

    def take(self, caller: str | None) -> None:
        """Count a stream, for a caller or for none in particular."""
        self._taken += 1
        self._taken_by[caller] += 1

    def give_back(self, caller: str | None) -> None:
        """Undo ``take``, and drop callers without streams."""
        self._taken -= 1
        self._taken_by[caller] -= 1
        if not self._taken_by[caller]:
            del self._taken_by[caller]

    def refusal(self, caller: str | None) -> Response | None:
        """Return the response for a caller at a limit; None if another stream is allowed."""
        if caller is not None and 0 < self._most_of_one <= self._taken_by[caller]:
            which = f"{self._most_of_one} streams of this caller are open, which is the limit"
            return _refusal(429, f"{which}; end one, or try again in a while")
        if self._taken >= self._most:
            return _refusal(503, f"{self._most} streams are open, which is the limit; try again in a while")
        return None


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status, {"retry-after": str(RETRY_AFTER)})


class Streams:
    """The open streams of one application.

    Args:
        clock: the clock of all streams.
        room: the limits.
        keep_alive: seconds after which an idle stream sends a comment.
        tick: seconds between checks of what is due by time.
    """

    def __init__(self, clock: Clock, room: Room, *, keep_alive: float, tick: float = 1.0) -> None:
        self.clock = clock
        self.keep_alive = keep_alive
        self._room = room
        self._tick = tick
        self._open: dict[EventStream, None] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._all_left: asyncio.Future[None] | None = None
        self._closed = False
        self._groups: dict[Authorized, _Group] = {}
        self._asking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return the number of open streams."""
        return len(self._open)

    def refusal(self, caller: str | None) -> Response | None:
        """Return the response for a caller that may not open a stream now; None if it may."""
        return self.stopping() if self._closed else self._room.refusal(caller)

    def stopping(self) -> Response:
        """Return the response for a new stream during shutdown."""
        return _refusal(503, "The server is stopping; try again in a while")

    def enter(self, stream: EventStream) -> None:
        """Register a stream."""
        self._open[stream] = None
        self._room.take(stream.caller)
        if stream.is_authorized is not None:
            group = self._groups.setdefault(stream.is_authorized, _Group(self.clock.monotonic()))
            group.streams[stream] = None
        if self._ticking is None:
            self._ticking = asyncio.ensure_future(self._go_on_ticking())

    async def leave(self, stream: EventStream) -> None:
        """Unregister a stream."""
        del self._open[stream]
        self._room.give_back(stream.caller)
        if stream.is_authorized is not None and (group := self._groups.get(stream.is_authorized)) is not None:
            group.streams.pop(stream, None)
            if not group.streams:
                del self._groups[stream.is_authorized]
        if self._open:
            return
        if self._all_left is not None and not self._all_left.done():
            self._all_left.set_result(None)
        ticking, self._ticking = self._ticking, None
        asking, self._asking = self._asking, None
        for task in (ticking, asking):
            if task is not None:
                await end(task)

    async def close(self) -> None:
        """End all streams, cutting off clients that do not receive; clients reconnect later."""
        self._closed = True
        for stream in list(self._open):
            stream.finish()
        await self._until_all_left(GRACE)
        for stream in list(self._open):
            stream.cut()
        await self._until_all_left(GRACE)

    async def _until_all_left(self, seconds: float) -> None:
        if self._open:
            self._all_left = asyncio.get_running_loop().create_future()
            await wait(self.clock, self._all_left, seconds)

    async def _go_on_ticking(self) -> None:
        while True:
            await self.clock.sleep(self._tick)
            now = self.clock.monotonic()
            for stream in list(self._open):
                stream.tick(now)
            if self._asking is None or self._asking.done():
                due = [check for check, group in self._groups.items() if now >= group.at + self.keep_alive]
                if due:
                    self._asking = asyncio.ensure_future(self._ask(due))

    async def _ask(self, due: list[Authorized]) -> None:
        """Run authorization checks, a few at a time, so that a slow one does not delay the others."""
        waiting = iter(due)
        async with asyncio.TaskGroup() as asking:
            for _ in range(CONCURRENT_CHECKS):
                asking.create_task(self._ask_in_turn(waiting))

    async def _ask_in_turn(self, waiting: Iterator[Authorized]) -> None:
        """Run each check once for all streams that share it, and end them if it fails."""
        for check in waiting:
            group = self._groups.get(check)
            if group is None:
                continue  # the check's last stream ended meanwhile
            group.at = self.clock.monotonic()
            try:
                good = await check()
            except Exception:  # noqa: BLE001 - an authenticator may raise anything; its streams end
                get_logger().exception("stream_caller_unknown")
                good = False
            for stream in () if good else list(group.streams):
                stream.finish(UNWANTED)


@dataclass
class _Group:
    """Streams that share one authorization check.

    Attributes:
        at: when the check last ran; initially, when the first stream was opened.
    """

    at: float
    streams: dict[EventStream, None] = field(default_factory=dict["EventStream", None])


class EventStream(Response):
    """A response that streams the events of a source.

    Args:
        streams: the application's open streams.
        source: the source of events; started and ended by the stream.
        timeout: seconds after which the stream ends.
        farewell: the last bytes after the timeout.
        spread: 0 to 1, the position in the range ``RECONNECT_DELAYS`` at which the client reconnects.
        is_authorized: returns whether the caller is still authorized; equal checks run once for all their
            streams.
        caller: the caller's id, for the limit per caller; None for no caller.
    """

    def __init__(
        self,
        streams: Streams,
        source: Source,
        *,
        timeout: float,
        farewell: bytes = b"",
        spread: float = 0.5,
        is_authorized: Authorized | None = None,
        caller: str | None = None,
    ) -> None:
        super().__init__(headers=frames.HEADERS)
        del self.headers["content-length"]
        self._streams = streams
        self._source = source
        self.is_authorized = is_authorized
        self.caller = caller
        self._timeout = timeout
        self._farewell = farewell
        soonest, latest = RECONNECT_DELAYS
        self._comes_back = soonest + spread * (latest - soonest)
        self._leash: asyncio.Timeout | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._last: bytes | None = None
        self._sending_since: float | None = None
        self._sent_at = self._ends_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the source's events until it ends, the timeout passes, or the client disconnects.

        For HEAD, which frameworks route to GET handlers too, send only the headers.
        """
        if scope["method"] == "HEAD":
            await self._source.end()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if (refusal := self._streams.refusal(self.caller)) is not None:
            await refusal(scope, receive, send)
            return
        try:
            self._source.begin(self.wake)
        except StorageUnavailableError:
            await self._streams.stopping()(scope, receive, send)
            return
        self._streams.enter(self)
        leaving = asyncio.ensure_future(_until_gone(receive))
        leaving.add_done_callback(lambda _: self.cut())
        leash = self._leash = asyncio.timeout(None)
        try:
            async with leash:
                await self._send_all(send)
        except TimeoutError:
            if not leash.expired():
                raise
        finally:
            self._leash = None
            # The task may be cancelled again at each await below, and must unregister the stream anyway.
            try:
                await end(leaving)
            finally:
                try:
                    await self._source.end()
                finally:
                    await self._streams.leave(self)

    def wake(self) -> None:
        """Wake the stream, since there may be something to send."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self, last: bytes = STOPPING) -> None:
        """End the stream with last bytes, after the current send completes."""
        self._last = last
        self.wake()

    def cut(self) -> None:
        """End the stream at once."""
        leash, self._leash = self._leash, None
        if leash is not None:
            leash.reschedule(0.0)

    def tick(self, now: float) -> None:
        """Send what is due by time: a keep-alive comment, or the end of the stream."""
        if self._sending_since is not None:
            if now - self._sending_since >= SEND_TIMEOUT:
                self.cut()
        elif self._source.waits or now >= min(self._ends_at, self._sent_at + self._streams.keep_alive):
            self.wake()

    async def _send_all(self, send: Send) -> None:
        clock = self._streams.clock
        self._sent_at = clock.monotonic()
        self._ends_at = self._sent_at + self._timeout
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send(send, frames.retry(self._comes_back))
        while self._last is None and clock.monotonic() < self._ends_at:
            self._woken = False
            piece = await self._source.take()
            if piece is None:
                await self._send(send, b"", more=False)
                return
            if piece:
                await self._send(send, piece)
            elif clock.monotonic() >= self._sent_at + self._streams.keep_alive:
                await self._send(send, frames.KEEP_ALIVE)
            else:
                await self._wait()
        await self._send(send, self._farewell if self._last is None else self._last, more=False)

    async def _send(self, send: Send, piece: bytes, *, more: bool = True) -> None:
        """Send bytes; this blocks while the client receives nothing and buffers are full."""
        message: Message = {"type": "http.response.body", "body": piece, "more_body": more}
        self._sending_since = self._streams.clock.monotonic()
        await send(message)
        self._sending_since, self._sent_at = None, self._streams.clock.monotonic()

    async def _wait(self) -> None:
        if not self._woken:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
