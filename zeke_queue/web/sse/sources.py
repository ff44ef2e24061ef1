"""Where a stream's events come from: a job that is followed, or any iterator of events.

A stream asks its source when its client has taken what was sent before, so a source keeps what is news, not
what would have to be sent.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from zeke_queue.errors import JobNotFoundError, StorageUnavailableError
from zeke_queue.model import FINAL
from zeke_queue.system.waiting import end
from zeke_queue.watch.subscription import Follower
from zeke_queue.web.shapes import iso
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zeke_queue.model import Job, JobEvent
    from zeke_queue.watch.job_watcher import Watchers
    from zeke_queue.web.sse.frames import Seen

LINES_AT_ONCE: Final = 100
"""Lines that are kept for one stream at most, until they are sent."""


class Source(Protocol):
    """Events for one stream.

    Attributes:
        waits: whether it could not get at something, and wants to be asked again in a while.
    """

    waits: bool

    def begin(self, wake: Callable[[], None]) -> None:
        """Begin to wait for news, and call ``wake`` whenever there may be some."""
        ...

    async def take(self) -> bytes | None:
        """Return what is to be sent next; nothing (``b""``) if there is no news, None if it was the end."""
        ...

    async def end(self) -> None:
        """Leave nothing behind; also if it has not begun."""
        ...


class Shown(Protocol):
    """What callers are shown of jobs; each task has rules of its own for that."""

    def output(self, job: Job) -> Any:
        """Return the output as it is shown."""
        ...

    def event(self, name: str, event: JobEvent) -> Any:
        """Return what progress or a log line of a queue's job says, as it is shown; None to leave it out."""
        ...


class JobSource:
    """The status of a job as it changes, with its progress and log lines, until it has ended.

    Of a client that is slow, changes in between are passed over, and lines are read again from the storage
    when it has time for them.

    Args:
        watchers: tell of changes.
        shown: what is shown of them.
        job: the job as it was a moment ago.
        seen: what the client knows already; None for one that knows nothing.
    """

    def __init__(self, watchers: Watchers, shown: Shown, job: Job, seen: Seen | None) -> None:
        self._watchers = watchers
        self._shown = shown
        self._job = job
        self._told = seen
        self._seq = 0 if seen is None else seen.seq
        self._follower: Follower | None = None
        self._over = False
        self.waits = False

    def begin(self, wake: Callable[[], None]) -> None:
        """Follow the job, unless it has ended already."""
        if self._job.state in FINAL:
            self._follower = Follower(wake, lambda: None, every=False)
            self._follower.tell(self._job, lines=self._job.attempt > 0)
        else:
            self._follower = self._watchers.follow(self._job.id, wake, known=self._job)

    async def take(self) -> bytes | None:
        """Return the next events: a status before the lines of its attempt, a final one after all lines."""
        follower = self._follower
        if self._over or follower is None:
            return None
        self.waits = False
        news = follower.peek()
        if news is not None and news.state not in FINAL:
            follower.take()
            if status := self._status(news):
                return status
        while follower.lines and not self.waits:
            if lines := await self._lines(follower):
                return lines
        if self.waits and not follower.failed:
            return b""
        return self._end(follower)

    async def end(self) -> None:
        """Follow it no more."""
        if self._follower is not None:
            self._follower.leave()

    def _end(self, follower: Follower) -> bytes:
        """Return the last events if the job has ended or is gone, nothing else."""
        if (news := follower.peek()) is not None and news.state not in FINAL:
            return b""  # it came while lines were read, and its waking is not forgotten
        try:
            job = follower.take()
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
        """Return the event of a status; nothing if the client knows it."""
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
        return frames.event("status", frames.json_text(said), frames.seal(job.id, self._told))

    async def _lines(self, follower: Follower) -> bytes:
        """Return the events of the next lines; nothing if there are none, or the storage is away."""
        follower.lines = False
        try:
            lines, more = await self._watchers.lines(self._job.id, self._seq)
        except StorageUnavailableError:
            follower.lines = self.waits = True
            return b""
        follower.lines |= more or len(lines) > LINES_AT_ONCE
        return b"".join(map(self._line, lines[:LINES_AT_ONCE]))

    def _line(self, line: JobEvent) -> bytes:
        self._seq = line.seq
        said = self._shown.event(self._job.name, line)
        if said is None:
            return b""
        known = self._told or frames.Seen(line.attempt, self._job.status, 0)
        data = {"attempt": line.attempt, "at": line.at and iso(line.at), **_said(line, said)}
        seen = frames.seal(self._job.id, known._replace(seq=line.seq))
        return frames.event(line.kind, frames.json_text(data), seen)


def _said(line: JobEvent, said: dict[str, Any]) -> dict[str, Any]:
    """Return what a line says in the shape that clients know: what a log line has besides goes apart."""
    if line.kind == "progress":
        return {"value": said.get("value"), "message": said.get("message")}
    fields = {name: value for name, value in said.items() if name not in ("level", "message")}
    return {"level": said.get("level"), "message": said.get("message"), "fields": fields}


class ServerEvent(NamedTuple):
    """An event of an iterator's."""

    event: str
    data: str
    id: str | None = None


class Feed:
    """Events of an iterator, which is asked for the next one when the client has taken the last.

    Args:
        events: closed at the end, wherever it is then.
    """

    def __init__(self, events: AsyncGenerator[ServerEvent]) -> None:
        self._events = events
        self._feeding: asyncio.Task[None] | None = None
        self._next: bytes = b""
        self._taken = asyncio.Event()
        self.waits = False

    def begin(self, wake: Callable[[], None]) -> None:
        """Begin to ask."""
        self._feeding = asyncio.ensure_future(self._feed(wake))
        self._feeding.add_done_callback(lambda _: wake())

    async def take(self) -> bytes | None:
        """Return the event that has come."""
        if self._next:
            piece, self._next = self._next, b""
            self._taken.set()
            return piece
        if self._feeding is None or not self._feeding.done():
            return b""
        self._feeding.result()  # what went wrong in the iterator is the stream's
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
