"""The storage protocols: the verbs of a job's life, set-based, and four protocols beside them.

A storage applies decisions and makes none: whether a job is retried and how long it waits arrives with the
call, as a duration that the storage adds to its own clock. The decisions that it must make (what is due and
in which order, what a uniqueness rule refuses, whose lease ran out, what a limit admits, what retention
takes) are listed in ARCHITECTURE.md's ledger, and ``tests/model`` compares the implementations on them.

Every verb is atomic: it takes effect as a whole or, if it raises, not at all. After
``StorageUnavailableError`` its effect is unknown. Every verb that names jobs by (id, attempt) changes only
rows whose state and attempt still match, and returns the ids that it changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import (
        Claimed,
        Completed,
        ExpiredJob,
        Extended,
        Failed,
        Job,
        JobEvent,
        JobPage,
        JobQuery,
        NewJob,
        QueueCapacity,
        QueueCount,
        QueueSettings,
        Released,
        Schedule,
        Throughput,
        Waiting,
        WorkerInfo,
    )
    from zeke_queue.storage.access import ApiKey, NewKey, RateLimit


class Verbs(Protocol):
    """The verbs that also work inside a transaction."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs, and wake idle workers of their queues.

        Jobs of one call are inserted in the order (name, singleton key, position), so that two calls never
        deadlock and, of two jobs that exclude each other, the earlier one wins.

        Returns:
            For each job in the given order: its id, or None where a uniqueness rule refused it. A job whose
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

    async def lock_expired(self, limit: int) -> list[ExpiredJob]:
        """Find and lock active jobs past their deadline or of a dead worker, oldest deadline first.

        The locks last as long as the transaction, so use it inside one. Rows locked by others are skipped.
        """
        ...

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel waiting or running jobs for good, and the children that they wait for.

        Returns:
            The ids of all cancelled jobs, including children.
        """
        ...

    async def lock_attempt(self, job_id: UUID, attempt: int) -> bool:
        """Lock a job until the transaction ends, so that it is not settled, cancelled or claimed meanwhile.

        Returns:
            False if it is not active at this attempt, so nothing should be written on its behalf.
        """
        ...

    async def lock_due_schedules(self, limit: int) -> tuple[datetime, list[Schedule]]:
        """Lock schedules whose next tick is due or unknown; those locked by others are skipped.

        Paused schedules are skipped.

        Returns:
            The storage's time, to base decisions on, and the schedules.
        """
        ...

    async def record_tick(self, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
        """Record the last decided occurrence, and when the next one is due (None: never again)."""
        ...


class Transaction(Verbs, Protocol):
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


class Store(Verbs, Protocol):
    """The life of jobs."""

    def transaction(self, connection: Any = None) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction, or join the one on ``connection``, which the caller commits or rolls back."""
        ...

    async def claim(self, worker: UUID, capacity: Sequence[QueueCapacity], limit: int) -> list[Claimed]:
        """Lease due jobs of several queues at once; the next attempt of each belongs to this worker.

        A job is due if it waits, its start_after is not in the future, its queue is not paused, and the
        queue's concurrency limit is not reached. The order over all queues is priority (highest first), then
        start_after, then id. Rows locked by others are skipped, so an empty answer is no proof that nothing
        is due.

        Args:
            capacity: queues, and how many jobs of each at most.
            limit: how many jobs in total at most, at least 1.
        """
        ...

    async def insert_child(self, child: NewJob, attempt: int) -> UUID | None:
        """Insert a job that its parent will wait for, as ``insert`` does.

        Args:
            child: the job; it is cancelled along with its parent.
            attempt: the parent's attempt.

        Returns:
            The child's id, whether new or existing; None where a uniqueness rule refused it.

        Raises:
            LeaseLostError: the parent is not active at this attempt; nothing was inserted.
        """
        ...

    async def suspend(self, waiting: Sequence[Waiting], *, repeated: bool = False) -> set[UUID]:
        """Suspend active jobs, each until its child has ended; each in its own transaction.

        A job whose child has ended already, or does not exist, is due at once. One that can't return to
        waiting ends failed, as in ``settle``.

        Args:
            repeated: an earlier try had no answer. Then a job that waits already, at the
                same attempt, counts.

        Returns:
            The ids that were changed. A missing id no longer belonged to this caller.
        """
        ...

    async def resume_waiting(self, limit: int) -> int:
        """Resume jobs whose child has ended or is gone, but which were not notified; return how many.

        The end of a child normally resumes its parent; this covers a crash, or another program's changes.
        """
        ...

    async def extend(self, extended: Sequence[Extended]) -> set[UUID]:
        """Move deadlines of active jobs; return the ids that belonged to this caller and were extended."""
        ...

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Record that a worker is alive (the first beat registers it); delete those dead for over a day.

        Returns:
            The attempt of each active job that the storage holds for this worker, so that the worker finds
            jobs that it lost, and jobs it was given without receiving the answer.
        """
        ...

    async def deregister(self, worker: UUID) -> None:
        """Deregister a worker that has settled or released everything.

        Jobs it still holds are overdue at once.
        """
        ...

    async def resume(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put cancelled jobs back to created, due at once, with the children cancelled along with them.

        A job whose slot another job holds stays unchanged.

        Returns:
            The ids of all resumed jobs, including children.
        """
        ...

    async def retry(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put failed or expired jobs back to retry, due at once.

        If no retry is left one is added. A job whose slot another job holds stays unchanged.
        """
        ...

    async def archive(self, after: float, limit: int) -> int:
        """Move jobs that ended more than ``after`` seconds ago to the archive, oldest first; return how many.

        A job that can't be moved is reported and skipped.
        """
        ...

    async def purge(self, after: float, limit: int) -> int:
        """Delete jobs archived more than ``after`` seconds ago, with events, oldest first; return how many.

        A job that can't be deleted is reported and skipped.
        """
        ...

    async def set_idle(self, worker: UUID, queues: Sequence[str] | None) -> None:
        """Record that the worker is about to sleep on these queues, or (None) that it is awake."""
        ...

    async def wait_for_jobs(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until one of the queues may have work, at most ``timeout`` seconds; return whether it may."""
        ...

    async def append_events(self, events: Sequence[JobEvent]) -> None:
        """Store progress and log lines, and notify watchers."""
        ...


class Reader(Protocol):
    """Reads of the stored data; changes nothing."""

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Return those of the jobs that exist, live or archived."""
        ...

    async def find(self, which: JobQuery) -> list[Job]:
        """Return the jobs that match a filter, newest first: by creation, then by id.

        Raises:
            JobNotFoundError: ``before`` names no live or archived job.
        """
        ...

    async def page(self, which: JobQuery) -> JobPage:
        """Return jobs as ``find`` does, and whether there are more after them.

        The last job is ``before`` for the next page.
        """
        ...

    async def count(self) -> list[QueueCount]:
        """Return the number of live jobs of each queue by state, ordered by name."""
        ...

    async def holder(self, job: NewJob) -> UUID | None:
        """Return the job because of which a uniqueness rule would refuse this one now, if any."""
        ...

    async def events(self, job_id: UUID, after: int = 0) -> list[JobEvent]:
        """Return progress and log lines of a job with ``seq`` above ``after``, oldest first, at most 1000."""
        ...

    async def events_of(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        """Return progress and log lines of several jobs in one query, for each job as ``events`` does.

        Args:
            after: for each job the ``seq`` after which its events are returned.

        Returns:
            The events by ``seq``. Each job has at most the share that ``core.event_limits.of_each`` gives for
            the number of requested jobs, its oldest events; no event is left out because of another job's.
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

    async def lag(self) -> dict[str, float]:
        """Return for each queue with due jobs how many seconds ago its longest-waiting job became due."""
        ...

    async def holding(self) -> dict[UUID, int]:
        """Return the number of active jobs of each worker that holds any."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the known workers, alive or dead for at most a day, by start."""
        ...

    async def now(self) -> datetime:
        """Return the storage's time."""
        ...

    async def pgboss_cron_age(self) -> float | None:
        """Return the seconds since pg-boss's cron recorded a round in these tables; None if it never did."""
        ...

    def subscribe(self) -> AbstractAsyncContextManager[ChangeFeed]:
        """Open a watch for jobs added to it, until the end of the block; one task waits on it."""
        ...


class Admin(Protocol):
    """Queues and schedules, as declared in code and edited by users."""

    async def declare_queues(self, queues: Sequence[QueueSettings]) -> None:
        """Store the concurrency limits declared in code; pauses stay unchanged."""
        ...

    async def queues(self) -> list[QueueSettings]:
        """Return the settings of all queues that have any, by name."""
        ...

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        """Pause a queue (its waiting jobs are not claimed; running ones continue), or resume it."""
        ...

    async def declare_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Store the schedules declared in code.

        An edit made at run time is kept as long as the definition in code is the one it edited. A new
        schedule has no last tick, so its first occurrence is the first after now.
        """
        ...

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or edit a schedule at run time; a changed cron or zone takes effect from now."""
        ...

    async def delete_schedule(self, name: str) -> bool:
        """Delete a schedule; False if there was none."""
        ...

    async def schedules(self) -> list[Schedule]:
        """Return all schedules, by name."""
        ...


class Access(Protocol):
    """Access to the HTTP API: keys, sessions opened with them, and rate limits."""

    async def create_key(self, key: NewKey) -> ApiKey:
        """Store a key and return it as stored. A key whose id exists already is not stored again."""
        ...

    async def keys(self) -> list[ApiKey]:
        """Return all keys by creation, then id, revoked and expired ones included."""
        ...

    async def has_keys(self) -> bool:
        """Return whether a key was ever stored; revoked keys count."""
        ...

    async def valid_keys(self, prefix: str) -> list[ApiKey]:
        """Return the keys with this prefix that are neither revoked nor expired, by creation, then id."""
        ...

    async def touch_key(self, key_id: UUID) -> None:
        """Record that a key was used; within a minute of the last such record nothing is written.

        The key's validity is not checked.
        """
        ...

    async def revoke_key(self, key_id: UUID) -> bool:
        """Revoke a key and delete its sessions; False if there is none, or it was revoked already."""
        ...

    async def create_session(self, digest: bytes, key_id: UUID, seconds: float) -> bool:
        """Open a session with a valid key, and delete sessions that have ended.

        Args:
            digest: SHA-256 of the session's token, for lookup.
            key_id: the key.
            seconds: how long the session lasts.

        Returns:
            False, without opening a session, if the key is invalid, or the digest belongs to another session,
            even one that has ended.
        """
        ...

    async def get_session(self, digest: bytes) -> ApiKey | None:
        """Return the key of a session before this use, and record the use as ``touch_key`` does.

        None, without a record, if the session has ended, or its key is no longer valid.
        """
        ...

    async def delete_session(self, digest: bytes) -> bool:
        """Delete a session; False if there was none."""
        ...

    async def acquire(self, caller: str, limit: int, window: float) -> RateLimit:
        """Count one call of a caller, unless it would exceed the limit.

        A window begins with the first call outside any, and lasts ``window`` seconds, across all processes. A
        changed limit applies at once, a changed length from the next window on. Each call also deletes
        windows of other callers that ended over a minute ago. A crash of the server may lose the counts.

        Args:
            caller: the caller's name, 1 to 200 characters.
            limit: calls per window, at least 1.
            window: its length in seconds, more than 0.

        Raises:
            InvalidOptionError: limit or window is out of range.
        """
        ...


class Storage(Store, Reader, Admin, Access, Protocol):
    """All storage protocols together; a ``Queue`` is opened on one."""

    async def close(self) -> None:
        """Return the connections; the storage can't be used afterwards."""
        ...
