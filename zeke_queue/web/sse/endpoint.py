"""The event streams of an application: they are opened, limited, kept alive and ended here.

One task for all streams triggers timed events: keep-alive comments, the end of a stream, and the
check of whether a caller is still authorized.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobNotFoundError, StorageUnavailableError
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import end, first, start_detached
from zeke_queue.web.sse import frames
from zeke_queue.web.sse.job_events import JobEvents
from zeke_queue.web.sse.page_events import PageEvents
from zeke_queue.web.sse.stream import Authorized, EventStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from uuid import UUID

    from starlette.types import Receive, Scope, Send

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.presenter import Presenter
    from zeke_queue.web.sse.page_events import ServerEvent
    from zeke_queue.web.sse.stream import Source

RETRY_AFTER: Final = 5
"""Seconds after which a client that was refused for a limit may retry."""

CONCURRENT_CHECKS: Final = 8
"""Maximum number of concurrent authorization checks for open streams."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that streams have to end on request; those whose clients receive nothing are then aborted."""

_TIMED_OUT: Final = frames.event("timeout", '{"message":"Stream timeout"}')
_STOPPING: Final = frames.comment("the server is stopping; reconnect")
_UNAUTHORIZED: Final = frames.comment("the caller is no longer authorized")


class EventStreams:
    """All event streams of an application. It starts with the first stream and needs no lifespan.

    Args:
        queue: an open queue, whose jobs are streamed.
        presenter: converts stored values to what callers may see.
        timeout: seconds after which a stream ends and its client has to reconnect.
        keep_alive: seconds after which an idle stream sends a comment.
        max_streams: maximum number of streams in this process.
        max_per_caller: maximum number of streams of one caller; 0 for no limit.
    """

    def __init__(
        self,
        queue: Queue,
        presenter: Presenter,
        *,
        timeout: float = 300.0,
        keep_alive: float = 15.0,
        max_streams: int = 5000,
        max_per_caller: int = 0,
    ) -> None:
        self._clock = queue.clock
        self._keep_alive = keep_alive
        self._queue = queue
        self._presenter = presenter
        self._stream = partial(EventStream, clock=queue.clock, timeout=timeout, keep_alive=keep_alive)
        self._tick = min(1.0, timeout / 10, keep_alive / 10)
        self._max_streams = max_streams
        self._max_per_caller = max_per_caller
        self._open: dict[EventStream, None] = {}
        self._per_caller: Counter[str | None] = Counter()
        self._checks: dict[Authorized, _Check] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._none_open = asyncio.Event()
        self._closed = False

    @property
    def open_streams(self) -> int:
        """Number of open streams."""
        return len(self._open)

    async def open(
        self,
        job_id: UUID,
        last_event_id: str | None = None,
        *,
        is_authorized: Authorized | None = None,
        caller: str | None = None,
    ) -> Response:
        """Return the stream of a job as a response, which holds no resources until it is sent.

        Args:
            last_event_id: the id of the client's last event, after which the stream continues. An id that is
                not of this job's streams is ignored.
            is_authorized: returns whether the caller is still authorized. It is called every ``keep_alive``
                seconds, once for all streams with an equal one, and they end when it returns False; None for
                no check.
            caller: the caller's id, by which its streams are counted.

        Returns:
            The stream; 204, at which browsers stop reconnecting, if the client has seen the end of a stream
            and the job has not changed since; or, if the limit is reached, a response with Retry-After: 429
            for the caller's limit, 503 for the process's.

        Raises:
            JobNotFoundError: the job does not exist.
            StorageUnavailableError: the storage is unavailable.
        """
        if (refusal := self.refusal(caller)) is not None:
            return refusal
        watcher = parts_of(self._queue).watcher
        if (job := await watcher.get(job_id)) is None:
            raise JobNotFoundError.of(job_id)
        seen = frames.decode_event_id(job_id, last_event_id)
        if seen is not None and seen.closed and seen.is_current(job):
            return Response(status_code=204)
        source = JobEvents(watcher, self._presenter, job, seen)
        # Ids end in random bits, so clients of many jobs reconnect at different times.
        stream = self._stream(source, on_timeout=_TIMED_OUT, spread=job_id.int % 1000 / 1000)
        return _StreamResponse(self, source, stream, is_authorized, caller)

    def stream(
        self,
        events: AsyncGenerator[ServerEvent],
        *,
        is_authorized: Authorized | None = None,
        caller: str | None = None,
    ) -> Response:
        """Return a stream of events from a generator, with keep-alive, timeout and limits as for ``open``.

        The generator is resumed after the client has received the last event, and closed at the end. After
        the timeout the stream ends without a final event, and browsers reconnect. ``is_authorized`` and
        ``caller`` are as for ``open``.
        """
        if (refusal := self.refusal(caller)) is not None:
            return refusal
        source = PageEvents(events)
        return _StreamResponse(self, source, self._stream(source), is_authorized, caller)

    async def close(self) -> None:
        """End all streams and refuse new ones; clients reconnect to another server."""
        self._closed = True
        for stream in list(self._open):
            stream.finish(_STOPPING)
        await self._wait_until_none_is_open()
        for stream in list(self._open):
            stream.abort()
        await self._wait_until_none_is_open()

    def refusal(self, caller: str | None) -> Response | None:
        """Return the response for a caller that may not open a stream now; None if it may."""
        if self._closed:
            return _stopping()
        if caller is not None and 0 < self._max_per_caller <= self._per_caller[caller]:
            limit = f"{self._max_per_caller} streams of this caller are open, which is the limit"
            return _refusal(429, f"{limit}; end one, or retry later")
        if len(self._open) >= self._max_streams:
            limit = f"{self._max_streams} streams are open, which is the limit"
            return _refusal(503, f"{limit}; retry later")
        return None

    @asynccontextmanager
    async def registered(
        self, stream: EventStream, is_authorized: Authorized | None, caller: str | None
    ) -> AsyncGenerator[None]:
        """Count a stream and serve it by time, until the end of the block."""
        self._open[stream] = None
        self._per_caller[caller] += 1
        if is_authorized is not None:
            check = self._checks.setdefault(is_authorized, _Check(self._clock.monotonic()))
            check.streams[stream] = None
        if self._ticking is None:
            self._none_open.clear()
            self._ticking = start_detached(self._run())
        try:
            yield
        finally:
            del self._open[stream]
            self._per_caller[caller] -= 1
            if not self._per_caller[caller]:
                del self._per_caller[caller]
            if is_authorized is not None and (check := self._checks.get(is_authorized)) is not None:
                check.streams.pop(stream, None)
                if not check.streams:
                    del self._checks[is_authorized]
            if not self._open:
                self._none_open.set()
                tasks = [task for task in (self._ticking, self._checking) if task is not None]
                self._ticking = self._checking = None
                await end(*tasks)

    async def _wait_until_none_is_open(self) -> None:
        if self._open:
            await first(self._none_open.wait(), self._clock.sleep(CLOSE_TIMEOUT))

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._tick)
            now = self._clock.monotonic()
            for stream in list(self._open):
                stream.tick(now)
            if self._checking is None or self._checking.done():
                due = [one for one, check in self._checks.items() if now >= check.at + self._keep_alive]
                if due:
                    self._checking = asyncio.ensure_future(self._check_all(due))

    async def _check_all(self, due: list[Authorized]) -> None:
        """Run authorization checks, a few at a time, so that a slow one does not delay the others."""
        waiting = iter(due)
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT_CHECKS):
                group.create_task(self._check_in_turn(waiting))

    async def _check_in_turn(self, waiting: Iterator[Authorized]) -> None:
        """Run each check once for all streams that share it, and end them if it fails."""
        for is_authorized in waiting:
            check = self._checks.get(is_authorized)
            if check is None:
                continue  # the check's last stream ended meanwhile
            check.at = self._clock.monotonic()
            try:
                passed = await is_authorized()
            except Exception:  # noqa: BLE001 - an authenticator may raise anything; its streams end
                get_logger().exception("stream_caller_unknown")
                passed = False
            for stream in () if passed else list(check.streams):
                stream.finish(_UNAUTHORIZED)


