"""Sources of a stream's events: a watched job, or any iterator of events.

A stream reads from its source only after the client has received the previous events, so a source stores the
latest state, not a backlog of events.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from zeke_queue.api_client.model import iso
from zeke_queue.errors import JobNotFoundError, StorageUnavailableError
from zeke_queue.model import FINAL, JobEvent
from zeke_queue.system.waiting import end
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zeke_queue.model import Job
    from zeke_queue.watch.job_watcher import JobWatcher
    from zeke_queue.watch.subscription import Subscription
    from zeke_queue.web.sse.frames import Seen

EVENTS_AT_ONCE: Final = 100
"""Maximum number of unsent events that are kept for a stream."""


class Source(Protocol):
    """A source of events for one stream."""

    @property
    def waits(self) -> bool:
        """Whether a read failed, so that the stream should call ``take`` again later."""
        ...

    def begin(self, wake: Callable[[], None]) -> None:
        """Start watching, and call ``wake`` whenever there may be new events."""
        ...

    async def take(self) -> bytes | None:
        """Return the next events to send; ``b""`` if there are none, None at the end."""
        ...

    async def end(self) -> None:
        """Release all resources; allowed before ``begin`` too."""
        ...


class Shown(Protocol):
    """Converts jobs to what callers may see, by the rules of each task."""

    def output(self, job: Job) -> Any:
        """Return the output without hidden values."""
        ...

    def event(self, name: str, event: JobEvent) -> Any:
        """Return the content of a progress or log line without hidden values; None to omit it."""
        ...


class JobEvents:
    """A source of a job's status changes, progress and log lines, until the job has ended.

    Args:
        watcher: provides the news.
        shown: converts values to what the caller may see.
        job: the job as just read.
        seen: the client's knowledge; None for a new client.
    """

    def __init__(self, watcher: JobWatcher, shown: Shown, job: Job, seen: Seen | None) -> None:
        self._watcher = watcher
        self._shown = shown
        self._job = job
        self._told = seen
        self._subscription: Subscription | None = None
        self._over = False

    @property
    def waits(self) -> bool:
        """Whether the storage did not return the job's events."""
        return self._subscription is not None and self._subscription.stalled

    def begin(self, wake: Callable[[], None]) -> None:
        """Start watching the job."""
        after = 0 if self._told is None else self._told.seq
        self._subscription = self._watcher.subscribe(self._job.id, wake, after=after, known=self._job)

    async def take(self) -> bytes | None:
        """Return the next events: each status, and what happened between them."""
        subscription = self._subscription
        if self._over or subscription is None:
            return None
        try:
            while news := await subscription.take(EVENTS_AT_ONCE):
                events = b"".join(map(self._event, news))
                if subscription.ended:
                    self._over = True
                    return events + frames.event("close", "complete")
                if events:
                    return events
        except JobNotFoundError:
            self._over = True
            return frames.event("error", frames.json_text({"error": "Job not found"}))
        except StorageUnavailableError:
            self._over = True
            return frames.comment("the storage is away; come back")
        return b""

    async def end(self) -> None:
        """Stop watching the job."""
        if self._subscription is not None:
            self._subscription.close()

    def _event(self, news: Job | JobEvent) -> bytes:
        return self._line(news) if isinstance(news, JobEvent) else self._status(news)

    def _status(self, job: Job) -> bytes:
        """Return the event of a status; ``b""`` if the client knows it."""
        told, self._job = self._told, job
        seq = 0 if self._subscription is None else self._subscription.seq
        self._told = frames.Seen(job.attempt, job.status, seq)
        ended = job.state in FINAL
        if told is not None and told.status is job.status and (not ended or told.attempt == job.attempt):
            return b""
        said = {"id": str(job.id), "status": job.status.value, "taskId": job.name}
        if ended:
            said |= {
                "output": self._shown.output(job),
                "completedOn": job.completed_on and iso(job.completed_on),
            }
        return frames.event("status", frames.json_text(said), frames.encode_event_id(job.id, self._told))

    def _line(self, event: JobEvent) -> bytes:
        """Return progress or a log line; ``b""`` if the caller may not see it."""
        said = self._shown.event(self._job.name, event)
        if said is None:
            return b""
        known = self._told or frames.Seen(event.attempt, self._job.status, 0)
        data = {"attempt": event.attempt, "at": event.at and iso(event.at), **_said(event, said)}
        seen = frames.encode_event_id(self._job.id, known._replace(seq=event.seq))
        return frames.event(event.kind, frames.json_text(data), seen)


def _said(line: JobEvent, said: dict[str, Any]) -> dict[str, Any]:
    """Return a line's content in the shape for clients, with a log line's other fields separate."""
    if line.kind == "progress":
        return {"value": said.get("value"), "message": said.get("message")}
    fields = {name: value for name, value in said.items() if name not in ("level", "message")}
    return {"level": said.get("level"), "message": said.get("message"), "fields": fields}


class ServerEvent(NamedTuple):
    """An event of an iterator."""

    event: str
    data: str
    id: str | None = None


class Feed:
    """A source of events from an iterator, which is resumed after the client has received the last event.

    Args:
        events: the iterator, which is closed at the end.
    """

    def __init__(self, events: AsyncGenerator[ServerEvent]) -> None:
        self._events = events
        self._feeding: asyncio.Task[None] | None = None
        self._next: bytes = b""
        self._taken = asyncio.Event()

    @property
    def waits(self) -> bool:
        """False: it has no reads that fail and are repeated."""
        return False

    def begin(self, wake: Callable[[], None]) -> None:
        """Start reading from the iterator."""
        self._feeding = asyncio.ensure_future(self._feed(wake))
        self._feeding.add_done_callback(lambda _: wake())

    async def take(self) -> bytes | None:
        """Return the next event; ``b""`` if it is not available yet, None at the end."""
        if self._next:
            piece, self._next = self._next, b""
            self._taken.set()
            return piece
        if self._feeding is None or not self._feeding.done():
            return b""
        self._feeding.result()  # raises the iterator's error in the stream
        return None

    async def end(self) -> None:
        """Close the iterator."""
        if self._feeding is not None:
            await end(self._feeding)
        await self._events.aclose()

    async def _feed(self, wake: Callable[[], None]) -> None:
        async with aclosing(self._events) as events:
            async for one in events:
                self._taken.clear()
                self._next = frames.event(one.event, one.data, one.id)
                wake()
                await self._taken.wait()
