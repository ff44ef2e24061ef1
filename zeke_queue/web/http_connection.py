"""A connection of the server, with a deadline for each step of its client.

uvicorn waits without limit for the rest of a header or a body, and for a client that does not read. Here each
of these waits has a deadline, after which the connection is closed; a client that has begun a request gets
408 first. A response takes as long as the application needs, so a live stream is not limited.
"""

from __future__ import annotations

import enum
import json
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from zeke_queue.web.errors import RETRY_AFTER

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

PART_MAX: Final = 16_384
"""Bytes that are parsed at once; asyncio reads 256 KiB, which in chunks of one byte, or as headers, would
block the event loop for 0.2 s."""

BODY_RATE: Final = 4096
"""Bytes of a body that give it one second more to arrive."""

LINGER_TIMEOUT: Final = 5.0
"""Seconds without bytes after which a connection that discards the rest of a body is closed. Its request is
answered already; if it were closed at once, a client that still sends would lose the answer."""

LINGER_MAX: Final = 30.0
"""Maximum seconds for which the rest of a body is discarded, however it arrives."""

READ_TIMEOUT: Final = 60.0
"""Seconds in which a client must have read some of a response that waits for it, or it is disconnected."""

STOPPING: Final = "The server is stopping; retry later"
CROWDED: Final = "The server has too many connections; retry later"

STALL_SECONDS: Final = 5.0
"""Seconds without reading after which a connection may be closed for another one.

A client counts too that reads so slowly that its kernel takes no further bytes in that time.
"""


class Phase(enum.Enum):
    """What a connection waits for."""

    IDLE = "the next request"
    HEADER = "the header"
    BODY = "the body"
    RESPONSE = "the application"
    LINGER = "the rest of a body that is not needed"
    CLOSING = "the end"


EVICTABLE: Final = frozenset({Phase.IDLE, Phase.HEADER, Phase.BODY, Phase.LINGER})
"""Phases in which a connection carries no whole request, so that it may be closed for another one."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a client has: for a request's header, for a small body, and until the next request."""

    header: float
    body: float
    idle: float


