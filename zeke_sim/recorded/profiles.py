"""What a replay takes from a history: when jobs arrive, what their attempts do, and how many workers run."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.core import jsonb
from zeke_queue.core.names import queue_name
from zeke_queue.errors import InvalidNameError
from zeke_queue.model import WAITING, NewJob, RowState
from zeke_sim.recorded.format import at_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from zeke_sim.recorded.format import RecordedJob, Recording

PART_JOBS: Final = 2_000
"""Jobs in a part of a history, so that a run takes seconds, and the page of a failure has some megabytes."""

UNKNOWN_SECONDS: Final = 1.0
"""Seconds of an attempt if no attempt of its task has a known duration."""

LEFT: Final = 3600.0
"""Maximum seconds from the end of the time window to the recording for registered workers to count."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - slots have no time zone
_LEASE_LONG: Final = 13.0
_LOST: Final = "WorkerLost"
_EXPIRED: Final = "Expired"


class Attempt(NamedTuple):
    """What an attempt does: how long it takes, and how it ends.

    Attributes:
        how: ``completed``, ``failed``, ``failed for good``, or ``expired``: it runs until its deadline.
        error: the type of its error.
    """

    seconds: float
    how: str
    error: str = ""


class Arrival(NamedTuple):
    """Jobs that are sent in one call, or a job that is cancelled, ``at`` seconds after the window began."""

    at: float
    jobs: tuple[NewJob, ...]
    cancelled: UUID | None = None


