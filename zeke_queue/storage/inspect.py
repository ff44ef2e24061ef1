"""The protocols that read the stored data, and reads of one job or schedule that must exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from zeke_queue.core.failure import shown
from zeke_queue.core.names import did_you_mean
from zeke_queue.errors import InvalidOptionError, JobNotFoundError, ScheduleNotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from zeke_queue.model import (
        Job,
        JobEvent,
        JobPage,
        JobQuery,
        NewJob,
        QueueStats,
        Schedule,
        Throughput,
        WorkerInfo,
    )
    from zeke_queue.storage.admin import QueueAdmin


class ChangeFeed(Protocol):
    """A set of jobs that are watched together."""

    async def add(self, ids: Collection[UUID]) -> None:
        """Watch these jobs too: later changes are reported, by polling without notifications."""
        ...

    async def discard(self, ids: Collection[UUID]) -> None:
        """Stop watching these jobs."""
        ...

    def wake(self) -> None:
        """End the current wait, or else the next one, at once."""
        ...

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the jobs that may have changed since the last call, each once, as soon as there are any.

        Returns:
            An empty list after ``timeout`` seconds, or sooner.
        """
        ...


class Inspector(Protocol):
    """Reads of the stored data; they change nothing."""

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Return those of the jobs that exist, live or archived."""
        ...

    async def find(self, query: JobQuery) -> JobPage:
        """Return jobs that match a filter, newest first: by creation, then by id.

        The last job of a page is ``before`` for the next page.

        Raises:
            JobNotFoundError: ``before`` names no live or archived job.
        """
        ...

    async def queue_stats(self) -> list[QueueStats]:
        """Return for each queue with live jobs their number by state and the oldest due age, by name."""
        ...

    async def find_conflicts(self, wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        """Return the jobs that hold the singleton key or the slot of others, all in one query.

        Args:
            wanted: new jobs, or the ids of live jobs to requeue.

        Returns:
            For each one, in the given order, the other job because of which a uniqueness rule would refuse it
            now; None without a conflict.
        """
        ...

    async def events(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        """Return progress and log lines of jobs, all in one query.

        Args:
            after: for each job the ``seq`` after which its events are returned; 0 for all of them.

        Returns:
            The events by ``seq``. Each job has at most the share that ``core.event_limits.of_each`` gives for
            the number of requested jobs (1000 for one), its oldest events; no event is left out because of
            another job's.
        """
        ...

    async def throughput(self, names: Sequence[str], span: float, step: float) -> list[Throughput]:
        """Return counts and times of recently ended jobs by interval, oldest first, empty ones included.

        Intervals start at multiples of ``step`` since 1970; the last one holds the storage's current time.

        Args:
            names: queues; none for all.
            span: how many seconds back, 1 to a week; rounded up to whole steps.
            step: length of each interval in whole seconds, at most a week; at most 1000 intervals.

        Raises:
            InvalidOptionError: span or step is out of range.
        """
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the known workers, alive or dead for at most a day, by start, with their ``active_jobs``."""
        ...

    async def now(self) -> datetime:
        """Return the storage's time."""
        ...

    def subscribe(self) -> AbstractAsyncContextManager[ChangeFeed]:
        """Open a watch for jobs added to it, until the end of the block; one task waits on it."""
        ...


def check_id(job_id: UUID) -> UUID:
    """Return a job's id.

    Raises:
        InvalidOptionError: it is not a UUID, for example its text, which no row can match.
    """
    if not isinstance(job_id, UUID):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise InvalidOptionError(f"job_id: must be a UUID, got {job_id!r}; pass run.id, or uuid.UUID(text)")
    return job_id


async def require(inspector: Inspector, job_id: UUID) -> Job:
    """Return a job, live or archived.

    Raises:
        JobNotFoundError: no job has this id.
    """
    job = (await inspector.get([check_id(job_id)])).get(job_id)
    if job is None:
        raise JobNotFoundError.of(job_id)
    return job


async def require_schedule(admin: QueueAdmin, name: str) -> Schedule:
    """Return a schedule.

    Raises:
        ScheduleNotFoundError: no schedule has this name.
    """
    schedules = {one.name: one for one in await admin.schedules()}
    if name not in schedules:
        hint = did_you_mean(name, sorted(schedules), "queue.schedules.list() and `zeke schedules` list them")
        raise ScheduleNotFoundError(f"No schedule has the name {shown(name)}; {hint}")
    return schedules[name]
