"""A job that is followed, and those who follow it: what each has not taken yet.

A follower takes news when it has time for them. What is kept for it does not grow with how slow it is: the
last status (or each, of which a job has few), and whether there may be lines that it has not read.
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


class Follower:
    """One who follows a job.

    Args:
        wake: called when there is something to take.
        leave: has it told of nothing more.
        every: whether to keep each status until it is taken; else the last one only.

    Attributes:
        lines: whether there may be progress and log lines that it has not read; it sets that back itself,
            before it reads them.
    """

    __slots__ = ("_error", "_leave", "_statuses", "_wake", "lines")

    def __init__(self, wake: Callable[[], None], leave: Callable[[], None], *, every: bool) -> None:
        self._wake = wake
        self._leave = leave
        self._statuses: deque[Job] = deque(maxlen=_ALL if every else _LAST)
        self._error: Exception | None = None
        self.lines = False

    def take(self) -> Job | None:
        """Return the next status that was not taken yet; None if there is none.

        Raises:
            JobNotFoundError: the job is not there, or not any more.
            StorageUnavailableError: the storage has been away for a minute, or the queue was closed.
        """
        if self._statuses:
            return self._statuses.popleft()
        if self._error is not None:
            raise self._error
        return None

    def peek(self) -> Job | None:
        """Return what ``take`` would, and leave it there."""
        return self._statuses[0] if self._statuses else None

    @property
    def failed(self) -> bool:
        """Whether there is nothing more to come, since the job is gone, or the storage away."""
        return self._error is not None

    def leave(self) -> None:
        """Follow no more."""
        self._leave()

    def tell(self, job: Job | None, *, lines: bool) -> None:
        """Report a change of status, unless that is None, and whether there may be new lines."""
        if job is not None:
            self._statuses.append(job)
        self.lines |= lines
        if job is not None or lines:
            self._wake()

    def fail(self, error: Exception) -> None:
        """Report that nothing more will come, and why."""
        self._error = error
        self._wake()


class Following:
    """A job that is followed: its last news, to whom they go, and when to look at it next.

    Attributes:
        look: how many looks in a row showed nothing new.
        look_at: when the next one is due, on the watchers' clock.
        leeway: by how many seconds it may be early.
    """

    __slots__ = ("away_since", "followers", "latest", "leeway", "look", "look_at")

    def __init__(self) -> None:
        self.followers: dict[Follower, None] = {}
        self.latest: Job | None = None
        self.away_since: float | None = None
        self.look = 0
        self.look_at = math.inf
        self.leeway = 0.0

    def is_news(self, job: Job) -> bool:
        """Take a look at the job into account; True if its status changed.

        A look that shows an earlier stage than one before (a replica that lags) is no news.
        """
        latest = self.latest
        if latest is not None and _stage(job) < _stage(latest):
            return False
        self.latest = job
        return latest is None or latest.status is not job.status

    def plan(self, now: float, look: int, looks: Sequence[float], along: float) -> None:
        """Return when to read next, after a read that was answered.

        Args:
            now: the time.
            look: how many looks in a row showed nothing new.
            looks: seconds of each pause.
            along: the share of it that the look may be early.
        """
        pause = looks[min(look, len(looks) - 1)]
        self.look, self.look_at, self.leeway = look, now + pause, along * pause
        self.away_since = None

    def is_away(self, now: float, patience: float) -> bool:
        """Return whether the storage has had no answer for so long."""
        return self.away_since is not None and now - self.away_since >= patience

    def tell(self, job: Job | None) -> None:
        """Report a change of status to every follower, unless that is None; there may be lines either way."""
        lines = self.latest is not None and self.latest.attempt > 0
        for follower in list(self.followers):
            follower.tell(job, lines=lines)

    def fail(self, error: Exception) -> None:
        """Report to every follower that nothing more will come."""
        for follower in list(self.followers):
            follower.fail(error)


def was_closed(job_id: UUID) -> StorageUnavailableError:
    """Return the error for those who watch through a queue that was closed."""
    return StorageUnavailableError(f"Job {job_id} is not watched any more: the queue was closed")


def _stage(job: Job) -> tuple[int, int]:
    """Return how far a job is in its life; it only grows as long as the job has not ended."""
    if job.state in FINAL:
        return job.attempt, 2
    return job.attempt, 0 if job.state is JobState.ACTIVE else 1
