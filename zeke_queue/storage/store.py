"""What a storage does for the runtime: the verbs of a job's life, set-based, and four protocols beside them.

A storage applies verdicts and makes none: whether a job is retried and how long it waits comes in with the
call, as a duration that the storage adds to its own clock. What it must decide by itself (what is due and in
which order, what a uniqueness rule refuses, whose lease ran out, what a limit admits, what retention takes)
is in ARCHITECTURE.md's ledger, and ``tests/model`` holds the implementations together on it.

Every verb is atomic: it happens whole or, if it raises, not at all; except that after
``StorageUnavailableError`` nothing is known of it. Every verb that names jobs by (id, attempt) changes only
rows whose state and attempt still fit, and returns the ids that it changed.
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
        Extended,
        Failed,
        Job,
        JobEvent,
        JobFilter,
        NewJob,
        Overdue,
        Pace,
        Page,
        QueueCount,
        QueueSettings,
        Released,
        Schedule,
        Waiting,
        Want,
        WorkerInfo,
    )
    from zeke_queue.storage.access import Admission, ApiKey, NewKey


class Verbs(Protocol):
    """The verbs that also work inside a transaction."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs, and wake workers that sleep on their queues.

        Jobs of one call are inserted in the order (name, singleton key, position), so that two calls never
        deadlock and, of two that exclude each other, the earlier one wins.

        Returns:
            For each job in the order given: its id, or None where a uniqueness rule refused it. A job whose
            id exists already (live or archived) is not inserted again, and its id is returned: a send may be
            repeated.
        """
        ...

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        again: bool = False,
    ) -> set[UUID]:
        """Write outcomes of active jobs, all in one transaction, and tell watchers.

        A job that cannot return to waiting, because another job holds its slot, ends failed, with
        ``superseded_by`` (the other's id) in its output; the rest of the batch is settled as it asks.

        Args:
            again: an earlier try of the same settlement had no answer. Then a row that already ended as this
                outcome asks, at the same attempt, counts as changed.

        Returns:
            The ids that were changed. An id that is missing was not this caller's any more.
        """
        ...

    async def overdue(self, limit: int) -> list[Overdue]:
        """Find and lock active jobs past their deadline or of a dead worker, oldest deadline first.

        The locks last as long as the transaction, so it is of use inside one; rows that others have locked
        are left out.
        """
        ...

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel jobs that wait or run, at once and for good, and the children that they wait for.

        Returns:
            The ids of all that were cancelled, the children's too.
        """
        ...

    async def hold(self, job_id: UUID, attempt: int) -> bool:
        """Keep a job from being settled, cancelled or given to another until the transaction ends.

        Returns:
            False if it is not active at this attempt, so that nothing should be written in its name.
        """
        ...

    async def due_schedules(self, limit: int) -> tuple[datetime, list[Schedule]]:
        """Lock schedules whose next tick is due, or not known, and that nobody else has locked.

        Paused ones are left out.

        Returns:
            The storage's time, to decide by, and the schedules.
        """
        ...

    async def serve_ticks(self, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
        """Note the last occurrence that was decided on, and when the next one is due (None: never again)."""
        ...


class Transaction(Verbs, Protocol):
    """An open transaction of a storage: all of it happens, or none.

    Attributes:
        connection: the driver's connection (psycopg's AsyncConnection), for statements of the application's
            own; None in memory.
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
        """Call ``undo`` if the transaction rolls back; last registered first."""
        ...


class Watch(Protocol):
    """A set of jobs that are watched together."""

    async def add(self, ids: Collection[UUID]) -> None:
        """Watch these too: changes from here on are told, with looking as the net where they can't be."""
        ...

    async def discard(self, ids: Collection[UUID]) -> None:
        """Watch these no more."""
        ...

    def wake(self) -> None:
        """End the wait under way, or else the next one, at once."""
        ...

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the jobs that may have changed since the last call, as soon as there are any, each once.

        Returns:
            None of them after ``timeout`` seconds, or sooner.
        """
        ...


class Store(Verbs, Protocol):
    """The life of jobs."""

    def transaction(self, connection: Any = None) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction, or join the caller's on ``connection``, who then commits or rolls back."""
        ...

    async def claim(self, worker: UUID, wants: Sequence[Want], limit: int) -> list[Claimed]:
        """Lease due jobs of several queues at once: the next attempt of each is this worker's.

        Due is: waiting, start_after not in the future, queue not paused, the queue's concurrency limit not
        reached. The order over all queues is priority (highest first), then start_after, then id. Rows that
        others hold locked are passed over, so an empty answer is no proof that nothing is due.

        Args:
            wants: queues, and how many of each at most.
            limit: how many jobs at most in all, at least 1.
        """
        ...

    async def spawn(self, child: NewJob, attempt: int) -> UUID | None:
        """Insert a job for whose end its parent is going to wait, as ``insert`` does.

        Args:
            child: the job; its parent is cancelled only along with it.
            attempt: the parent's.

        Returns:
            The child's id, whether it is new or there already; None where a uniqueness rule refused it.

        Raises:
            LeaseLostError: the parent is not active at this attempt; nothing was inserted.
        """
        ...

    async def suspend(self, waiting: Sequence[Waiting], *, again: bool = False) -> set[UUID]:
        """Suspend active jobs, each until its child has ended; each is written in a transaction of its own.

        One whose child has ended already, or is not there, is due at once. One that can't return to waiting
        ends failed, as in ``settle``.

        Args:
            again: an earlier try had no answer. Then a job that waits already, at the same attempt, counts.

        Returns:
            The ids that were changed. An id that is missing was not this caller's any more.
        """
        ...

    async def wake_parents(self, limit: int) -> int:
        """Resume jobs whose child has ended, or is gone, and that were not notified; returns how many.

        The end of a child wakes its parent. This is for what a crash, or another program, kept from it.
        """
        ...

    async def extend(self, extended: Sequence[Extended]) -> set[UUID]:
        """Move deadlines of active jobs; returns the ids that were this caller's and are extended."""
        ...

    async def beat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Note that a worker lives (the first beat registers it), and forget those dead for over a day.

        Returns:
            The attempt of each active job that the storage holds for this worker, so that the worker sees
            what was taken away from it, and what it was given without hearing of it.
        """
        ...

    async def leave(self, worker: UUID) -> None:
        """Forget a worker that has settled or released everything.

        Jobs it still holds are overdue at once.
        """
        ...

    async def resume(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put cancelled jobs back to created, due at once, and the children that were cancelled along.

        One whose slot another job holds stays as it is.

        Returns:
            The ids of all that were put back, the children's too.
        """
        ...

    async def retry(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put failed or expired jobs back to retry, due at once.

        If no retry is left there is room for one more. One whose slot another job holds stays as it is.
        """
        ...

    async def archive(self, after: float, limit: int) -> int:
        """Move jobs that ended more than ``after`` seconds ago to the archive, oldest first.

        One that can't be moved is reported, and left. Returns how many.
        """
        ...

    async def purge(self, after: float, limit: int) -> int:
        """Delete jobs archived more than ``after`` seconds ago, with their events, oldest first.

        One that can't be deleted is reported, and left. Returns how many.
        """
        ...

    async def idle(self, worker: UUID, queues: Sequence[str] | None) -> None:
        """Record that the worker is about to sleep on these queues, or (None) that it is awake."""
        ...

    async def wait_for_work(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until one of the queues may have work, at most ``timeout`` seconds; True if it may."""
        ...

    async def note(self, events: Sequence[JobEvent]) -> None:
        """Keep progress and log lines, and tell watchers."""
        ...


class Reader(Protocol):
    """Looking at what is stored; changes nothing."""

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Return those of the jobs that exist, live or archived."""
        ...

    async def find(self, which: JobFilter) -> list[Job]:
        """Return jobs by filter, newest first: by creation, and those of one moment by id.

        Raises:
            JobNotFoundError: ``before`` is no job, live or archived.
        """
        ...

    async def page(self, which: JobFilter) -> Page:
        """Return jobs as ``find`` does, and whether there are more behind them.

        The last one begins the next page (``before``).
        """
        ...

    async def count(self) -> list[QueueCount]:
        """Return how many live jobs each queue has by state, ordered by name."""
        ...

    async def holder(self, job: NewJob) -> UUID | None:
        """Return the job that makes a uniqueness rule refuse this one now, if any."""
        ...

    async def events(self, job_id: UUID, after: int = 0) -> list[JobEvent]:
        """Return progress and log lines of a job with ``seq`` above ``after``, oldest first, at most 1000."""
        ...

    async def events_of(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        """Return progress and log lines of several jobs by one look, each job's as ``events`` does.

        Args:
            after: for each job the ``seq`` above which its events are wanted.

        Returns:
            The events by ``seq``. Of each job there are at most as many as ``core.shares.of_each`` says for
            the number of jobs that were asked for, its oldest: none is left out because of another job's.
        """
        ...

    async def pace(self, names: Sequence[str], span: float, step: float) -> list[Pace]:
        """Return what ended lately, in spans of equal length, oldest first, those with nothing too.

        Spans lie on multiples of ``step`` since 1970, and the last one holds the storage's now.

        Args:
            names: queues; none for all.
            span: how many seconds back to look, 1 to a week; rounded up to whole steps.
            step: the length of each span in whole seconds, at most a week; at most 1000 spans.

        Raises:
            InvalidOptionError: span or step is out of its range.
        """
        ...

    async def lag(self) -> dict[str, float]:
        """Return for each queue with due jobs how many seconds ago the one that waits longest became due."""
        ...

    async def holding(self) -> dict[UUID, int]:
        """Return for each worker that holds jobs how many are active in its name."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers that are known, alive or not dead for over a day, by start."""
        ...

    async def now(self) -> datetime:
        """Return the storage's time."""
        ...

    async def foreign_cron_age(self) -> float | None:
        """Return how many seconds ago pg-boss's cron noted a round in these tables; None if it never did."""
        ...

    def watching(self) -> AbstractAsyncContextManager[Watch]:
        """Watch jobs, those that are added to the watch, until the end of the block; one task waits there."""
        ...


class Admin(Protocol):
    """Queues and schedules, as code declares them and people edit them."""

    async def declare_queues(self, queues: Sequence[QueueSettings]) -> None:
        """Store the concurrency limits that code declares; a pause stays as it is."""
        ...

    async def queues(self) -> list[QueueSettings]:
        """Return the settings of all queues that have any, by name."""
        ...

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        """Pause a queue (its waiting jobs are not claimed; running ones go on), or resume it."""
        ...

    async def declare_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Store the schedules that code declares.

        An edit made at run time survives this as long as the definition in code is the one that it edited. A
        new schedule has no last tick, so its first occurrence is the first after now.
        """
        ...

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or edit a schedule at run time; a change of cron or zone starts anew from now."""
        ...

    async def drop_schedule(self, name: str) -> bool:
        """Delete a schedule; False if there was none."""
        ...

    async def schedules(self) -> list[Schedule]:
        """Return all schedules, by name."""
        ...


class Access(Protocol):
    """Who may call the HTTP API: keys, sessions that were opened with one, and limits."""

    async def add_key(self, key: NewKey) -> ApiKey:
        """Store a key, and return it as it is stored. One whose id is there already is not stored again."""
        ...

    async def keys(self) -> list[ApiKey]:
        """Return all keys by creation, then id; those too that were revoked or have expired."""
        ...

    async def has_keys(self) -> bool:
        """Return whether a key was ever stored; one that was revoked counts."""
        ...

    async def good_keys(self, prefix: str) -> list[ApiKey]:
        """Return the keys with this prefix that are neither revoked nor expired, by creation, then id."""
        ...

    async def use_key(self, key_id: UUID) -> None:
        """Note that a key was used; within a minute of the last such note nothing is written.

        It is not asked whether the key is good.
        """
        ...

    async def revoke_key(self, key_id: UUID) -> bool:
        """Revoke a key and delete its sessions; False if there is none, or it was revoked already."""
        ...

    async def open_session(self, digest: bytes, key_id: UUID, seconds: float) -> bool:
        """Open a session with a good key, and forget sessions that have ended.

        Args:
            digest: SHA-256 of the session's token, by which it is found again.
            key_id: the key.
            seconds: how long the session lasts.

        Returns:
            False, and nothing is opened, if the key is not good, or the digest is taken, be it by a session
            that has ended.
        """
        ...

    async def session(self, digest: bytes) -> ApiKey | None:
        """Return the key of a session, as it was, and note as ``use_key`` does that it was used.

        None, and nothing is noted, if the session has ended, or its key is not good any more.
        """
        ...

    async def close_session(self, digest: bytes) -> bool:
        """End a session; False if there was none."""
        ...

    async def admit(self, caller: str, limit: int, window: float) -> Admission:
        """Count one call of a caller, unless that would be more than its limit.

        A window begins with the first call that is in none, and lasts ``window`` seconds, over all processes.
        A limit that is changed holds at once, a length from the next window on. Windows of others that ended
        over a minute ago are forgotten along the way. A crash of the server may lose the counts.

        Args:
            caller: who calls, 1 to 200 characters.
            limit: how many calls a window admits, at least 1.
            window: its length in seconds, more than 0.

        Raises:
            InvalidOptionError: limit or window is out of its range.
        """
        ...


class Storage(Store, Reader, Admin, Access, Protocol):
    """All of it: what a ``Queue`` is opened on."""

    async def close(self) -> None:
        """Give back connections; the storage can't be used any more."""
        ...