class _Lingering:
    """A transport whose ``close`` is another function; otherwise the transport itself."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class HttpConnection(H11Protocol):
    """uvicorn's connection with deadlines.

    Args:
        deadlines: those of the client.
        on_change: called with the connection after a change of its phase and after its end.
        on_late: called with what a client took too long for, before it is disconnected.
    """

    def __init__(
        self,
        *given: Any,
        deadlines: Deadlines,
        on_change: Callable[[HttpConnection], None],
        on_late: Callable[[str], None],
        **options: Any,
    ) -> None:
        super().__init__(*given, **options)
        self.phase = Phase.HEADER
        self.is_open = False
        self.is_stalled = False
        self._deadlines = deadlines
        self._on_change = on_change
        self._on_late = on_late
        self._request: object = None
        self._since = self._heard = 0.0
        self._body_bytes = 0
        self._is_ending = self._is_stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first request."""
        self._wire = transport
        with suppress(AttributeError):  # of other event loops
            cast("Any", transport).max_size = PART_MAX
        super().connection_made(cast("Any", _Lingering(transport, self._close_or_linger)))
        self.is_open = True
        self._enter(Phase.HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        super().connection_lost(exc)
        self.is_open = False
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        self._on_change(self)

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        self._body_bytes += len(data)
        self._heard = self.loop.time()
        if not self._is_ending:
            super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Begin to wait for what follows a response."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # phases have deadlines of their own
        self._follow()

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """End the wait for a client that reads again."""
        super().resume_writing()
        if self._unread is not None and self.phase is not Phase.CLOSING:
            self._unread.cancel()
            self._unread = None
            self._stall(0.0)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, unless its request is answered already, and close the connection."""
        self._close(400, msg)

    def shutdown(self) -> None:
        """End the connection when the server stops, after its request, if a whole one has come."""
        self._is_stopping = True
        if self.is_stalled:
            self.abort()
        elif self.phase is Phase.BODY:
            self._close(503, STOPPING)
        elif self.phase is Phase.LINGER:
            self._close(503, None)
        else:
            super().shutdown()

    def abort(self) -> None:
        """Close the connection without sending what is buffered; a part of a request gets 503 first."""
        if self._has_begun() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(503, CROWDED)
            self._disconnect()
        self.transport.abort()

    @property
    def is_evictable(self) -> bool:
        """Whether it may be closed for another one: no whole request has come, or no answer is read."""
        return self.phase in EVICTABLE or self.is_stalled

    def _expect_reading(self, waited: float = 0.0) -> None:
        """Wait for a client to read what is buffered, for as long as it reads."""
        if self._unread is None:
            self._unread = self.loop.call_later(STALL_SECONDS, self._on_unread, self._buffered(), waited)

    def _on_unread(self, before: int, waited: float) -> None:
        self._unread = None
        waited = 0.0 if self._buffered() < before else waited + STALL_SECONDS
        if waited >= READ_TIMEOUT:
            self._on_late("reading")
            self.abort()
        else:
            self._stall(waited)
            self._expect_reading(waited)

    def _stall(self, waited: float) -> None:
        """Record whether the client has stopped reading."""
        if self.is_stalled != (waited > 0):
            self.is_stalled = waited > 0
            self._on_change(self)

    def _buffered(self) -> int:
        return self.transport.get_write_buffer_size()

    def _follow(self) -> None:
        """Enter the phase that follows from the connection's state."""
        phase = self._reached()
        if phase is not self.phase or self.cycle is not self._request:
            self._enter(phase)

    def _reached(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self._is_ending:
            return Phase.LINGER
        cycle = cast("Any", self.cycle)
        if cycle is None:
            return Phase.HEADER
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.LINGER if cycle.response_complete else Phase.BODY
        if not cycle.response_complete:
            return Phase.RESPONSE
        return Phase.HEADER if self.conn.trailing_data[0] else Phase.IDLE

    def _enter(self, phase: Phase) -> None:
        self.phase, self._request = phase, self.cycle
        self._since = self._heard = self.loop.time()
        self._body_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
        seconds = {
            Phase.IDLE: self._deadlines.idle,
            Phase.HEADER: self._deadlines.header,
            Phase.BODY: self._deadlines.body,
            Phase.LINGER: LINGER_TIMEOUT,
        }.get(phase)
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._on_deadline)
        if phase is Phase.CLOSING:
            self._expect_reading()
        self._on_change(self)

    def _on_deadline(self) -> None:
        if self.phase in (Phase.BODY, Phase.LINGER) and (more := self._time_left()) > 0:
            self._timer = self.loop.call_later(more, self._on_deadline)
        else:
            self._end()

    def _time_left(self) -> float:
        """Return for how many seconds more the body, or the rest of it, may arrive."""
        if self.phase is Phase.LINGER:
            return min(self._heard + LINGER_TIMEOUT, self._since + LINGER_MAX) - self.loop.time()
        # If the application does not read it, or has not asked for it, it is not the client that is late.
        if self.flow.read_paused or cast("Any", self.cycle).waiting_for_100_continue:
            self._since = self.loop.time()
        allowed = self._deadlines.body + self._body_bytes / BODY_RATE
        return self._since + allowed - self.loop.time()

    def _end(self) -> None:
        """Close the connection, after telling a client that was in the middle of a request."""
        message = None
        if self._has_begun():
            what, seconds, more = "header", self._deadlines.header, ""
            if self.phase is Phase.BODY:
                what, seconds, more = "body", self._deadlines.body, f", plus 1 s for each {BODY_RATE} bytes"
            message = f"{what}: must arrive within {seconds:g} s{more}; send it at once"
            self._on_late(what)
        self._close(408, message)

    def _has_begun(self) -> bool:
        """Return whether a part of a request has come."""
        return self.phase is Phase.BODY or (self.phase is Phase.HEADER and bool(self.conn.trailing_data[0]))

    def _close(self, status: int, message: str | None) -> None:
        """Close the connection, after an error response if the request has none yet."""
        if message is not None and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(status, message)
        self._disconnect()
        self.transport.close()
        self._enter(self._reached())

    def _disconnect(self) -> None:
        """End the application's part in a request."""
        cycle = cast("Any", self.cycle)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _close_or_linger(self) -> None:
        """Close the connection; while its client sends a body, end the answers and drop the rest first."""
        lingers = self.conn.their_state is h11.SEND_BODY and self.phase is not Phase.LINGER
        if not lingers or self._is_stopping or self._wire.is_closing():
            self._wire.close()
        elif not self._is_ending:
            self._is_ending = True
            self.flow.resume_reading()
            try:
                self._wire.write_eof()
            except OSError:  # the client has reset the connection
                self._wire.close()

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(body)).encode()))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", RETRY_AFTER.encode()))
        response = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        has_body = self.conn.our_state is h11.IDLE or self.scope["method"] != "HEAD"
        for event in (response, h11.Data(data=body if has_body else b""), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
