"""A watched job and its subscribers, with the news that each has not taken yet.

A subscriber takes news when it has time for them. A slow one does not accumulate more: it has the last status
(or each status, of which a job has few), and a flag for unread lines.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import FINAL, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from zeke_queue.model import Job

_ALL: Final = None
_LAST: Final = 1


class Subscription:
    """A subscription to one job.

    Args:
        wake: called when there is something to take.
        leave: called to end the subscription.
        every: whether to keep each status until it is taken; otherwise only the last one.

    Attributes:
        lines: whether there may be unread progress and log lines; the subscriber resets it before it reads
            them.
    """

    __slots__ = ("_error", "_leave", "_statuses", "_wake", "lines")

    def __init__(self, wake: Callable[[], None], leave: Callable[[], None], *, every: bool) -> None:
        self._wake = wake
        self._leave = leave
        self._statuses: deque[Job] = deque(maxlen=_ALL if every else _LAST)
        self._error: Exception | None = None
        self.lines = False

    def take(self) -> Job | None:
        """Return the next status not taken yet; None if there is none.

        Raises:
            JobNotFoundError: the job does not exist, or was deleted.
            StorageUnavailableError: the storage has been unavailable for a minute, or the queue was closed.
        """
        if self._statuses:
            return self._statuses.popleft()
        if self._error is not None:
            raise self._error
        return None

    def peek(self) -> Job | None:
        """Return the result of ``take`` without taking it."""
        return self._statuses[0] if self._statuses else None

    @property
    def failed(self) -> bool:
        """Whether no more news will come, since the job is gone or the storage unavailable."""
        return self._error is not None

    def leave(self) -> None:
        """End the subscription."""
        self._leave()

    def tell(self, job: Job | None, *, lines: bool) -> None:
        """Deliver a change of status, unless it is None, and whether there may be new lines."""
        if job is not None:
            self._statuses.append(job)
        self.lines |= lines
        if job is not None or lines:
            self._wake()

    def fail(self, error: Exception) -> None:
        """Deliver a final error."""
        self._error = error
        self._wake()


class WatchedJob:
    """A watched job: its last state, its subscribers, and when to poll it next.

    Attributes:
        look: how many reads in a row showed nothing new.
        look_at: when the next poll is due, on the watchers' clock.
        leeway: by how many seconds it may be early.
    """

    __slots__ = ("away_since", "latest", "leeway", "look", "look_at", "subscriptions")

    def __init__(self) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self.latest: Job | None = None
        self.away_since: float | None = None
        self.look = 0
        self.look_at = math.inf
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

    def plan(self, now: float, look: int, looks: Sequence[float], along: float) -> None:
        """Set when to read next, after an answered read.

        Args:
            now: the time.
            look: how many reads in a row showed nothing new.
            looks: the pauses, in seconds.
            along: the share of the pause by which the read may be early.
        """
        pause = looks[min(look, len(looks) - 1)]
        self.look, self.look_at, self.leeway = look, now + pause, along * pause
        self.away_since = None

    def is_away(self, now: float, patience: float) -> bool:
        """Return whether the storage has had no answer for so long."""
        return self.away_since is not None and now - self.away_since >= patience

    def tell(self, job: Job | None) -> None:
        """Deliver a change of status to every subscriber, unless it is None; lines may be new either way."""
        lines = self.latest is not None and self.latest.attempt > 0
        for subscription in list(self.subscriptions):
            subscription.tell(job, lines=lines)

    def fail(self, error: Exception) -> None:
        """Deliver a final error to every subscriber."""
        for subscription in list(self.subscriptions):
            subscription.fail(error)


def was_closed(job_id: UUID) -> StorageUnavailableError:
    """Return the error for subscribers of a queue that was closed."""
    return StorageUnavailableError(f"Job {job_id} is not watched any more: the queue was closed")


def _stage(job: Job) -> tuple[int, int]:
    """Return how far a job is in its life; the value only grows until the job has ended."""
    if job.state in FINAL:
        return job.attempt, 2
    return job.attempt, 0 if job.state is JobState.ACTIVE else 1
