"""A watched job and its subscriptions, each with the updates that its reader has not taken yet.

A reader takes updates when it is ready for them. A subscription keeps the last status and the ``seq`` of the
last event, and no queue: a slow reader skips statuses, and its events wait in the storage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from zeke_queue.core.event_limits import EVENTS_AT_ONCE
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import FINAL, RowState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent, JobStatus
    from zeke_queue.system.clock import Clock
    from zeke_queue.watch.batched_reader import BatchedReader

POLL_INTERVALS: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Seconds between polls of a job without notifications; the last value repeats."""

EARLY_SHARE: Final = 0.25
"""The share of its pause by which a poll may be early, in order to share a query."""

OUTAGE_TIMEOUT: Final = 60.0
"""Seconds of a storage outage after which subscribers get an error."""


@dataclass(slots=True, eq=False)
class Subscription:
    """The updates of one job for one reader: its status, its progress and its log lines, in order.

    Attributes:
        seq: the ``seq`` of the last event taken; at first of the last that the reader knows.
        ended: whether the final status was taken; there is nothing to take after it.
        stalled: whether the storage did not return the events. Nothing wakes the reader when it does, so the
            reader has to take again after a while.
    """

    _job_id: UUID
    _reader: BatchedReader
    _clock: Clock
    _wake: Callable[[], None]
    _leave: Callable[[Subscription], None]
    seq: int = 0
    ended: bool = field(default=False, init=False)
    stalled: bool = field(default=False, init=False)
    _job: Job | None = field(default=None, init=False)
    _status: JobStatus | None = field(default=None, init=False)
    _attempt: int = field(default=0, init=False)
    _unread: bool = field(default=False, init=False)
    _error: Exception | None = field(default=None, init=False)
    _failing_since: float = field(default=math.inf, init=False)

    def take_status(self) -> Job | None:
        """Return the job if its status is another than that taken last, else None.

        Raises:
            JobNotFoundError: the job does not exist, or was deleted.
            StorageUnavailableError: the storage has been unavailable for a minute, or the queue was closed.
        """
        job, self._job = self._job, None
        if job is not None:
            before, self._status, self._attempt = self._status, job.status, job.attempt
            self.ended = job.row_state in FINAL
            if job.status is not before:
                return job
        if self._error is not None and not self.ended:
            raise self._error
        return None

    async def take(self, limit: int = EVENTS_AT_ONCE) -> Sequence[Job | JobEvent]:
        """Return the next updates, if there are any; never wait for a change.

        A status is returned alone. The first one is returned at once unless it is final; any other follows
        the events of the attempts before it. Events are returned by ``seq``, at most ``limit``, after the
        status of their attempt. The storage is read only if there may be new events.

        Raises:
            JobNotFoundError, StorageUnavailableError: as for ``take_status``.
        """
        self.stalled = False
        while not self.ended:
            if self._status_is_next() and (job := self.take_status()) is not None:
                return (job,)
            if not self._unread:
                break
            events, more = await self._read()
            ready = events[: self._count_ready(events)][:limit]
            if ready:
                self._unread |= more or len(events) > len(ready)
                self.seq = ready[-1].seq
                return ready
            if self.stalled:
                break
            if events and self._job is not None:
                self._unread = True  # they follow the status
                if (job := self.take_status()) is not None:
                    return (job,)
        return ()

    def close(self) -> None:
        """End the subscription."""
        self._leave(self)

    def notify(self, job: Job, *, is_news: bool) -> None:
        """Deliver the last state of the job; a change of its status is an update, and so are events."""
        may_have_events = job.attempt > 0
        if is_news or may_have_events:
            self._job = job
            self._unread |= may_have_events
            self._wake()

    def fail(self, error: Exception) -> None:
        """Deliver a final error."""
        self._error = error
        self._wake()

    def _status_is_next(self) -> bool:
        """Return whether no unread event has to be taken before the status or the error."""
        if not self._unread or self._error is not None:
            return True
        job = self._job
        # The events before an attempt were taken before the job waited for it.
        return job is not None and (
            job.row_state is RowState.ACTIVE or (self._status is None and job.row_state not in FINAL)
        )

    async def _read(self) -> tuple[Sequence[JobEvent], bool]:
        """Return the events after ``seq``, and whether there may be more; none while there is an outage."""
        self._unread = False
        try:
            found = await self._reader.events(self._job_id, self.seq)
        except StorageUnavailableError:
            now = self._clock.monotonic()
            self._failing_since = min(now, self._failing_since)
            if self._reader.closed or now - self._failing_since >= OUTAGE_TIMEOUT:
                raise
            self._unread = self.stalled = True
            return (), False
        self._failing_since = math.inf
        return found

    def _count_ready(self, events: Sequence[JobEvent]) -> int:
        """Return how many events come before the next status, which may have changed during the read.

        Events of an attempt that the job is not known to have begun wait until its state is read.
        """
        job, attempt = self._job, self._attempt
        if job is not None:
            attempt = job.attempt - 1 if job.row_state is RowState.ACTIVE else job.attempt
        return next((n for n, event in enumerate(events) if event.attempt > attempt), len(events))


@dataclass(slots=True, eq=False)
class WatchedJob:
    """A watched job: its last state, its subscriptions, and when to poll it next.

    Attributes:
        away_since: when the outage of the storage began, if there is one; this and ``poll_at`` are on the
            watcher's clock.
        unchanged: how many reads in a row showed nothing new.
        poll_at: when the next poll is due.
        leeway: by how many seconds it may be early.
    """

    subscriptions: dict[Subscription, None] = field(default_factory=dict["Subscription", None])
    latest: Job | None = None
    away_since: float = math.inf
    unchanged: int = 0
    poll_at: float = math.inf
    leeway: float = 0.0

    def is_news(self, job: Job) -> bool:
        """Record a read of the job; return True if its status changed.

        A read that shows an earlier stage than the one before (a lagging replica) is ignored.
        """
        latest = self.latest
        if latest is not None and _stage(job) < _stage(latest):
            return False
        self.latest = job
        return latest is None or latest.status is not job.status

    def plan(self, now: float, *, is_news: bool) -> None:
        """Set when to poll next, after an answered read."""
        self.unchanged = 0 if is_news else self.unchanged + 1
        pause = POLL_INTERVALS[min(self.unchanged, len(POLL_INTERVALS) - 1)]
        self.poll_at, self.leeway = now + pause, EARLY_SHARE * pause
        self.away_since = math.inf

    def notify(self, *, is_news: bool) -> None:
        """Deliver the last state to all subscriptions."""
        if self.latest is not None:
            for subscription in list(self.subscriptions):
                subscription.notify(self.latest, is_news=is_news)

    def fail(self, error: Exception) -> None:
        """Deliver a final error to every subscription."""
        for subscription in list(self.subscriptions):
            subscription.fail(error)


def was_closed(job_id: UUID) -> StorageUnavailableError:
    """Return the error for subscribers of a queue that was closed."""
    return StorageUnavailableError(f"Job {job_id} is no longer watched: the queue was closed")


def _stage(job: Job) -> tuple[int, int]:
    """Return how far a job is in its life; the value only grows until the job has ended."""
    if job.row_state in FINAL:
        return job.attempt, 2
    return job.attempt, 0 if job.row_state is RowState.ACTIVE else 1