class Profiles:
    """The arrivals, attempts and processes of a history or of a part of it.

    Args:
        real: names of tasks whose own handlers run: these send their own children.
        part: the part, from 0; see ``parts``.

    Attributes:
        since, until: the time window of the part.
    """

    def __init__(self, recording: Recording, real: Collection[str] = (), part: int = 0) -> None:
        self.recording = recording
        self._real = real
        bounds = [recording.header.since, *(job.created_on for job in recording.jobs[PART_JOBS::PART_JOBS])]
        bounds.append(recording.header.until)
        self.since = max(bounds[part], recording.header.since)
        self.until = max(bounds[part + 1], self.since + timedelta(seconds=1))

    @property
    def seconds(self) -> float:
        """The length of the time window."""
        return (self.until - self.since).total_seconds()

    def _at(self, moment: datetime) -> float:
        return at_of(moment, self.since)

    @cached_property
    def jobs(self) -> list[RecordedJob]:
        """The jobs to replay: due in the window, with a valid queue name, and not sent by a real handler."""
        return [job for job in self._in_window if not self._is_sent_by_handler(job)]

    @cached_property
    def children(self) -> list[RecordedJob]:
        """The jobs due in the window that the handlers of the replay send by themselves."""
        return [job for job in self._in_window if self._is_sent_by_handler(job)]

    @cached_property
    def _in_window(self) -> list[RecordedJob]:
        return [
            job
            for job in self.recording.jobs
            if job.created_on < self.until
            and (job.completed_on is None or job.completed_on >= self.since)
            and _due(job) < self.until
            and _is_name(job.name)
        ]

    @cached_property
    def _parents(self) -> dict[UUID, str]:
        return {job.id: job.name for job in self.recording.jobs} if self._real else {}

    def _is_sent_by_handler(self, job: RecordedJob) -> bool:
        return job.parent is not None and self._parents.get(job.parent) in self._real

    @cached_property
    def names(self) -> list[str]:
        """The queues of these jobs."""
        return sorted({job.name for job in self.jobs})

    # Arrivals.

    def arrivals(self) -> list[Arrival]:
        """Return what is sent and cancelled, in the order of time."""
        slots = self._slots()
        sent = [
            Arrival(max(0.0, self._at(created)), tuple(self._new(job, slots) for job in jobs))
            for created, jobs in groupby(self.jobs, key=lambda job: job.created_on)
        ]
        cancelled = [
            Arrival(max(0.0, self._at(job.completed_on)), (), job.id)
            for job in self.jobs
            if job.state is RowState.CANCELLED and job.completed_on is not None
        ]
        return sorted((*sent, *cancelled), key=lambda one: one.at)

    def _new(self, job: RecordedJob, slots: Mapping[str, int]) -> NewJob:
        # What a job was due at first is not stored if it was tried again, or waits for another attempt.
        first = job.attempt == 0 or (job.attempt == 1 and job.state not in WAITING)
        length = slots.get(job.name) if job.singleton_on is not None else None
        ahead = 0.0
        if job.singleton_on is not None:
            created = job.created_on.replace(tzinfo=None)
            ahead = max(0.0, (job.singleton_on - created).total_seconds())
        due = job.start_after > job.created_on and first and not job.failures
        return NewJob(
            job.id,
            job.name,
            jsonb.dumps(job.payload) if job.payload is not None and job.name in self._real else None,
            priority=job.priority,
            start_at=job.start_after if due else None,
            retry_limit=job.retry_limit,
            retry_delay=job.retry_delay,
            retry_backoff=job.retry_backoff,
            retry_delay_max=job.retry_delay_max,
            expire_in=max(0.001, job.expire_in),
            singleton_key=job.singleton_key,
            slot_seconds=length,
            slot_offset=math.ceil(ahead),
            policy=job.policy,
            group_key=job.group_key,
            parent=job.parent,
            meta=None if job.meta is None else jsonb.dumps(job.meta),
        )

    def _slots(self) -> dict[str, int]:
        """Return for each queue a slot length that gives the same slots: all of them are its multiples."""
        lengths: defaultdict[str, int] = defaultdict(int)
        for job in self.jobs:
            if job.singleton_on is not None:
                seconds = job.singleton_on - _EPOCH
                lengths[job.name] = math.gcd(lengths[job.name], int(seconds.total_seconds()))
        return {name: length for name, length in lengths.items() if length > 0}

    # Attempts.

    def attempts(self) -> dict[UUID, Sequence[Attempt]]:
        """Return what the attempts of each job do, in order; further ones do what the last one does."""
        return {job.id: self._of(job) for job in self.jobs}

    def _of(self, job: RecordedJob) -> Sequence[Attempt]:
        usual = self._usual.get(job.name, UNKNOWN_SECONDS)
        attempts: list[Attempt] = []
        free = job.created_on
        for failed in job.failures:
            is_last = failed.attempt == job.attempt and job.started_on is not None
            taken = (failed.at - free).total_seconds() if not is_last else self._last_seconds(job) or usual
            free = failed.at
            if failed.error == _LOST:
                continue  # the worker ended, not the handler
            seconds = max(0.0, taken if is_last else min(taken, usual))
            attempts.append(Attempt(seconds, _how(failed.state, failed.error, job), failed.error or ""))
        if job.state in {RowState.FAILED, RowState.EXPIRED} and not job.superseded:
            last = self._last_seconds(job)
            ended = _how(job.state, job.error, job)
            return attempts or [Attempt(usual if last is None else last, ended, job.error or "")]
        last = self._last_seconds(job) if job.state is RowState.COMPLETED else None
        return [*attempts, Attempt(usual if last is None else last, "completed")]

    @cached_property
    def _usual(self) -> dict[str, float]:
        known: defaultdict[str, list[float]] = defaultdict(list)
        for job in self.jobs:
            if (seconds := self._last_seconds(job)) is not None:
                known[job.name].append(seconds)
        return {name: median(seconds) for name, seconds in known.items()}

    @staticmethod
    def _last_seconds(job: RecordedJob) -> float | None:
        """Return how long the last attempt took, if it ended and its times are known."""
        ran = job.state in {RowState.COMPLETED, RowState.FAILED, RowState.EXPIRED} and not job.superseded
        if not ran or job.started_on is None or job.completed_on is None:
            return None
        return max(0.0, (job.completed_on - job.started_on).total_seconds())

    # Processes.

    def runs(self, *, whole: bool = False) -> list[tuple[float, float, int]]:
        """Return the known attempts: when each began and ended, in seconds of the window, and its worker.

        Args:
            whole: whether to return those of the whole history, not only of this part.
        """
        ended = self._at(self.recording.header.until if whole else self.until)
        return [
            (self._at(job.started_on), self._at(job.completed_on) if job.completed_on else ended, job.worker)
            for job in (self.recording.jobs if whole else self.jobs)
            if job.started_on is not None
            and job.worker is not None
            and (job.completed_on is not None or job.state is RowState.ACTIVE)
        ]

    @cached_property
    def workers(self) -> int:
        """The number of workers: the registered ones, or else as many as ran jobs at the same time."""
        header = self.recording.header
        registered = [one for one in self.recording.workers if one.queues]
        if registered and (header.recorded_on - header.until).total_seconds() <= LEFT:
            return len(registered)
        spans: dict[int, tuple[float, float]] = {}
        for begun, ended, worker in self.runs(whole=True):
            first, last = spans.get(worker, (begun, ended))
            spans[worker] = min(first, begun), max(last, ended)
        return max(1, _at_once(spans.values()))

    @cached_property
    def concurrency(self) -> int:
        """The maximum number of jobs that a recorded worker ran at the same time."""
        runs: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for begun, ended, worker in self.runs(whole=True):
            runs[worker].append((begun, ended))
        return max((_at_once(one) for one in runs.values()), default=1)

    @property
    def lease(self) -> dict[str, float]:
        """The worker options that make leases as long as those of the registered workers."""
        valid = max((one.lease for one in self.recording.workers), default=0.0)
        if not valid:
            return {}
        if valid > _LEASE_LONG:
            return {"lease": valid - 8.0, "heartbeat_interval": 5.0}
        return {"lease": valid / 2, "heartbeat_interval": valid / 4}

    def limits(self) -> dict[str, int]:
        """Return the concurrency limits by queue."""
        return {
            queue.name: queue.concurrency_limit for queue in self.recording.queues if queue.concurrency_limit
        }

    def output(self, job: UUID) -> Any:
        """Return the recorded result of a job."""
        return self._outputs.get(job)

    @cached_property
    def _outputs(self) -> dict[UUID, Any]:
        return {job.id: job.output for job in self.jobs if job.output is not None}


def parts(recording: Recording) -> int:
    """Return the number of parts in which a history is replayed, each in a world of its own."""
    return max(1, math.ceil(len(recording.jobs) / PART_JOBS))


def _due(job: RecordedJob) -> datetime:
    """Return when a job was first due, as far as that is known."""
    known = [job.start_after, *(failed.at for failed in job.failures[:1])]
    return min((*known, job.started_on) if job.started_on is not None else known)


def _how(state: RowState, error: str | None, job: RecordedJob) -> str:
    if state is RowState.EXPIRED or error == _EXPIRED:
        return "expired"
    if state is RowState.FAILED and job.retry_count < job.retry_limit:
        return "failed for good"
    return "failed"


def _at_once(spans: Iterable[tuple[float, float]]) -> int:
    """Return the maximum number of spans that overlap."""
    steps = sorted(step for begun, ended in spans for step in ((begun, 1), (max(begun, ended), -1)))
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def _is_name(name: str) -> bool:
    try:
        queue_name(name)
    except InvalidNameError:
        return False
    return True
