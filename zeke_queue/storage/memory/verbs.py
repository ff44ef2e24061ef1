"""The verbs that work alone and inside a transaction.

Each verb reads the clock, checks the JSON, waits until no open transaction holds its locks, and then runs
in one step. So a statement that raises, or is cancelled while it waits, has changed nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from zeke_queue.errors import LockTimeoutError
from zeke_queue.model import FINAL, Failed, Released, RowState
from zeke_queue.storage.memory import transitions
from zeke_queue.storage.memory.rows import fresh, normal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from zeke_queue.model import Completed, Extended, NewJob
    from zeke_queue.storage.memory.locks import Lock, Locks
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.storage.memory.unit_of_work import AutoCommit
    from zeke_queue.system.clock import Clock


class Checked(NamedTuple):
    """Outcomes of a settlement, with the texts of their outputs."""

    completed: list[tuple[Completed, str | None]]
    failed: list[tuple[Failed, str]]
    released: Sequence[Released]

    def without(self, ids: Collection[UUID]) -> Checked:
        """Return the outcomes of other jobs."""
        return Checked(
            [one for one in self.completed if one[0].id not in ids],
            [one for one in self.failed if one[0].id not in ids],
            [one for one in self.released if one.id not in ids],
        )


class MemoryVerbs:
    """``storage.jobs.JobWriter`` over a scope; the protocol documents each verb."""

    def __init__(self, tables: Tables, scope: AutoCommit, locks: Locks, clock: Clock) -> None:
        self._tables = tables
        self._scope = scope
        self._locks = locks
        self._clock = clock

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs, and wake idle workers of their queues; None if a uniqueness rule refused one."""
        now = self._begin()
        rows = [fresh(job, now) for job in jobs]
        if self._locks.any:
            await self._locks.clear(lambda: self._locks_of_new(rows), self._scope.owner)
        # Sorting is stable, so the position orders equal keys.
        ordered = sorted(rows, key=_insert_order)
        transitions.insert(self._scope, ordered)
        return [row.id if self._scope.known(row.id) else None for row in rows]

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        repeated: bool = False,
    ) -> set[UUID]:
        """Write outcomes of active jobs whose attempt still matches; return the ids that were changed."""
        outcomes = checked(completed, failed, released)
        now = self._begin()
        if self._locks.any:
            await self._locks.clear(
                lambda: self._locks_of_settled([*completed, *failed, *released]), self._scope.owner
            )
        changed = self._settle(now, outcomes, repeated=repeated)
        if self._scope.owner is None and self._locks.any:
            with suppress(LockTimeoutError):  # a sweep resumes a parent that stays locked
                await self._locks.clear(lambda: self._locks_of_waking(sorted(changed)))
        self._wake(now, changed)
        return changed

    def _settle(self, now: datetime, outcomes: Checked, *, repeated: bool) -> set[UUID]:
        """Write outcomes whose locks are free."""
        completions, failures, released = outcomes
        changed = transitions.complete(self._scope, now, completions, repeated=repeated)
        return changed | transitions.fail_or_release(self._scope, now, failures, released, repeated=repeated)

    async def extend(self, extended: Sequence[Extended]) -> set[UUID]:
        """Move deadlines of active jobs."""
        now = self._begin()
        if self._locks.any:
            await self._locks.clear(lambda: self._locks_of_extended(extended), self._scope.owner)
        return transitions.extend(self._scope, now, extended)

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel waiting or running jobs."""
        now = self._begin()
        if self._locks.any:
            await self._locks.clear(lambda: self._locks_of_unended(ids), self._scope.owner)
        cancelled = transitions.cancel(self._scope, now, ids)
        self._wake(now, cancelled)
        return cancelled

    async def find_conflicts(self, wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        """Return the jobs that hold the singleton key or the slot of others."""
        now = self._begin()
        return [self._conflict(one, now) for one in wanted]

    def _conflict(self, wanted: NewJob | UUID, now: datetime) -> UUID | None:
        if isinstance(wanted, UUID):
            row = self._scope.row(wanted)
            hold = None if row is None else row.hold
        else:
            hold = None if self._scope.known(wanted.id) else fresh(wanted, now).hold
            wanted = wanted.id
        other = None if hold is None else self._scope.holder(hold)
        return None if other == wanted else other

    def _wake(self, now: datetime, changed: Iterable[UUID]) -> None:
        """Resume the jobs that wait for those of these which have ended.

        Jobs locked by others are skipped, and left to a sweep, since a transaction would wait for them with
        its locks held.
        """
        owner = self._scope.owner
        transitions.wake(self._scope, now, sorted(changed), lambda job_id: self._locks.taken(job_id, owner))

    def _begin(self) -> datetime:
        """Return the statement's time, taken before any wait, like ``statement_timestamp``."""
        return self._clock.now()

    def _runs(self, job_id: UUID, attempt: int) -> bool:
        """Return whether a job is active at an attempt."""
        row = self._scope.row(job_id)
        return row is not None and row.state is RowState.ACTIVE and row.attempt == attempt

    def _locks_of_new(self, rows: Sequence[Row]) -> Iterator[Lock]:
        for row in rows:
            if not self._scope.known(row.id):
                yield row.id
                if row.hold is not None:
                    yield row.hold

    def _locks_of_extended(self, extended: Sequence[Extended]) -> Iterator[Lock]:
        for job_id, attempt, _ in extended:
            if self._runs(job_id, attempt):
                yield job_id

    def _locks_of_settled(self, outcomes: Sequence[Completed | Failed | Released]) -> Iterator[Lock]:
        for outcome in outcomes:
            row = self._scope.row(outcome.id)
            if row is not None and row.state is RowState.ACTIVE and row.attempt == outcome.attempt:
                yield row.id
                # Returning to waiting takes the slot back, which another transaction may be about to take.
                if row.hold is not None and _waits_again(outcome):
                    yield row.hold

    def _locks_of_unended(self, ids: Sequence[UUID]) -> Iterator[Lock]:
        for job_id in ids:
            row = self._scope.row(job_id)
            if row is not None and row.state not in FINAL:
                yield job_id
                yield from self._locks_of_unended(
                    [child.id for child in self._scope.awaited_children(job_id)]
                )

    def _locks_of_waking(self, ended: Iterable[UUID]) -> Iterator[Lock]:
        for job_id in ended:
            child = self._scope.row(job_id)
            if child is not None and child.awaited and child.state in FINAL:
                yield from (parent.id for parent in self._scope.waiting_for(job_id))


def checked(
    completed: Sequence[Completed], failed: Sequence[Failed], released: Sequence[Released]
) -> Checked:
    """Return outcomes with their outputs as JSON that the storage can hold."""
    completions = [(outcome, normal(outcome.output)) for outcome in completed]
    failures = [(outcome, normal(outcome.output) or "{}") for outcome in failed]
    return Checked(completions, failures, released)


def _waits_again(outcome: Completed | Failed | Released) -> bool:
    return isinstance(outcome, Released) or (isinstance(outcome, Failed) and outcome.retry_in is not None)


def _insert_order(row: Row) -> tuple[str, str]:
    return row.name, row.singleton_key or ""