class _StreamResponse(Response):
    """The response of a stream, which subscribes and is counted when it is sent."""

    def __init__(
        self,
        streams: EventStreams,
        source: Source,
        stream: EventStream,
        is_authorized: Authorized | None,
        caller: str | None,
    ) -> None:
        super().__init__(headers=frames.HEADERS)
        del self.headers["content-length"]
        self._streams = streams
        self._source = source
        self._stream = stream
        self._is_authorized = is_authorized
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; for HEAD, which frameworks route to GET handlers too, only the headers."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await self._source.close()
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        if (refusal := self._streams.refusal(self._caller)) is not None:
            await refusal(scope, receive, send)
            return
        try:
            self._source.begin(self._stream.wake)
        except StorageUnavailableError:
            await _stopping()(scope, receive, send)
            return
        # The task may be cancelled again at each await of the end, and must release the stream anyway.
        async with self._streams.registered(self._stream, self._is_authorized, self._caller):
            try:
                await self._stream.run(start, receive, send)
            finally:
                await self._source.close()


class _Check:
    """Streams that share one authorization check, and when it last ran; at first, when it was added."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.streams: dict[EventStream, None] = {}


def _stopping() -> Response:
    return _refusal(503, "The server is stopping; retry later")


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status, {"retry-after": str(RETRY_AFTER)})
