"""The memory storage: the verbs outside transactions, on top of the other modules.

It is the reference for the Postgres storage. Nothing in it waits unless an open transaction holds what a
statement needs, or the caller asked to wait, so a verb is one step of the event loop.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import event_limits, jsonb
from zeke_queue.core.event_limits import TRIMMED_AT_ONCE
from zeke_queue.core.names import PRIVATE_PREFIX
from zeke_queue.core.states import TRANSITIONS, Event
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import LeaseLostError, UsageError
from zeke_queue.model import FINAL, ClaimedJobs, QueueCapacity, Settled
from zeke_queue.storage.maintenance import MovedJobs
from zeke_queue.storage.memory import transitions
from zeke_queue.storage.memory.access import MemoryAccess
from zeke_queue.storage.memory.claims import Pool, choose
from zeke_queue.storage.memory.locks import Locks, queue_lock
from zeke_queue.storage.memory.overview import MemoryOverview
from zeke_queue.storage.memory.reader import MemoryReader
from zeke_queue.storage.memory.rows import as_claimed, as_job, fresh, planted
from zeke_queue.storage.memory.schedules import MemoryAdmin
from zeke_queue.storage.memory.tables import Tables
from zeke_queue.storage.memory.transaction import transaction
from zeke_queue.storage.memory.uniqueness import RANK, held_in, hold_of
from zeke_queue.storage.memory.unit_of_work import AutoCommit
from zeke_queue.storage.memory.verbs import MemoryVerbs, checked
from zeke_queue.storage.notifier import Notifier

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from zeke_queue.model import (
        Completed,
        Failed,
        Job,
        JobEvent,
        NewJob,
        QueueSettings,
        Released,
        Schedule,
        Suspensions,
        Waiting,
        WorkerInfo,
    )
    from zeke_queue.storage.access import ApiKey
    from zeke_queue.storage.memory.claims import Line
    from zeke_queue.storage.memory.locks import Lock
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.tables import Session, Window
    from zeke_queue.storage.memory.transaction import MemoryTransaction
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy

DEAD_KEPT: Final = timedelta(days=1)
"""Time for which a worker is listed after its lease ran out."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All committed rows at one instant, jobs by id and the rest by name, id, digest or sequence."""

    jobs: list[Job]
    archive: list[Job]
    schedules: list[Schedule]
    queues: list[QueueSettings]
    workers: list[WorkerInfo]
    events: list[JobEvent]
    keys: list[ApiKey]
    sessions: list[Session]
    windows: list[Window]


