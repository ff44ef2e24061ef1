"""The event streams of an application: they are opened, limited, kept alive and ended here.

One task for all streams triggers what is due by time: keep-alive comments, the end of a stream, and the
check of whether a caller is still authorized.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobNotFoundError
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import end, first
from zeke_queue.web.sse import frames
from zeke_queue.web.sse.job_events import JobEvents
from zeke_queue.web.sse.page_events import PageEvents
from zeke_queue.web.sse.stream import Authorized, EventStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.presenter import Showing
    from zeke_queue.web.sse.page_events import ServerEvent

RETRY_AFTER: Final = 5
"""Seconds after which a client that was refused for a limit may retry."""

CONCURRENT_CHECKS: Final = 8
"""Maximum number of concurrent authorization checks for open streams."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that streams have to end on request; those whose clients receive nothing are then aborted."""

_TIMED_OUT: Final = frames.event("timeout", frames.json_text({"message": "Stream timeout"}))
_STOPPING: Final = frames.comment("the server is stopping; reconnect")
_UNAUTHORIZED: Final = frames.comment("the caller is not authorized any more, as far as is known")


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
        presenter: Showing,
        *,
        timeout: float = 300.0,
        keep_alive: float = 15.0,
        max_streams: int = 5000,
        max_per_caller: int = 0,
    ) -> None:
        self.clock = queue.clock
        self.keep_alive = keep_alive
        self._queue = queue
        self._presenter = presenter
        self._timeout = timeout
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
            job_id: the job.
            last_event_id: the id of the client's last event, after which the stream continues. An id that is
                not of this job's streams is ignored.
            is_authorized: returns whether the caller is still authorized. It is called every ``keep_alive``
                seconds, once for all streams with an equal one, and they end when it returns False; None for
                no check.
            caller: the caller's id, by which its streams are counted.

        Returns:
            The stream; or, if the limit is reached, a response with Retry-After: 429 for the caller's limit,
            503 for the process's.

        Raises:
            JobNotFoundError: the job does not exist.
            StorageUnavailableError: the storage is unavailable.
        """
        if (refusal := self.refusal(caller)) is not None:
            return refusal
        watcher = parts_of(self._queue).watcher
        if (job := await watcher.get(job_id)) is None:
            raise JobNotFoundError.of(job_id)
        source = JobEvents(watcher, self._presenter, job, frames.decode_event_id(job_id, last_event_id))
        return EventStream(
            self,
            source,
            timeout=self._timeout,
            on_timeout=_TIMED_OUT,
            # Ids end in random bits, so clients of many jobs reconnect at different times.
            spread=job_id.int % 1000 / 1000,
            is_authorized=is_authorized,
            caller=caller,
        )

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
        return EventStream(self, source, timeout=self._timeout, is_authorized=is_authorized, caller=caller)

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
            return self.stopping()
        if caller is not None and 0 < self._max_per_caller <= self._per_caller[caller]:
            which = f"{self._max_per_caller} streams of this caller are open, which is the limit"
            return _refusal(429, f"{which}; end one, or try again in a while")
        if len(self._open) >= self._max_streams:
            which = f"{self._max_streams} streams are open, which is the limit"
            return _refusal(503, f"{which}; try again in a while")
        return None

    def stopping(self) -> Response:
        """Return the response for a new stream during shutdown."""
        return _refusal(503, "The server is stopping; try again in a while")

    def register(self, stream: EventStream) -> None:
        """Count a stream, and serve it by time."""
        self._open[stream] = None
        self._per_caller[stream.caller] += 1
        if stream.is_authorized is not None:
            check = self._checks.setdefault(stream.is_authorized, _Check(self.clock.monotonic()))
            check.streams[stream] = None
        if self._ticking is None:
            self._none_open.clear()
            self._ticking = asyncio.ensure_future(self._run())

    async def release(self, stream: EventStream) -> None:
        """Undo ``register``; drop what only this stream needed."""
        del self._open[stream]
        self._per_caller[stream.caller] -= 1
        if not self._per_caller[stream.caller]:
            del self._per_caller[stream.caller]
        if stream.is_authorized is not None and (check := self._checks.get(stream.is_authorized)) is not None:
            check.streams.pop(stream, None)
            if not check.streams:
                del self._checks[stream.is_authorized]
        if self._open:
            return
        self._none_open.set()
        tasks = [task for task in (self._ticking, self._checking) if task is not None]
        self._ticking = self._checking = None
        await end(*tasks)

    async def _wait_until_none_is_open(self) -> None:
        if self._open:
            await first(self._none_open.wait(), self.clock.sleep(CLOSE_TIMEOUT))

    async def _run(self) -> None:
        while True:
            await self.clock.sleep(self._tick)
            now = self.clock.monotonic()
            for stream in list(self._open):
                stream.tick(now)
            if self._checking is None or self._checking.done():
                due = [one for one, check in self._checks.items() if now >= check.at + self.keep_alive]
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
            check.at = self.clock.monotonic()
            try:
                passed = await is_authorized()
            except Exception:  # noqa: BLE001 - an authenticator may raise anything; its streams end
                get_logger().exception("stream_caller_unknown")
                passed = False
            for stream in () if passed else list(check.streams):
                stream.finish(_UNAUTHORIZED)


class _Check:
    """Streams that share one authorization check, and when it last ran; at first, when it was added."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.streams: dict[EventStream, None] = {}


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status, {"retry-after": str(RETRY_AFTER)})
