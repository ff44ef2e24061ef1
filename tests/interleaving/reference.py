"""The memory storage, asked one verb at a time, and with the freedom that statements on a server have.

It is the reference itself; added is what its own interface has no word for: to skip the rows that another
transaction locks for a moment, to take a verb apart into rows of one transaction, and to refuse a verb that
would have to wait (``Blocked``), so that another order is tried.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import timedelta
from heapq import heappush
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch

from tests.interleaving.history import COMMIT, HOLD, ROLLBACK
from zeke_queue.core.states import Event
from zeke_queue.errors import StorageError, ZekeError
from zeke_queue.storage.memory import MemoryStorage, schedules, transitions
from zeke_queue.storage.memory.claims import choose
from zeke_queue.storage.memory.rows import as_claimed
from zeke_queue.storage.memory.transaction import MemoryTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import Claimed, ExpiredJob, Extended, QueueCapacity, QueueSettings, Schedule
    from zeke_queue.storage.memory.locks import Owner
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.unit_of_work import AutoCommit


class Blocked(Exception):
    """Here the verb would have to wait for another transaction."""


def at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """Return an answer that needs no waiting (else it is ``Blocked``), or the type of the error raised."""
    try:
        answer.send(None)
    except StopIteration as stop:
        return stop.value
    except ZekeError as error:
        if type(error) is StorageError:  # a deadlock
            raise Blocked from error
        return type(error)
    answer.close()
    raise Blocked


class ReferenceTransaction(MemoryTransaction):
    """A transaction that shows its locks and changes."""

    @property
    def owner(self) -> Owner:
        return self._owner

    @property
    def scope(self) -> AutoCommit:
        """What it sees, with its own changes."""
        return self._scope

    def change(self, row: Row) -> Row:
        """Return a copy of a row for this transaction to change; ``store`` keeps it."""
        return self._pending.change(row)

    def store(self, row: Row, now: datetime) -> None:
        self._pending.store(row, now)

    def fingerprint(self) -> object:
        pending = self._pending
        return (
            frozenset(map(_fingerprint, pending._rows.values())),
            repr(tuple(pending._plans.values())),
            frozenset(self._owner.locks),
        )


class Reference(MemoryStorage):
    """The memory storage with the verbs of a transaction that Postgres does not name, but has."""

    def begin(self) -> ReferenceTransaction:
        return ReferenceTransaction(self._tables, self._direct, self._locks, self._clock, own=False)

    @property
    def scope(self) -> AutoCommit:
        """What a verb of its own sees."""
        return self._scope

    def end(self, transaction: ReferenceTransaction, how: str) -> None:
        assert how in (COMMIT, ROLLBACK)
        if how == COMMIT:
            transaction.commit()
        else:
            transaction.rollback()

    def do(
        self,
        transaction: ReferenceTransaction | None,
        verb: str,
        arguments: Sequence[Any],
        options: dict[str, Any],
        passed: Collection[Any],
    ) -> Any:
        """Run a verb, alone or in a transaction.

        Args:
            passed: rows and schedules to pass over, besides those that are locked here.

        Returns:
            The answer, or the type of an error.

        Raises:
            Blocked: it would have to wait; then nothing has changed.
        """
        verbs = transaction or self
        if verb in ("settle", "cancel"):
            with self._overlooking(verbs, passed):
                return at_once(getattr(verbs, verb)(*arguments, **options))
        if verb in ("lock_expired", "lock_due_schedules"):
            return getattr(self, f"_{verb}")(verbs, arguments[0], passed)
        if verb == "archive":
            return self._archive(arguments[0], arguments[1], passed)
        if transaction is not None and (mine := self._in_transaction.get(verb)) is not None:
            return at_once(mine(self, transaction, arguments))
        return at_once(getattr(verbs, verb)(*arguments, **options))

    @contextmanager
    def _overlooking(
        self, verbs: ReferenceTransaction | Reference, passed: Collection[Any]
    ) -> Iterator[None]:
        """Skip some jobs that wait for an ended one, as if others had them locked."""
        if not passed:
            yield
            return
        scope = verbs.scope

        def wake(now: datetime, changed: Iterable[UUID]) -> None:
            transitions.wake(
                scope,
                now,
                sorted(changed),
                lambda job: job in passed or self._locks.taken(job, scope.owner),
            )

        with patch.object(verbs, "_wake", wake):
            yield

    def wake(self, ended: Collection[UUID]) -> None:
        """Resume the jobs that wait for jobs that have ended; ``Blocked`` if one of them is locked."""
        if any(self._locks.taken(row.id) for job_id in ended for row in self._direct.waiting_for(job_id)):
            raise Blocked
        transitions.wake(self._direct, self._clock.now(), sorted(ended), lambda _: False)

    def take(
        self,
        transaction: ReferenceTransaction,
        capacity: Sequence[QueueCapacity],
        limit: int,
        worker: UUID,
        *,
        passed: Collection[UUID],
        counted: Collection[UUID],
    ) -> list[Claimed]:
        """Claim in a transaction, whose end shows the claims to others.

        Args:
            passed: rows that were locked, and are passed over.
            counted: those among them that are counted: for the next job of the same queue and
                priority, if there is one.
        """
        limited = {self._tables.row_of_limit(want.name) for want in capacity if self.is_limited(want.name)}
        if any(self._locks.taken(_queue_lock(name), transaction.owner) for name in limited):
            raise Blocked
        for name in limited:
            self._locks.take(_queue_lock(name), transaction.owner)
        now, jobs = self._clock.now(), self._tables.jobs

        def passes(job_id: UUID) -> bool:
            return job_id not in counted and (job_id in passed or self._locks.taken(job_id))

        chosen = choose(self._open(capacity, now), jobs, limit, passes)
        for row in chosen:
            self._tables.lines[row.name].add(row)  # the commit releases its slot
        claimed: list[Claimed] = []
        for row in self._instead(chosen, counted, passes):
            mine = transaction.change(row)
            mine.begin(worker, now)
            transaction.store(mine, now)
            claimed.append(as_claimed(mine))
        return claimed

    def _instead(
        self, chosen: list[Row], counted: Collection[UUID], passes: Callable[[UUID], bool]
    ) -> list[Row]:
        """Return the jobs taken when some of the chosen ones are locked."""
        taken = [row for row in chosen if row.id not in counted]
        for lost in (row for row in chosen if row.id in counted):
            rest = [
                row
                for job_id in self.due([lost.name])
                if (row := self._tables.jobs[job_id]) not in chosen
                and row not in taken
                and row.priority == lost.priority
                and job_id not in counted
                and not passes(job_id)
            ]
            taken += sorted(rest, key=lambda row: (row.start_after, row.id))[:1]
        return sorted(taken, key=lambda row: (-row.priority, row.start_after, row.id))

    def fingerprint(self) -> object:
        tables = self._tables
        return (
            frozenset(map(_fingerprint, tables.jobs.values())),
            frozenset(tables.archive),
            repr((tables.queues, tables.workers, tables.plans)),
        )

    def locked(self, ids: Collection[UUID]) -> set[UUID]:
        return {job_id for job_id in ids if self._locks.taken(job_id)}

    def waiting(self) -> set[UUID]:
        return {row.id for row in self._tables.jobs.values() if row.waits_for is not None and row.waits}

    def due(self, names: Collection[str]) -> list[UUID]:
        """Return the due jobs of these queues, whether or not there is capacity."""
        now = self._clock.now()
        rows = self._tables.jobs.values()
        return [row.id for row in rows if row.waits and row.name in names and row.start_after <= now]

    def is_limited(self, name: str) -> bool:
        return self._tables.queue(name).concurrency_limit is not None

    def is_paused(self, name: str) -> bool:
        return self._tables.queue(name).paused_on is not None

    def gives_nothing(self, name: str) -> bool:
        room = self._tables.room(name)
        return (room is not None and room <= 0) or not self.due([name])

    async def declare(self, queues: Sequence[QueueSettings], schedules: Sequence[Schedule]) -> None:
        self._refuse_locked(*(queue.name for queue in queues))
        await super().declare(queues, schedules)

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        self._refuse_locked(name)
        await super().pause_queue(name, paused=paused)

    def _refuse_locked(self, *names: str) -> None:
        if any(self._locks.taken(_queue_lock(name)) for name in names):
            raise Blocked

    def _lock_expired(
        self, verbs: ReferenceTransaction | Reference, limit: int, passed: Collection[UUID]
    ) -> list[ExpiredJob]:
        scope, now = verbs.scope, self._clock.now()
        dead = transitions.DeadWorkers(self._tables.workers, now, math.inf)

        def passes(job_id: UUID) -> bool:
            return job_id in passed or self._locks.taken(job_id, scope.owner)

        found = transitions.expired(scope, now, dead, limit, passes)
        for job in found:
            scope.lock(job.id)
        return found

    def _lock_due_schedules(
        self, verbs: ReferenceTransaction | Reference, limit: int, passed: Collection[str]
    ) -> tuple[datetime, list[Schedule]]:
        scope, now = verbs.scope, self._clock.now()

        def passes(name: str) -> bool:
            return name in passed or self._locks.taken(name, scope.owner)

        due = schedules.due(scope, now, limit, passes)
        for schedule in due:
            scope.lock(schedule.name)
        return now, due

    def _archive(self, after: float, limit: int, passed: Collection[UUID]) -> int:
        ended = self.ended(after)
        moved = [row for row in ended if row.id not in passed and not self._locks.taken(row.id)][:limit]
        for row in ended:
            heappush(self._tables._ended, (row.completed_on, row.id.int, row.id))
        for row in moved:
            self._tables.bury(row, self._clock.now())
        return len(moved)

    def ended(self, after: float) -> list[Any]:
        """Return the rows that ended at least this long ago, oldest first, and forget their ends."""
        return list(self._tables.ended_before(self._clock.now() - timedelta(seconds=after)))

    async def _resume_in(self, transaction: ReferenceTransaction, arguments: Sequence[Any]) -> set[UUID]:
        return await self._bring_back_in(transaction, arguments[0], Event.RESUME)

    async def _retry_in(self, transaction: ReferenceTransaction, arguments: Sequence[Any]) -> set[UUID]:
        return await self._bring_back_in(transaction, arguments[0], Event.REVIVE)

    async def _bring_back_in(
        self, transaction: ReferenceTransaction, ids: Sequence[UUID], event: Event
    ) -> set[UUID]:
        await self._locks.clear(lambda: self._locks_of_returning(ids, event), transaction.owner)
        return transitions.requeue(transaction.scope, self._clock.now(), ids, event)

    async def _extend_in(self, transaction: ReferenceTransaction, arguments: Sequence[Any]) -> set[UUID]:
        extended: Sequence[Extended] = arguments[0]
        await self._locks.clear(lambda: self._locks_of_extended(extended), transaction.owner)
        return transitions.extend(transaction.scope, self._clock.now(), extended)

    async def _hold_in(self, transaction: ReferenceTransaction, ids: Sequence[UUID]) -> set[UUID]:
        there = [job_id for job_id in ids if transaction.scope.row(job_id) is not None]
        await self._locks.clear(lambda: there, transaction.owner)
        for job_id in there:
            transaction.scope.lock(job_id)
        return set(there)

    _in_transaction: ClassVar[dict[str, Callable[..., Coroutine[Any, Any, Any]]]] = {
        "resume": _resume_in,
        "retry": _retry_in,
        "extend": _extend_in,
        HOLD: _hold_in,
    }


def _fingerprint(row: Row) -> object:
    return (
        row.id,
        row.state,
        row.attempt,
        row.retry_count,
        row.retry_limit,
        row.output,
        row.worker,
        row.expire_in,
        row.start_after,
        row.keep_until,
        row.waits_for,
        row.awaited,
    )


def _queue_lock(name: str) -> str:
    """Return the lock of a queue's row, distinct from that of a schedule with the same name."""
    return f"queue {name}"
