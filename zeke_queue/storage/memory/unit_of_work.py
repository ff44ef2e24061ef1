"""What a statement sees and changes: the tables themselves, or an open transaction's version of them.

The rules (``transitions``, ``schedules``) are written once, on ``AutoCommit``, and do not depend on which of
the two they get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.model import RowState
from zeke_queue.storage.memory.uniqueness import held_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.storage.memory.locks import Lock, Locks, Owner
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.tables import Plan, Tables
    from zeke_queue.storage.memory.uniqueness import Hold
    from zeke_queue.storage.notifier import Notifier


def _id(row: Row) -> UUID:
    return row.id


class AutoCommit:
    """The tables themselves: for a single statement, which runs in one step and so needs no locks.

    Attributes:
        tables: the committed rows.
        owner: the transaction, or None for a statement of its own.
    """

    owner: Owner | None = None

    def __init__(self, tables: Tables, notifier: Notifier) -> None:
        self.tables = tables
        self.notifier = notifier
        self._were_active = set["UUID"]()

    def row(self, job_id: UUID) -> Row | None:
        """Return a live row, read-only."""
        return self.tables.jobs.get(job_id)

    def known(self, job_id: UUID) -> bool:
        """Return whether a job with this id is live or archived."""
        return self.tables.known(job_id)

    def holder(self, hold: Hold) -> UUID | None:
        """Return the job that has a hold."""
        return self.tables.held.get(hold)

    def plan(self, name: str) -> Plan | None:
        """Return a schedule."""
        return self.tables.plans.get(name)

    def active(self) -> Iterable[Row]:
        """Return the active rows, read-only."""
        return self.tables.active.values()

    def waiting_for(self, job_id: UUID) -> list[Row]:
        """Return the rows that wait for a job to end, by id, read-only."""
        return sorted(self.tables.waiting.get(job_id, {}).values(), key=_id)

    def awaited_children(self, job_id: UUID) -> list[Row]:
        """Return the children that a job waits or waited for, by id, read-only."""
        return sorted(self.tables.children.get(job_id, {}).values(), key=_id)

    def change(self, row: Row) -> Row:
        """Take the row out of the indexes for changes; call ``store`` afterwards, in the same step."""
        if row.state is RowState.ACTIVE:
            self._were_active.add(row.id)
        self.tables.take_out(row)
        return row

    def store(self, row: Row, now: datetime) -> None:
        """Store a new or changed row, and notify waiters.

        Args:
            row: the row.
            now: the time of its statement. What comes due while that waits, or by the commit, wakes none.
        """
        self.tables.put_in(row)
        was_active = row.id in self._were_active
        self._were_active.discard(row.id)
        if self.notifier.has_waiters:
            self._notify(row, now, was_active=was_active)

    def _notify(self, row: Row, now: datetime, *, was_active: bool) -> None:
        """Notify watchers of a job, and idle workers of its queue if the row is work or makes room for it."""
        self.notifier.job(row.id)
        is_work = row.waits and row.start_after <= now
        makes_room = was_active if row.waits else row.state is not RowState.ACTIVE
        if is_work or (makes_room and self.tables.queue(row.name).concurrency_limit is not None):
            self.notifier.queue(row.name)

    def plans(self) -> Iterable[Plan]:
        """Return all schedules."""
        return self.tables.plans.values()

    def store_plan(self, plan: Plan) -> None:
        """Store a new or changed schedule."""
        self.tables.plans[plan.schedule.name] = plan

    def lock(self, lock: Lock) -> None:
        """Do nothing: no other task runs before the statement is over."""


class UnitOfWork(AutoCommit):
    """A transaction's version of the tables: its uncommitted changes on top of the committed rows."""

    def __init__(self, committed: AutoCommit, locks: Locks, owner: Owner) -> None:
        super().__init__(committed.tables, committed.notifier)
        self._committed = committed
        self._locks = locks
        self.owner = self._owner = owner
        self._rows: dict[UUID, Row] = {}
        self._times: dict[UUID, datetime] = {}
        self._held: dict[Hold, UUID | None] = {}
        self._plans: dict[str, Plan] = {}

    def row(self, job_id: UUID) -> Row | None:
        """Return a row with the changes of this transaction."""
        return self._rows.get(job_id) or self.tables.jobs.get(job_id)

    def known(self, job_id: UUID) -> bool:
        """Return whether a job exists in this transaction."""
        return job_id in self._rows or self.tables.known(job_id)

    def active(self) -> Iterable[Row]:
        """Return the rows that are active here: in a transaction no row becomes active, but some end."""
        rows = (self._rows.get(row.id, row) for row in self.tables.active.values())
        return [row for row in rows if row.state is RowState.ACTIVE]

    def holder(self, hold: Hold) -> UUID | None:
        """Return the job that has a hold, with the changes of this transaction."""
        return self._held[hold] if hold in self._held else self.tables.held.get(hold)

    def waiting_for(self, job_id: UUID) -> list[Row]:
        """Return the rows that wait for a job to end; in a transaction, no row starts waiting."""
        rows = (self._rows.get(row.id, row) for row in super().waiting_for(job_id))
        return [row for row in rows if row.waits_for == job_id]

    def awaited_children(self, job_id: UUID) -> list[Row]:
        """Return the children that a job waits for; in a transaction, no job becomes one."""
        return [self._rows.get(row.id, row) for row in super().awaited_children(job_id)]

    def change(self, row: Row) -> Row:
        """Lock the row and its unique keys, and return a copy, or the copy made before."""
        self._locks.take(row.id, self._owner)
        if row.hold is not None and held_in(row.hold, row.state):
            self._locks.take(row.hold, self._owner)
            self._held[row.hold] = None
        return row if row.id in self._rows else row.copy()

    def store(self, row: Row, now: datetime) -> None:
        """Store the row for the commit, and lock it and its unique keys."""
        self._locks.take(row.id, self._owner)
        self._rows[row.id] = row
        self._times[row.id] = now
        if row.hold is not None and held_in(row.hold, row.state):
            self._locks.take(row.hold, self._owner)
            self._held[row.hold] = row.id

    def plan(self, name: str) -> Plan | None:
        """Return a schedule with the changes of this transaction."""
        return self._plans.get(name) or self.tables.plans.get(name)

    def plans(self) -> Iterable[Plan]:
        """Return all schedules with the changes of this transaction."""
        return [self._plans.get(name, plan) for name, plan in self.tables.plans.items()]

    def store_plan(self, plan: Plan) -> None:
        """Store a schedule for the commit, and lock it."""
        self._locks.take(plan.schedule.name, self._owner)
        self._plans[plan.schedule.name] = plan

    def lock(self, lock: Lock) -> None:
        """Lock a job or a schedule."""
        self._locks.take(lock, self._owner)

    def apply(self) -> None:
        """Commit: make every changed row visible.

        Rows are applied in the order of their first change, so a hold given up by one is free for another.
        """
        for row in self._rows.values():
            if (old := self.tables.jobs.get(row.id)) is not None:
                self._committed.change(old)
            self._committed.store(row, self._times[row.id])
        for plan in self._plans.values():
            self._committed.store_plan(plan)
