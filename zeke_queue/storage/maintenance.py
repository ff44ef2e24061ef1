"""The protocol of maintenance: operations on jobs that no worker holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from zeke_queue.storage.inspect import Inspector
from zeke_queue.storage.jobs import JobStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

PGBOSS_SILENCE: Final = 120.0
"""Seconds after its last round at which the cron of a pg-boss 9 counts as stopped; it runs once a minute."""


class MovedJobs(NamedTuple):
    """The number of jobs that were moved, and those that have not ended and stay."""

    moved: int
    kept: list[UUID]


class MaintenanceStore(Protocol):
    """Maintenance in batches; any number of processes may run it."""

    async def resume_waiting(self, limit: int) -> int:
        """Resume jobs that missed the end or the deletion of their child; return how many.

        The end of a child normally resumes its parent; this covers a crash, or another program's changes. One
        call reads the ``limit`` jobs that ended last, and the parents of ``limit * 10`` further children; the
        next call continues with the following ones. So its cost does not grow with the number of waiting
        jobs.
        """
        ...

    async def archive(self, after: float, limit: int, *, dating: bool = True) -> int:
        """Move jobs that ended more than ``after`` seconds ago to the archive, oldest first; return how many.

        A job that can't be moved is reported and skipped. Ends after about a minute, as ``purge`` does.

        Args:
            dating: first give jobs of other programs that ended at no plausible time the present one.

        Raises:
            TimeLimitError: no job could be moved in time.
        """
        ...

    async def purge(self, after: float, limit: int) -> int:
        """Delete jobs archived more than ``after`` seconds ago, with events, oldest first; return how many.

        Events of jobs that do not exist are deleted too, over several calls if there are many.
        A job that can't be deleted is reported and skipped. One that its parent has waited for is kept as
        long as that one is live, and counts as archived now.

        Raises:
            TimeLimitError: no job could be deleted in time.
        """
        ...

    async def delete_jobs(self, ids: Sequence[UUID]) -> set[UUID]:
        """Delete ended jobs, live or archived, with their events; return the ids of those deleted.

        Jobs that have not ended are skipped. A job that its parent has waited for is kept until the parent
        has ended, as ``purge`` keeps it.
        """
        ...

    async def private_queues(self) -> set[str]:
        """Return the private queues with jobs that have not ended."""
        ...

    async def move_jobs(self, queues: Mapping[str, str], ended_since: datetime) -> MovedJobs:
        """Move the jobs of some queues to others, and wake the workers of these.

        A job stays if another one has its key or its slot in the new queue. Of jobs that would exclude each
        other there, the one in the highest state is moved, and of these the one with the lowest id.

        Args:
            queues: the new queue of each; none of these is a key.
            ended_since: jobs that ended before are not moved.

        Raises:
            LockTimeoutError: another transaction keeps a job locked; nothing has changed.
            StorageError: in each try another job took a key in the new queues; nothing has changed.
        """
        ...


class MaintainedStore(JobStore, MaintenanceStore, Inspector, Protocol):
    """What maintenance and cron need: batches, and transactions in which they settle and insert jobs."""