class MemoryStorage(MemoryVerbs, MemoryReader, MemoryOverview, MemoryAdmin):
    """``storage.Storage`` in memory, for tests, simulations and as the reference.

    Args:
        clock: the storage's time, and the clock of waits for work.
        entropy: chooses the rows that a claim skips; needed with ``freedom`` only.
        freedom: the probability, 0 to 1, that a claim skips a due row as if another transaction had locked it
            for a moment. That happens in Postgres, so a simulation without it would hide bugs.
    """

    def __init__(self, clock: Clock, *, entropy: Entropy | None = None, freedom: float = 0.0) -> None:
        if freedom > 0 and entropy is None:
            raise UsageError("freedom: must have entropy to draw from; pass MemoryStorage(..., entropy=...)")
        tables, notifier = Tables(), Notifier(clock)
        direct = AutoCommit(tables, notifier)
        super().__init__(tables, direct, Locks(clock), clock)
        self._notifier, self._direct = notifier, direct
        self.access: Final = MemoryAccess(tables, clock)
        self._freedom = freedom
        self._random = entropy.stream("storage") if freedom > 0 and entropy is not None else None

    def transaction(
        self, connection: Any = None, *, own: bool = False
    ) -> AbstractAsyncContextManager[MemoryTransaction]:
        """Open a transaction; in memory there are no connections to join."""
        if connection is not None:
            raise UsageError("connection: must be omitted with the memory storage, which has none to join")
        return transaction(self._tables, self._direct, self._locks, self._clock, own=own)

    async def claim(
        self, worker: UUID, capacity: Sequence[QueueCapacity], limit: int, bytes_max: int | None = None
    ) -> ClaimedJobs:
        """Lease due jobs of several queues at once, in claim order."""
        check_limit(limit)
        now = self._clock.now()
        claimed = ClaimedJobs(left_out=self._locks.any and any(self._left_out(one.name) for one in capacity))
        lines = self._open(capacity, now)
        for chosen in choose(lines, self._tables.jobs, limit, self._passed, bytes_max):
            row = self._direct.change(chosen)
            row.begin(worker, now)
            self._direct.store(row, now)
            claimed.append(as_claimed(row))
        return claimed

    async def insert_child(self, child: NewJob, attempt: int) -> UUID | None:
        """Insert a job that its parent waits for, if the parent is active at this attempt."""
        parent, row = child.parent, fresh(child, self._clock.now())

        def wanted() -> Iterator[Lock]:
            if parent is not None and self._runs(parent, attempt):
                yield parent
                yield from self._locks_of_new([row])

        if self._locks.any:
            await self._locks.clear(wanted)
        if parent is None or not self._runs(parent, attempt):
            raise LeaseLostError.of(parent)
        transitions.insert(self._direct, [row])
        if (inserted := self._tables.jobs.get(child.id)) is not None and not inserted.awaited:
            transitions.await_end(self._direct, inserted)
        return child.id if self._tables.known(child.id) else None

    async def settle_unlocked(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        repeated: bool = False,
    ) -> Settled:
        """Write outcomes of the active jobs that no transaction has locked."""
        outcomes, now = checked(completed, failed, released), self._clock.now()
        locked = {
            one.id
            for one in (*completed, *failed, *released)
            if any(self._locks.taken(lock) for lock in self._locks_of_settled([one]))
        }
        changed = self._settle(now, outcomes.without(locked), repeated=repeated)
        self._wake(now, changed)
        return Settled(changed, locked)

    async def suspend(
        self, waiting: Sequence[Waiting], *, repeated: bool = False, skip_locked: bool = False
    ) -> Suspensions:
        """Suspend active jobs until others have ended."""
        now = self._clock.now()
        locked: set[UUID] = set()
        if self._locks.any and skip_locked:
            for one in waiting:
                if any(self._locks.taken(lock) for lock in self._locks_of_waiting([one])):
                    locked.add(one.id)
        elif self._locks.any:
            await self._locks.clear(lambda: self._locks_of_waiting(waiting))
        free = [one for one in waiting if one.id not in locked]
        done = transitions.suspend(self._direct, now, free, repeated=repeated)
        self._wake(now, done.changed)  # for jobs that lost their slot and so have ended
        return done._replace(locked=frozenset(locked))

    async def resume_waiting(self, limit: int) -> int:
        """Resume jobs whose child has ended and that were not notified."""
        check_limit(limit)
        now = self._clock.now()
        free = (row for row in self._tables.waiting_for_ended() if not self._locks.taken(row.id))
        found = sorted(free, key=lambda row: (row.waits_for or row.id, row.id))[:limit]
        for row in found:
            parent = self._direct.change(row)
            parent.wake(now)
            self._direct.store(parent, now)
        return len(found)

    async def delete_jobs(self, ids: Sequence[UUID]) -> set[UUID]:
        """Delete those of these jobs that have ended, with their events."""
        jobs, archive = self._tables.jobs, self._tables.archive

        def chosen() -> list[Row]:
            known = (jobs.get(job_id) or archive.get(job_id) for job_id in dict.fromkeys(ids))
            ended = [row for row in known if row is not None and row.state in FINAL]
            parents = {row.id: jobs.get(row.parent) for row in ended if row.awaited and row.parent}
            waited = {job_id for job_id, one in parents.items() if one is not None and one.state not in FINAL}
            return [row for row in ended if row.id not in waited]

        if self._locks.any:
            await self._locks.clear(lambda: [row.id for row in chosen() if row.id in jobs])
        deleted = chosen()
        for row in deleted:
            if row.id in jobs:
                self._tables.take_out(row)
                del jobs[row.id]
            else:
                del archive[row.id]
            self._tables.forget_events(row.id)
        return {row.id for row in deleted}

    async def private_queues(self) -> set[str]:
        """Return the private queues with jobs that have not ended."""
        counts = self._tables.counts.items()
        return {name for name, states in counts if name.startswith(PRIVATE_PREFIX) and not {*states} <= FINAL}

    async def move_jobs(self, queues: Mapping[str, str], ended_since: datetime) -> MovedJobs:
        """Move the jobs of some queues to others, except those whose key or slot another job has there."""
        now, moved = self._clock.now(), 0
        kept: list[UUID] = []

        def chosen() -> list[Row]:
            rows = (row for row in self._tables.jobs.values() if row.name in queues)
            return [row for row in rows if row.completed_on is None or row.completed_on >= ended_since]

        if self._locks.any:
            await self._locks.clear(lambda: [row.id for row in chosen()])
        for row in sorted(chosen(), key=lambda row: (-RANK[row.state], row.id)):
            hold = hold_of(queues[row.name], row.singleton_key, row.singleton_on)
            if not (held_in(hold, row.state) and hold in self._tables.held):
                moving = self._direct.change(row)
                moving.name, moving.hold = queues[row.name], hold
                self._direct.store(moving, now)
                moved += 1
            elif row.state not in FINAL:
                kept.append(row.id)
        for name in queues:
            self._tables.line_up(name)
        return MovedJobs(moved, kept)

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Record that a worker is alive, delete long dead ones; return the attempt of each job it holds."""
        now, known = self._clock.now(), self._tables.workers.get(worker.id)
        for other in list(self._tables.workers.values()):
            if other.id != worker.id and transitions.is_dead(other, now - DEAD_KEPT):
                del self._tables.workers[other.id]
        self._tables.workers[worker.id] = replace(
            worker,
            started_on=now if known is None else known.started_on,
            beat_on=now,
            asleep=known is not None and known.asleep,
        )
        return {row.id: row.attempt for row in self._tables.held_by(worker.id).values()}

    def heartbeat_connection(self) -> None:
        """Return None: the rows belong to one event loop."""

    async def deregister(self, worker: UUID) -> None:
        """Deregister a worker; jobs it still holds are overdue at once."""
        self._tables.workers.pop(worker, None)

    async def resume(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put cancelled jobs back to created, due at once."""
        now = self._clock.now()

        def family() -> set[UUID]:
            return {job_id for job_id, _ in transitions.cancelled_along(self._direct, ids)}

        if self._locks.any:
            await self._locks.clear(lambda: self._locks_of_returning(family(), Event.RESUME))
        return transitions.resume(self._direct, now, ids)

    async def retry(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put failed or expired jobs back to retry, due at once."""
        now = self._clock.now()
        if self._locks.any:
            await self._locks.clear(lambda: self._locks_of_returning(ids, Event.REVIVE))
        return transitions.requeue(self._direct, now, ids, Event.REVIVE)

    async def archive(self, after: float, limit: int, *, dating: bool = True) -> int:
        """Move jobs that ended more than ``after`` seconds ago to the archive."""
        check_limit(limit)
        now, moved = self._clock.now(), 0
        if dating:
            self._tables.date_ends(now)
        locked: list[Row] = []
        for row in self._tables.ended_before(now - timedelta(seconds=after)):
            if self._locks.taken(row.id):
                locked.append(row)
                continue
            self._tables.bury(row, now)
            moved += 1
            if moved == limit:
                break
        for row in locked:
            self._tables.take_out(row)
            self._tables.put_in(row)
        return moved

    async def purge(self, after: float, limit: int) -> int:
        """Delete jobs archived more than ``after`` seconds ago, with their events, and events of no job."""
        check_limit(limit)
        before, deleted = self._clock.now() - timedelta(seconds=after), 0
        kept: list[Row] = []
        for row in islice(self._tables.archived_before(before), limit):
            if row.awaited and row.parent in self._tables.jobs:
                kept.append(row)
            else:
                self._tables.forget(row)
                deleted += 1
        for row in kept:
            row.archived_on = self._clock.now()
            self._tables.put_in_archive(row)
        for job_id in [job_id for job_id in self._tables.events if not self._tables.known(job_id)]:
            self._tables.forget_events(job_id)
        return deleted

    async def set_idle(self, worker: UUID, queues: Sequence[str] | None) -> None:
        """Record whether the worker sleeps."""
        if (known := self._tables.workers.get(worker)) is not None:
            self._tables.workers[worker] = replace(known, asleep=queues is not None)

    async def wait_for_jobs(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until a change in one of the queues may bring work; deferred jobs wake no worker."""
        return await self._notifier.sleep(queues, timeout)

    async def append_events(self, events: Sequence[JobEvent]) -> None:
        """Store progress and log lines, and notify watchers."""
        now = self._clock.now()
        noted = [replace(event, data=jsonb.normalise(event.data), at=now) for event in events]
        for job_id, last in event_limits.no_longer_kept(noted).items():
            oldest = self._tables.events.get(job_id, [])
            gone = [event for event in oldest[:TRIMMED_AT_ONCE] if event.attempt <= last]
            oldest[:TRIMMED_AT_ONCE] = [event for event in oldest[:TRIMMED_AT_ONCE] if event.attempt > last]
            self._tables.numbers.difference_update(event.number for event in gone)
        for event in noted:
            self._tables.event_seq += 1
            if event.number in self._tables.numbers:
                continue
            if event.number is not None:
                self._tables.numbers.add(event.number)
            numbered = replace(event, seq=self._tables.event_seq)
            self._tables.events.setdefault(event.job_id, []).append(numbered)
            self._notifier.job(event.job_id)

    async def close(self) -> None:
        """Do nothing: there are no connections, and the rows stay readable."""

    # For simulations and the model test.

    @property
    def tables(self) -> Tables:
        """The tables themselves, for observers from outside; only the storage changes them."""
        return self._tables

    @property
    def notifier(self) -> Notifier:
        """The notifier, for layers between a storage and the workers that sleep on it."""
        return self._notifier

    def next_due(self, queues: Sequence[str]) -> datetime | None:
        """Return when a claim on these queues can next succeed if nothing else happens, or None for never.

        A paused or full queue waits for something else to happen. If jobs are due now, the result is not in
        the future. A simulation advances the time to it for idle workers, instead of polling.
        """
        jobs, starts = self._tables.jobs, list[datetime]()
        for line, *_ in self._open([QueueCapacity(name, 1) for name in queues], self._clock.now()):
            due = choose([(line, 1, Pool())], jobs, 1, self._locks.taken)
            for row in due:
                line.add(row)
                starts.append(row.start_after)
            if not due and (start := line.next_start(jobs)) is not None:
                starts.append(start)
        return min(starts, default=None)

    def plant(self, jobs: Sequence[Job]) -> None:
        """Write rows unchanged, like another program, replacing those with the same ids."""
        for row in map(planted, jobs):
            if (old := self._tables.jobs.pop(row.id, None)) is not None:
                self._tables.take_out(old)
            if row.archived_on is None:
                self._direct.store(row, self._clock.now())
                self._tables.planted.add(row.id)
            else:
                self._tables.put_in_archive(row)

    def dump(self) -> Snapshot:
        """Return every committed row."""
        tables = self._tables
        return Snapshot(
            jobs=[as_job(tables.jobs[job_id]) for job_id in sorted(tables.jobs)],
            archive=[as_job(tables.archive[job_id]) for job_id in sorted(tables.archive)],
            schedules=[tables.plans[name].schedule for name in sorted(tables.plans)],
            queues=[tables.queues[name] for name in sorted(tables.queues)],
            workers=sorted(tables.workers.values(), key=lambda worker: worker.id),
            events=sorted((e for events in tables.events.values() for e in events), key=lambda e: e.seq),
            keys=[tables.keys[key_id] for key_id in sorted(tables.keys)],
            sessions=[tables.sessions[digest] for digest in sorted(tables.sessions)],
            windows=[tables.windows[caller] for caller in sorted(tables.windows)],
        )

    def _open(self, capacity: Sequence[QueueCapacity], now: datetime) -> Iterator[tuple[Line, int, Pool]]:
        """Yield the lines that a claim may take from now, each with the number of jobs, and its pool."""
        pools: defaultdict[str, Pool] = defaultdict(Pool)
        for name, free in capacity:
            line = self._tables.lines.get(name)
            if line is None or line.is_empty:
                continue
            room = self._tables.room(name)
            if (room is None or room > 0) and not (self._locks.any and self._left_out(name)):
                line.advance(now)
                pool = name if room is None else next(iter(self._tables.queue(name).limited_with), name)
                yield line, free if room is None else min(free, room), pools[pool]

    def _left_out(self, name: str) -> bool:
        """Return whether claims leave a queue with a limit out, since another program has locked its row."""
        lock = queue_lock(self._tables.row_of_limit(name))
        return self._locks.taken(lock) and self._tables.room(name) is not None

    def _passed(self, job_id: UUID) -> bool:
        """Return whether a claim skips a row, because it is locked or by chance."""
        return self._locks.taken(job_id) or (
            self._random is not None and self._random.random() < self._freedom
        )

    def _locks_of_waiting(self, waiting: Sequence[Waiting]) -> Iterator[Lock]:
        for job_id, attempt, child in waiting:
            row = self._tables.jobs.get(job_id)
            if row is not None and self._runs(job_id, attempt):
                yield job_id
                yield from transitions.wait_chain(self._direct, child, job_id)
                if row.hold is not None:
                    yield row.hold

    def _locks_of_returning(self, ids: Collection[UUID], event: Event) -> Iterator[Lock]:
        for job_id in ids:
            row = self._tables.jobs.get(job_id)
            if row is not None and (row.state, event) in TRANSITIONS:
                yield row.id
                if row.hold is not None:
                    yield row.hold
