"""The events of a job, from its subscription.

A stream begins with the job's status. The last status, which has the output, follows the lines of the
attempt, and the dashboard of the earlier system loses an event of which a read returns only a part. So a
final status is announced, by an event of its own, before the lines of a job that has ended, and before a
large output. The announcement has the output, too, unless it is large: some clients stop at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zeke_queue.api_client.model import LogLine, Progress, StatusChange
from zeke_queue.errors import JobNotFoundError, StorageUnavailableError
from zeke_queue.model import FINAL, JobEvent
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_queue.api_client.model import Update
    from zeke_queue.model import Job, JobStatus
    from zeke_queue.watch.job_watcher import JobWatcher
    from zeke_queue.watch.subscription import Subscription
    from zeke_queue.web.presenter import Presenter
    from zeke_queue.web.sse.frames import Seen

EVENTS_AT_ONCE: Final = 100
"""Maximum number of unsent events that are kept for a stream."""

WHOLE_BYTES: Final = 16 * 1024
"""Bytes of events that a client receives in one piece: a record of TLS, or a frame of HTTP/2. A larger output
follows its announcement."""


class JobEvents:
    """A source of a job's status changes, progress and log lines, until the job has ended.

    Args:
        presenter: hides the parts of values that the caller may not see.
        job: the job as just read.
        seen: the client's knowledge; None for a new client.
    """

    def __init__(self, watcher: JobWatcher, presenter: Presenter, job: Job, seen: Seen | None) -> None:
        self._watcher = watcher
        self._presenter = presenter
        self._job = job
        self._seen = seen
        self._told: JobStatus | None = None
        self._follows = b""
        self._subscription: Subscription | None = None

    @property
    def stalled(self) -> bool:
        """Whether the storage did not return the job's events."""
        return self._subscription is not None and self._subscription.stalled

    def begin(self, wake: Callable[[], None]) -> None:
        """Subscribe to the job."""
        after = 0 if self._seen is None else self._seen.seq
        self._subscription = self._watcher.subscribe(self._job.id, wake, after=after, known=self._job)

    async def take(self) -> bytes | None:
        """Return the next events, ``b""`` if there are none, None after the last; never wait for a change."""
        events, self._follows = self._follows, b""
        subscription = self._subscription
        if events or subscription is None:
            return events or None
        try:
            while news := await subscription.take(EVENTS_AT_ONCE):
                told = self._told
                first = self._announcement() if isinstance(news[0], JobEvent) and self._is_unknown() else b""
                events = b"".join(
                    self._line(one) if isinstance(one, JobEvent) else self._status(one) for one in news
                )
                if subscription.ended:
                    if len(events) > WHOLE_BYTES and told is not self._job.status:
                        first = self._announcement()
                    events += self._end()
                    await self.close()
                if first:
                    self._follows = events
                    return first
                if events:
                    return events
        except JobNotFoundError:
            await self.close()
            return frames.event("error", '{"error":"Job not found"}')
        except StorageUnavailableError:
            await self.close()
            return frames.comment("the storage is unavailable; reconnect")
        return b""

    async def close(self) -> None:
        """End the subscription."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _is_unknown(self) -> bool:
        """Return whether no event has had the status so far, to the client's knowledge."""
        return self._told is None and not self._knows(self._job)

    def _knows(self, job: Job) -> bool:
        return self._seen is not None and self._seen.is_current(job)

    def _announcement(self) -> bytes:
        """Return the event of a status that is sent again later, without an output that is large.

        It has no id, so a stream that is lost here announces it again.
        """
        job = self._job
        self._told = job.status
        follows = {"output_follows": True} if job.row_state in FINAL else {}
        whole = frames.event("status", _json(_status_of(job, **self._outcome(job), **follows)))
        if len(whole) <= WHOLE_BYTES:
            return whole
        return frames.event("status", _json(_status_of(job, **follows)))

    def _outcome(self, job: Job) -> dict[str, Any]:
        """Return what only the status of an ended job has."""
        if job.row_state not in FINAL:
            return {}
        return {"output": self._presenter.output(job), "completed_on": job.completed_on}

    def _end(self) -> bytes:
        seen = (self._seen or frames.Seen.of(self._job))._replace(closed=True)
        return frames.event("close", "complete", frames.encode_event_id(self._job.id, seen))

    def _status(self, job: Job) -> bytes:
        """Return the event of a status; ``b""`` if the client knows it."""
        is_known, self._job = self._knows(job), job
        seq = 0 if self._subscription is None else self._subscription.seq
        self._seen = frames.Seen.of(job, seq)
        if is_known:
            return b""
        self._told = job.status
        status = _json(_status_of(job, **self._outcome(job)))
        return frames.event("status", status, frames.encode_event_id(job.id, self._seen))

    def _line(self, event: JobEvent) -> bytes:
        """Return progress or a log line; ``b""`` if the caller may not see it."""
        content = self._presenter.event(self._job.name, event)
        if content is None:
            return b""
        seen = self._seen or frames.Seen(event.attempt, None, 0)
        event_id = frames.encode_event_id(self._job.id, seen._replace(seq=event.seq))
        return frames.event(event.kind, _json(_update(event, content)), event_id)


def _status_of(job: Job, **end: Any) -> StatusChange:
    return StatusChange(id=job.id, status=job.status, task_id=job.name, **end)


def _update(event: JobEvent, content: dict[str, Any]) -> Update:
    """Return an event as clients know it, with a log line's other fields separate.

    Another program may have stored the content, so it is passed on without validation.
    """
    known: dict[str, Any] = {"attempt": event.attempt, "at": event.at, "message": content.get("message")}
    if event.kind == "progress":
        return Progress.model_construct(value=content.get("value"), **known)
    fields = {name: value for name, value in content.items() if name not in ("level", "message")}
    return LogLine.model_construct(level=content.get("level"), fields=fields, **known)


def _json(update: Update) -> str:
    return update.model_dump_json(by_alias=True, exclude_unset=True, warnings=False)
