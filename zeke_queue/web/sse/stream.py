"""A stream of server-sent events over ASGI, with exactly two tasks.

The request's task reads from the source, sends, and waits; the second task waits for the client to
disconnect. The source is read only after the client has received the previous events, so a slow client uses
no memory and does not delay others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from zeke_queue.system.waiting import Waiter, end
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

    from zeke_queue.system.clock import Clock
    from zeke_queue.web.sse.job_events import JobEvents
    from zeke_queue.web.sse.page_events import PageEvents

    Source = JobEvents | PageEvents
    """The sources of a stream's events. ``stalled`` asks the stream to call ``take`` again later."""

Authorized = Callable[[], Awaitable[bool]]

RECONNECT_DELAYS: Final = (1.0, 3.0)
"""Range of seconds after which browsers reconnect to a stream that has ended; each stream draws its own, so
that the clients of a restarted server do not reconnect all at once."""

SEND_TIMEOUT: Final = 60.0
"""Seconds without progress in sending after which a client is disconnected."""


class EventStream:
    """Sends the events of a source to one client.

    Args:
        source: the source of events, which has begun; the caller closes it.
        timeout: seconds after which the stream ends.
        keep_alive: seconds after which an idle stream sends a comment.
        on_timeout: the last bytes after the timeout.
        spread: 0 to 1, the position in the range ``RECONNECT_DELAYS`` at which the client reconnects.
    """

    def __init__(
        self,
        source: Source,
        *,
        clock: Clock,
        timeout: float,
        keep_alive: float,
        on_timeout: bytes = b"",
        spread: float = 0.5,
    ) -> None:
        self._source = source
        self._clock = clock
        self._timeout = timeout
        self._keep_alive = keep_alive
        self._on_timeout = on_timeout
        soonest, latest = RECONNECT_DELAYS
        self._reconnect_delay = soonest + spread * (latest - soonest)
        self._sending: asyncio.Timeout | None = None
        self._waiter = Waiter()
        self._last: bytes | None = None
        self._blocked_since: float | None = None
        self._sent_at = self._ends_at = 0.0

    async def run(self, start: Message, receive: Receive, send: Send) -> None:
        """Send the response until the source ends, the timeout passes, or the client disconnects.

        Args:
            start: the message with status and headers.
        """
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        disconnect.add_done_callback(lambda _: self.abort())
        sending = self._sending = asyncio.timeout(None)
        try:
            async with sending:
                await self._send_all(start, send)
        except TimeoutError:
            if not sending.expired():
                raise
        finally:
            self._sending = None
            await end(disconnect)

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
        """Send a timed event: a keep-alive comment, or the end of the stream."""
        if self._blocked_since is not None:
            if now - self._blocked_since >= SEND_TIMEOUT:
                self.abort()
        elif self._source.stalled or now >= min(self._ends_at, self._sent_at + self._keep_alive):
            self.wake()

    async def _send_all(self, start: Message, send: Send) -> None:
        self._sent_at = self._clock.monotonic()
        self._ends_at = self._sent_at + self._timeout
        await send(start)
        await self._send(send, frames.retry(self._reconnect_delay))
        while self._last is None and self._clock.monotonic() < self._ends_at:
            self._waiter.clear()
            events = await self._source.take()
            if events is None:
                await self._send(send, b"", more=False)
                return
            if events:
                await self._send(send, events)
            elif self._clock.monotonic() >= self._sent_at + self._keep_alive:
                await self._send(send, frames.KEEP_ALIVE)
            else:
                await self._waiter.wait()
        await self._send(send, self._on_timeout if self._last is None else self._last, more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Send bytes; this blocks while the client receives nothing and buffers are full."""
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        self._blocked_since = self._clock.monotonic()
        await send(message)
        self._blocked_since, self._sent_at = None, self._clock.monotonic()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
