"""Live status: streams of server-sent events, one path to the storage for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.errors import JobNotFoundError
from zeke_queue.web.sse import frames
from zeke_queue.web.sse.sources import Feed, JobSource, ServerEvent
from zeke_queue.web.sse.stream import EventStream, Room, Streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from uuid import UUID

    from starlette.responses import Response

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.sse.sources import Shown

__all__ = ["Live", "ServerEvent"]

_TIMED_OUT: Final = frames.event("timeout", frames.json_text({"message": "Stream timeout"}))


class Live:
    """The streams of an application. It starts with the first one, and needs no lifespan.

    Args:
        queue: open; whose jobs are followed.
        showing: what is shown of them.
        timeout: seconds after which a stream ends, and its client has to open it again.
        keep_alive: seconds after which a stream on which nothing was sent says that it is there.
        most: streams at once in this process.
        most_of_one: of one caller; 0 for any number.
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
        """How many streams are open."""
        return len(self._streams)

    async def open(
        self,
        job_id: UUID,
        last_event_id: str | None = None,
        *,
        still: Callable[[], Awaitable[bool]] | None = None,
        caller: str | None = None,
    ) -> Response:
        """Return the stream of a job, to be sent as the answer; until then it holds nothing.

        Args:
            job_id: the job.
            last_event_id: the id of the last event that the client has; the stream goes on behind it. One
                that is not an id of this job's streams counts as none.
            still: whether who opens it may still follow it. It is asked after each ``keep_alive``, once for
                all streams whose ``still`` are equal, and they end when it is so no more; None to ask never.
            caller: the id of who opens it, by which the streams of one caller are counted.

        Returns:
            The stream; or, if as many as may be are open, an answer that says when to come back: 429 if they
            are the caller's, else 503.

        Raises:
            JobNotFoundError: there is no such job.
            StorageUnavailableError: the storage has no answer now.
        """
        if (refusal := self._streams.refusal(caller)) is not None:
            return refusal
        watchers = self._queue.watchers
        job = await watchers.look(job_id)
        if job is None:
            raise JobNotFoundError(f"No job has the id {job_id}: it never existed, or was purged")
        source = JobSource(watchers, self._showing, job, frames.unseal(job_id, last_event_id))
        # Ids end in bits that were drawn, so the streams of many jobs come back at different times.
        spread = job_id.int % 1000 / 1000
        return EventStream(
            self._streams,
            source,
            timeout=self._timeout,
            farewell=_TIMED_OUT,
            spread=spread,
            still=still,
            caller=caller,
        )

    def stream(
        self,
        events: AsyncGenerator[ServerEvent],
        *,
        still: Callable[[], Awaitable[bool]] | None = None,
        caller: str | None = None,
    ) -> Response:
        """Return a stream of any events, with the same care: kept alive, ended with its client or server.

        The generator is asked for the next one when the client has taken the last one, and closed at the
        end. After the time-out the stream ends without a word; browsers come back by themselves. ``still``
        and ``caller`` are as for ``open``.
        """
        if (refusal := self._streams.refusal(caller)) is not None:
            return refusal
        return EventStream(self._streams, Feed(events), timeout=self._timeout, still=still, caller=caller)

    async def close(self) -> None:
        """End all streams, and open none any more; whoever follows a job comes back to another server."""
        await self._streams.close()
