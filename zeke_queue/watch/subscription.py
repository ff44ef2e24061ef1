"""A watched job and its subscriptions, each with the updates that its reader has not taken yet.

A reader takes updates when it is ready for them. A subscription keeps the last status and the ``seq`` of the
last event, and no queue: a slow reader skips statuses, and its events wait in the storage.
"""

from __future__ import annotations

import math
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

OUTAGE_TIMEOUT: Final = 60.0
"""Seconds of a storage outage after which subscribers get an error."""


class Subscription:
    """The updates of one job for one reader: its status, its progress and its log lines, in order.

    Args:
        job_id: the job.
        reader: reads the job's events.
        clock: times outages.
        wake: called when there is something to take; must only wake the reader.
        leave: called to end the subscription.
        after: the ``seq`` of the last event that the reader knows.

    Attributes:
        seq: the ``seq`` of the last event taken.
        ended: whether the final status was taken; there is nothing to take after it.
        stalled: whether the storage did not return the events. Nothing wakes the reader when it does, so the
            reader has to take again after a while.
    """

    __slots__ = (
        "_attempt",
        "_clock",
        "_error",
        "_failing_since",
        "_job",
        "_job_id",
        "_leave",
        "_reader",
        "_status",
        "_unread",
        "_wake",
        "ended",
        "seq",
        "stalled",
    )

    def __init__(
        self,
        job_id: UUID,
        reader: BatchedReader,
        clock: Clock,
        *,
        wake: Callable[[], None],
        leave: Callable[[Subscription], None],
        after: int = 0,
    ) -> None:
        self._job_id = job_id
        self._reader = reader
        self._clock = clock
        self._wake = wake
        self._leave = leave
        self._job: Job | None = None
        self._status: JobStatus | None = None
        self._attempt = 0
        self._unread = False
        self._error: Exception | None = None
        self._failing_since: float | None = None
        self.seq = after
        self.ended = False
        self.stalled = False

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
            self._failing_since = now if self._failing_since is None else self._failing_since
            if self._reader.closed or now - self._failing_since >= OUTAGE_TIMEOUT:
                raise
            self._unread = self.stalled = True
            return (), False
        self._failing_since = None
        return found

    def _count_ready(self, events: Sequence[JobEvent]) -> int:
        """Return how many events come before the next status, which may have changed during the read.

        Events of an attempt that the job is not known to have begun wait until its state is read.
        """
        job, attempt = self._job, self._attempt
        if job is not None:
            attempt = job.attempt - 1 if job.row_state is RowState.ACTIVE else job.attempt
        return next((n for n, event in enumerate(events) if event.attempt > attempt), len(events))


class WatchedJob:
    """A watched job: its last state, its subscriptions, and when to poll it next.

    Attributes:
        unchanged: how many reads in a row showed nothing new.
        poll_at: when the next poll is due, on the watcher's clock.
        leeway: by how many seconds it may be early.
    """

    __slots__ = ("away_since", "latest", "leeway", "poll_at", "subscriptions", "unchanged")

    def __init__(self) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self.latest: Job | None = None
        self.away_since: float | None = None
        self.unchanged = 0
        self.poll_at = math.inf
        self.leeway = 0.0

    def is_news(self, job: Job) -> bool:
        """Record a read of the job; return True if its status changed.

        A read that shows an earlier stage than the one before (a lagging replica) is ignored.
        """
        latest = self.latest
        if latest is not None and _stage(job) < _stage(latest):
            return False
        self.latest = job
        return latest is None or latest.status is not job.status

    def plan(self, now: float, unchanged: int, pauses: Sequence[float], early: float) -> None:
        """Set when to read next, after an answered read.

        Args:
            now: the time.
            unchanged: how many reads in a row showed nothing new.
            pauses: the pauses, in seconds; the last one repeats.
            early: the share of the pause by which the read may be early.
        """
        pause = pauses[min(unchanged, len(pauses) - 1)]
        self.unchanged, self.poll_at, self.leeway = unchanged, now + pause, early * pause
        self.away_since = None

    def is_away(self, now: float, timeout: float) -> bool:
        """Return whether the storage has not answered for ``timeout`` seconds."""
        return self.away_since is not None and now - self.away_since >= timeout

    def notify(self, *, is_news: bool) -> None:
        """Deliver the last state to all subscriptions.

        A change of its status is an update, and so are events.
        """
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
