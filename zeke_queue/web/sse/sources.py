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
from zeke_queue.model import FINAL
from zeke_queue.system.waiting import end
from zeke_queue.watch.subscription import Subscription
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zeke_queue.model import Job, JobEvent
    from zeke_queue.watch.job_watcher import JobWatcher
    from zeke_queue.web.sse.frames import Seen

LINES_AT_ONCE: Final = 100
"""Maximum number of unsent lines that are kept for a stream."""


class Source(Protocol):
    """A source of events for one stream.

    Attributes:
        waits: whether a read failed, so that the stream should call ``take`` again later.
    """

    waits: bool

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

    For a slow client, intermediate changes are skipped, and lines are read again from the storage when the
    client is ready for them.

    Args:
        watchers: notifies of changes.
        shown: converts values to what the caller may see.
        job: the job as just read.
        seen: the client's knowledge; None for a new client.
    """

    def __init__(self, watchers: JobWatcher, shown: Shown, job: Job, seen: Seen | None) -> None:
        self._watchers = watchers
        self._shown = shown
        self._job = job
        self._told = seen
        self._seq = 0 if seen is None else seen.seq
        self._follower: Subscription | None = None
        self._over = False
        self.waits = False

    def begin(self, wake: Callable[[], None]) -> None:
        """Start watching the job unless it has ended."""
        if self._job.state in FINAL:
            self._follower = Subscription(wake, lambda: None, every=False)
            self._follower.tell(self._job, lines=self._job.attempt > 0)
        else:
            self._follower = self._watchers.follow(self._job.id, wake, known=self._job)

    async def take(self) -> bytes | None:
        """Return the next events: a status before the lines of its attempt, a final one after all lines."""
        subscription = self._follower
        if self._over or subscription is None:
            return None
        self.waits = False
        news = subscription.peek()
        if news is not None and news.state not in FINAL:
            subscription.take()
            if status := self._status(news):
                return status
        while subscription.lines and not self.waits:
            if lines := await self._lines(subscription):
                return lines
        if self.waits and not subscription.failed:
            return b""
        return self._end(subscription)

    async def end(self) -> None:
        """Stop watching the job."""
        if self._follower is not None:
            self._follower.leave()

    def _end(self, subscription: Subscription) -> bytes:
        """Return the last events if the job has ended or is gone, else ``b""``."""
        if (news := subscription.peek()) is not None and news.state not in FINAL:
            return b""  # a change came while lines were read, and its wake-up is still pending
        try:
            job = subscription.take()
        except JobNotFoundError:
            self._over = True
            return frames.event("error", frames.json_text({"error": "Job not found"}))
        except StorageUnavailableError:
            self._over = True
            return frames.comment("the storage is away; come back")
        if job is None:
            return b""
        self._over = True
        return self._status(job) + frames.event("close", "complete")

    def _status(self, job: Job) -> bytes:
        """Return the event of a status; ``b""`` if the client knows it."""
        told, self._job = self._told, job
        self._told = frames.Seen(job.attempt, job.status, self._seq)
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

    async def _lines(self, subscription: Subscription) -> bytes:
        """Return the events of the next lines; ``b""`` if there are none or the storage is unavailable."""
        subscription.lines = False
        try:
            lines, more = await self._watchers.lines(self._job.id, self._seq)
        except StorageUnavailableError:
            subscription.lines = self.waits = True
            return b""
        subscription.lines |= more or len(lines) > LINES_AT_ONCE
        return b"".join(map(self._line, lines[:LINES_AT_ONCE]))

    def _line(self, line: JobEvent) -> bytes:
        self._seq = line.seq
        said = self._shown.event(self._job.name, line)
        if said is None:
            return b""
        known = self._told or frames.Seen(line.attempt, self._job.status, 0)
        data = {"attempt": line.attempt, "at": line.at and iso(line.at), **_said(line, said)}
        seen = frames.encode_event_id(self._job.id, known._replace(seq=line.seq))
        return frames.event(line.kind, frames.json_text(data), seen)


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
        self.waits = False

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
