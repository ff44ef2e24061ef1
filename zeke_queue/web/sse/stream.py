"""A stream of server-sent events as an ASGI response, with exactly two tasks.

The request's task reads from the source, sends, and waits; the second task waits for the client to
disconnect. The source is read only after the client has received the previous events, so a slow client uses
no memory and does not delay others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from starlette.responses import Response

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.system.waiting import Waiter, end
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from zeke_queue.web.sse.endpoint import EventStreams

Authorized = Callable[[], Awaitable[bool]]

RECONNECT_DELAYS: Final = (1.0, 3.0)
"""Range of seconds after which browsers reconnect to a stream that has ended; each stream draws its own, so
that the clients of a restarted server do not reconnect all at once."""

SEND_TIMEOUT: Final = 60.0
"""Seconds for which a client may receive nothing of what is sent before it is disconnected."""


class Source(Protocol):
    """A source of events for one stream."""

    @property
    def stalled(self) -> bool:
        """Whether a read failed, so that the stream should call ``take`` again later."""
        ...

    def begin(self, wake: Callable[[], None]) -> None:
        """Start watching, and call ``wake`` whenever there may be new events."""
        ...

    async def take(self) -> bytes | None:
        """Return the next events to send; ``b""`` if there are none, None at the end."""
        ...

    async def close(self) -> None:
        """Release all resources; allowed before ``begin`` too."""
        ...


class EventStream(Response):
    """A response that streams the events of a source.

    Args:
        streams: all streams of the application.
        source: the source of events; started and closed by the stream.
        timeout: seconds after which the stream ends.
        on_timeout: the last bytes after the timeout.
        spread: 0 to 1, the position in the range ``RECONNECT_DELAYS`` at which the client reconnects.
        is_authorized: returns whether the caller is still authorized; equal ones are called once for all.
        caller: the caller's id, for the limit per caller; None for no caller.
    """

    def __init__(
        self,
        streams: EventStreams,
        source: Source,
        *,
        timeout: float,
        on_timeout: bytes = b"",
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
        self._on_timeout = on_timeout
        soonest, latest = RECONNECT_DELAYS
        self._reconnect_delay = soonest + spread * (latest - soonest)
        self._sending: asyncio.Timeout | None = None
        self._waiter = Waiter()
        self._last: bytes | None = None
        self._blocked_since: float | None = None
        self._sent_at = self._ends_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the source's events until it ends, the timeout passes, or the client disconnects.

        For HEAD, which frameworks route to GET handlers too, send only the headers.
        """
        if scope["method"] == "HEAD":
            await self._source.close()
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
        self._streams.register(self)
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        disconnect.add_done_callback(lambda _: self.abort())
        sending = self._sending = asyncio.timeout(None)
        try:
            async with sending:
                await self._send_all(send)
        except TimeoutError:
            if not sending.expired():
                raise
        finally:
            self._sending = None
            # The task may be cancelled again at each await below, and must release the stream anyway.
            try:
                await end(disconnect)
            finally:
                try:
                    await self._source.close()
                finally:
                    await self._streams.release(self)

    def wake(self) -> None:
        """Wake the stream, since there may be something to send."""
        self._waiter.notify()

    def finish(self, last: bytes) -> None:
        """End the stream with last bytes, after the current send completes."""
        self._last = last
        self.wake()

    def abort(self) -> None:
        """End the stream at once."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.reschedule(0.0)

    def tick(self, now: float) -> None:
        """Send what is due by time: a keep-alive comment, or the end of the stream."""
        if self._blocked_since is not None:
            if now - self._blocked_since >= SEND_TIMEOUT:
                self.abort()
        elif self._source.stalled or now >= min(self._ends_at, self._sent_at + self._streams.keep_alive):
            self.wake()

    async def _send_all(self, send: Send) -> None:
        clock = self._streams.clock
        self._sent_at = clock.monotonic()
        self._ends_at = self._sent_at + self._timeout
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send(send, frames.retry(self._reconnect_delay))
        while self._last is None and clock.monotonic() < self._ends_at:
            self._waiter.clear()
            events = await self._source.take()
            if events is None:
                await self._send(send, b"", more=False)
                return
            if events:
                await self._send(send, events)
            elif clock.monotonic() >= self._sent_at + self._streams.keep_alive:
                await self._send(send, frames.KEEP_ALIVE)
            else:
                await self._waiter.wait()
        await self._send(send, self._on_timeout if self._last is None else self._last, more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Send bytes; this blocks while the client receives nothing and buffers are full."""
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        self._blocked_since = self._streams.clock.monotonic()
        await send(message)
        self._blocked_since, self._sent_at = None, self._streams.clock.monotonic()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
