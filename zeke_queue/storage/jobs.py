"""The protocols of a job's life: ``JobStore``, whose verbs take many jobs at once, and its ``Transaction``.

A storage applies decisions and makes none: whether a job is retried and how long it waits arrives with the
call, as a duration that the storage adds to its own clock. The decisions that it must make (which jobs are
due and in which order, which ones a uniqueness rule refuses, which leases ran out, and the rest of limits and
retention takes) are listed in ARCHITECTURE.md's ledger, and ``tests/model`` compares the implementations on
them.

Every verb is atomic: it takes effect as a whole or, if it raises, not at all. After
``StorageUnavailableError`` its effect is unknown. Every verb that names jobs by (id, attempt) changes only
rows whose state and attempt still match, and returns the ids that it changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import (
        ClaimedJobs,
        Completed,
        ExpiredJob,
        Extended,
        Failed,
        JobEvent,
        NewJob,
        QueueCapacity,
        Released,
        Schedule,
        Settled,
        Suspensions,
        Waiting,
    )


class JobWriter(Protocol):
    """The verbs that work alone and inside a transaction."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs, and wake idle workers of their queues.

        Jobs of one call are inserted in the order (name, singleton key, position), so that two calls never
        deadlock and, of two jobs that exclude each other, the earlier one wins.

        Returns:
            For each job in the given order: its id, or None if a uniqueness rule refused it. A job whose
            id exists already (live or archived) is not inserted again, and its id is returned, so a send may
            be repeated.
        """
        ...

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        repeated: bool = False,
    ) -> set[UUID]:
        """Write outcomes of active jobs, all in one transaction, and notify watchers.

        A job that cannot return to waiting, because another job holds its slot, ends failed, with
        ``superseded_by`` (the other's id) in its output; the rest of the batch is settled as requested.

        Args:
            repeated: an earlier try of the same settlement had no answer. Then a row that already ended with
                this outcome, at the same attempt, counts as changed.

        Returns:
            The ids that were changed. A missing id no longer belonged to this caller.
        """
        ...

    async def extend(self, extended: Sequence[Extended]) -> set[UUID]:
        """Move deadlines of active jobs; return the ids that belonged to this caller and were extended."""
        ...

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel waiting or running jobs permanently, and the children that they wait for.

        Returns:
            The ids of all cancelled jobs, including children.
        """
        ...


class Transaction(JobWriter, Protocol):
    """An open transaction of a storage: everything in it takes effect, or nothing.

    Attributes:
        connection: the driver's connection (psycopg's AsyncConnection), for the application's own
            statements; None in memory.
    """

    @property
    def connection(self) -> Any:
        """The driver's connection; None in memory."""
        ...

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Call ``apply`` when the transaction has committed, in the same step in memory.

        Never after a rollback.
        """
        ...

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if the transaction rolls back; the last one registered is called first."""
        ...

    async def find_conflicts(self, wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        """Return the conflicting jobs as ``Inspector`` does, with the changes of this transaction."""
        ...

    async def lock_attempt(self, job_id: UUID, attempt: int, idle_timeout: float | None = None) -> bool:
        """Lock a job until the transaction ends, so that it is not settled, cancelled or claimed meanwhile.

        Args:
            idle_timeout: seconds without a statement after which the server rolls the transaction back, in
                place of those of an earlier call; a shorter setting from before the first call takes
                precedence. Ignored in memory, where a process that hangs stops the storage too.

        Returns:
            False if it is not active at this attempt, so nothing should be written on its behalf.
        """
        ...

    async def lock_expired(self, limit: int, uptime: float = math.inf) -> list[ExpiredJob]:
        """Find and lock active jobs past their deadline or of a dead worker, oldest deadline first.

        The locks last as long as the transaction, so use it inside one. Rows locked by others are skipped.

        Args:
            uptime: seconds since the caller last saw an outage of the storage. A worker without heartbeats
                counts as dead only if its lease is shorter than that, so that it had time to renew it.
        """
        ...

    async def lock_due_schedules(
        self, limit: int, *, only: str | None = None, without: Sequence[str] = ()
    ) -> tuple[datetime, list[Schedule]]:
        """Lock schedules whose next tick is due or unknown; those locked by others are skipped.

        Paused schedules are skipped, and those of pg-boss 9's own unless its cron has been silent for
        ``maintenance.PGBOSS_SILENCE``. It counts as having served their ticks up to its last round.

        From then until its commit the transaction waits for locks for ``TICK_LOCK_SECONDS`` at most.

        Args:
            limit: maximum number of schedules.
            only: the one schedule to lock, if it is due; None for all.
            without: schedules to leave out.

        Returns:
            The storage's time, to base decisions on, and the schedules.
        """
        ...

    async def record_tick(self, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
        """Record the last decided occurrence, and when the next one is due (None: never again)."""
        ...


class JobStore(JobWriter, Protocol):
    """The life of jobs."""

    def transaction(
        self, connection: Any = None, *, own: bool = False
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction, or join the one on ``connection``, which the caller commits or rolls back.

        Args:
            connection: the caller's connection with an open transaction.
            own: whether only this package uses the transaction, so its lock waits have this package's limits.
                In an application's transaction they have the application's.
        """
        ...

    async def settle_unlocked(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        repeated: bool = False,
    ) -> Settled:
        """Write outcomes as ``settle`` does, but only of jobs that no other transaction has locked.

        Returns:
            The jobs that were changed, and those that are locked, or whose slot is. An id in neither no
            longer belonged to this caller.
        """
        ...

    async def insert_child(self, child: NewJob, attempt: int) -> UUID | None:
        """Insert a job that its parent will wait for, as ``insert`` does.

        Args:
            child: the job; it is cancelled along with its parent.
            attempt: the parent's attempt.

        Returns:
            The child's id, whether new or existing; None if a uniqueness rule refused it.

        Raises:
            LeaseLostError: the parent is not active at this attempt; nothing was inserted.
        """
        ...

    async def claim(
        self, worker: UUID, capacity: Sequence[QueueCapacity], limit: int, bytes_max: int | None = None
    ) -> ClaimedJobs:
        """Lease due jobs of several queues at once; the next attempt of each belongs to this worker.

        A job is due if it waits, its start_after is not in the future, its queue is not paused, and the
        queue's concurrency limit is not reached. The order over all queues is priority (highest first), then
        start_after, then id. Rows locked by others are skipped, so an empty answer is no proof that nothing
        is due. So is a queue with a limit whose row is locked, and then the answer says so.

        Args:
            capacity: queues, and how many jobs of each at most.
            limit: how many jobs in total at most, at least 1.
            bytes_max: maximum total bytes of their payloads and meta, as JSON; the first job may exceed it.
                The first job in claim order that does not fit ends the claim, so that smaller jobs can't
                starve it. None for no limit.
        """
        ...

    async def suspend(
        self, waiting: Sequence[Waiting], *, repeated: bool = False, skip_locked: bool = False
    ) -> Suspensions:
        """Suspend active jobs, each until its child has ended; each in its own transaction.

        A job whose child has ended already, in the archive too, is due at once; if it was due for such an end
        before, and this child had ended before its attempt, in a second. One that can't return to waiting
        ends failed, as in ``settle``. One that would wait forever is refused and stays active: its child does
        not exist, or waits for it, directly or through others, or it waits again for the same end.

        Args:
            repeated: an earlier try had no answer. Then a job that waits already, at the
                same attempt, counts.
            skip_locked: leave locked jobs alone, instead of waiting for them.

        Returns:
            The jobs that were changed, those that are locked, and those that were refused. An id in none of
            them no longer belonged to this caller.

        Raises:
            LockTimeoutError: a job stayed locked, without ``skip_locked``. Others may be suspended.
        """
        ...

    async def retry(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put failed or expired jobs back to retry, due at once.

        If no retry is left one is added. A job whose slot another job holds stays unchanged.
        """
        ...

    async def resume(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put cancelled jobs back to created, due at once, with the children cancelled along with them.

        A job whose slot another job holds stays unchanged.

        Returns:
            The ids of all resumed jobs, including children.
        """
        ...

    async def append_events(self, events: Sequence[JobEvent]) -> None:
        """Store progress and log lines, and notify watchers.

        Events whose number is stored are not stored again, so the call may be repeated. Those of earlier
        attempts than the newest 50 of their job (``core.event_limits``) are deleted.
        """
        ...
