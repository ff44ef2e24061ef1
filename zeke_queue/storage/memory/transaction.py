"""An open transaction in memory: its rows are invisible until it commits, and a rollback undoes everything.

It locks every row that it changed and what each row holds or held (a singleton key, a slot). Statements that
need one of these wait for its end, and claims and sweeps skip its rows. Transactions without common rows
never wait for each other: there is no global lock.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from zeke_queue.core.timeouts import LOCK_SECONDS, TICK_LOCK_SECONDS
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import UsageError
from zeke_queue.storage.memory import schedules, transitions
from zeke_queue.storage.memory.locks import Owner
from zeke_queue.storage.memory.unit_of_work import UnitOfWork
from zeke_queue.storage.memory.verbs import MemoryVerbs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import ExpiredJob, Schedule
    from zeke_queue.storage.memory.locks import Lock, Locks
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.storage.memory.unit_of_work import AutoCommit
    from zeke_queue.system.clock import Clock


class MemoryTransaction(MemoryVerbs):
    """``storage.jobs.Transaction`` in memory; one task at a time may use it."""

    connection: None = None

    def __init__(
        self, tables: Tables, committed: AutoCommit, locks: Locks, clock: Clock, *, own: bool
    ) -> None:
        self._owner = Owner(LOCK_SECONDS if own else None)
        self._pending = UnitOfWork(committed, locks, self._owner)
        self._applied: list[Callable[[], None]] = []
        self._undone: list[Callable[[], None]] = []
        super().__init__(tables, self._pending, locks, clock)

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Call ``apply`` in the step that commits, after the rows; in the order of registration."""
        self._applied.append(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if the transaction rolls back; the last one registered is called first."""
        self._undone.append(undo)

    async def lock_expired(self, limit: int, uptime: float = math.inf) -> list[ExpiredJob]:
        """Find active jobs past their deadline or held by a dead worker, and lock them."""
        check_limit(limit)
        now = self._begin()
        owner = self._scope.owner
        dead = transitions.DeadWorkers(self._tables.workers, now, uptime)
        found = transitions.expired(
            self._scope, now, dead, limit, lambda job_id: self._locks.taken(job_id, owner)
        )
        for job in found:
            self._scope.lock(job.id)
        return found

    async def lock_due_schedules(
        self, limit: int, *, only: str | None = None, without: Sequence[str] = ()
    ) -> tuple[datetime, list[Schedule]]:
        """Lock schedules whose next tick is due or unknown; return the time for decisions, and them."""
        check_limit(limit)
        now = self._begin()
        owner = self._scope.owner
        self._owner.lock_seconds = TICK_LOCK_SECONDS

        def passed(name: str) -> bool:
            return only not in (None, name) or name in without or self._locks.taken(name, owner)

        due = schedules.due(self._scope, now, limit, passed)
        for schedule in due:
            self._scope.lock(schedule.name)
        return now, due

    async def record_tick(self, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
        """Record the last decided occurrence, and the next one."""
        self._begin()
        if self._locks.any:
            await self._locks.clear(lambda: [name], self._scope.owner)
        schedules.serve(self._scope, name, last_tick, next_tick)

    async def lock_attempt(self, job_id: UUID, attempt: int, idle_timeout: float | None = None) -> bool:
        """Lock an active job until the transaction ends."""
        del idle_timeout  # a process that hangs stops this storage too
        self._begin()
        if self._locks.any:
            await self._locks.clear(
                lambda: [job_id] if self._runs(job_id, attempt) else [], self._scope.owner
            )
        if not self._runs(job_id, attempt):
            return False
        self._scope.lock(job_id)
        return True

    def lock(self, key: Lock) -> bool:
        """Lock a row or a key until the end of the transaction; return False if another one holds it."""
        self._begin()
        if self._locks.taken(key, self._owner):
            return False
        self._scope.lock(key)
        return True

    def _begin(self) -> datetime:
        if self._owner.ended:
            raise UsageError("The transaction has ended; open another one")
        return super()._begin()

    def commit(self) -> None:
        """Make the changes visible."""
        self._pending.apply()
        self._locks.release(self._owner)
        for apply in self._applied:
            apply()

    def rollback(self) -> None:
        """Discard the changes."""
        self._locks.release(self._owner)
        for undo in reversed(self._undone):
            undo()


@asynccontextmanager
async def transaction(
    tables: Tables, committed: AutoCommit, locks: Locks, clock: Clock, *, own: bool
) -> AsyncGenerator[MemoryTransaction]:
    """Open a transaction that commits at the end of the block, or rolls back if the block raises."""
    opened = MemoryTransaction(tables, committed, locks, clock, own=own)
    try:
        yield opened
    except BaseException:
        opened.rollback()
        raise
    opened.commit()
