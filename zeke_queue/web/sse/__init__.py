"""Live status: streams of server-sent events, which share their reads of the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.errors import JobNotFoundError
from zeke_queue.web.sse import frames
from zeke_queue.web.sse.sources import Feed, JobEvents, ServerEvent
from zeke_queue.web.sse.stream import EventStream, Room, Streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from uuid import UUID

    from starlette.responses import Response

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.sse.sources import Shown

__all__ = ["EventStreams", "ServerEvent"]

_TIMED_OUT: Final = frames.event("timeout", frames.json_text({"message": "Stream timeout"}))


class EventStreams:
    """The streams of an application. It starts with the first stream and needs no lifespan.

    Args:
        queue: an open queue, whose jobs are streamed.
        showing: converts stored values to what callers may see.
        timeout: seconds after which a stream ends and its client has to reconnect.
        keep_alive: seconds after which an idle stream sends a comment.
        most: maximum number of streams in this process.
        most_of_one: maximum number of streams of one caller; 0 for no limit.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        showing: Shown,
        timeout: float = 300.0,
        keep_alive: float = 15.0,
        most: int = 5000,
        most_of_one: int = 0,
    ) -> None:
        self._queue = queue
        self._showing = showing
        self._timeout = timeout
        tick = min(1.0, timeout / 10, keep_alive / 10)
        room = Room(most, most_of_one)
        self._streams = Streams(queue.clock, room, keep_alive=keep_alive, tick=tick)

    @property
    def open_streams(self) -> int:
        """Number of open streams."""
        return len(self._streams)

    async def open(
        self,
        job_id: UUID,
        last_event_id: str | None = None,
        *,
        is_authorized: Callable[[], Awaitable[bool]] | None = None,
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
        if (refusal := self._streams.refusal(caller)) is not None:
            return refusal
        watchers = self._queue.watchers
        job = await watchers.get(job_id)
        if job is None:
            raise JobNotFoundError(f"No job has the id {job_id}: it never existed, or was purged")
        source = JobEvents(watchers, self._showing, job, frames.decode_event_id(job_id, last_event_id))
        # Ids end in random bits, so clients of many jobs reconnect at different times.
        spread = job_id.int % 1000 / 1000
        return EventStream(
            self._streams,
            source,
            timeout=self._timeout,
            farewell=_TIMED_OUT,
            spread=spread,
            is_authorized=is_authorized,
            caller=caller,
        )

    def stream(
        self,
        events: AsyncGenerator[ServerEvent],
        *,
        is_authorized: Callable[[], Awaitable[bool]] | None = None,
        caller: str | None = None,
    ) -> Response:
        """Return a stream of events from a generator, with keep-alive, timeout and limits as for ``open``.

        The generator is resumed after the client has received the last event, and closed at the end. After
        the timeout the stream ends without a final event, and browsers reconnect. ``is_authorized`` and
        ``caller`` are as for ``open``.
        """
        if (refusal := self._streams.refusal(caller)) is not None:
            return refusal
        return EventStream(
            self._streams, Feed(events), timeout=self._timeout, is_authorized=is_authorized, caller=caller
        )

    async def close(self) -> None:
        """End all streams and refuse new ones; clients reconnect to another server."""
        await self._streams.close()
