"""All committed data of the memory storage, with the indexes that make queries cheap.

A row is taken out of the indexes before it changes and put back afterwards. Heaps are the exception: finding
entries in them is expensive, so stale ones stay and are dropped when they reach the top.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.model import FINAL, QueueSettings, RowState
from zeke_queue.storage.memory.claims import Line
from zeke_queue.storage.memory.uniqueness import held_in
from zeke_queue.storage.notifier import drop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import JobEvent, Schedule, WorkerInfo
    from zeke_queue.storage.access import ApiKey
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.uniqueness import Hold

AHEAD_MAX: Final = timedelta(days=1)
"""Maximum time by which the end of a job may be in the future; only other programs write later ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The current schedule, and the one that code last declared (None: never)."""

    schedule: Schedule
    declared: Schedule | None = None


class Session(NamedTuple):
    """A session opened with a key, by the digest of its token."""

    digest: bytes
    key_id: UUID
    opened_on: datetime
    ends_on: datetime


class Window(NamedTuple):
    """The number of a caller's admitted calls since a window began."""

    caller: str
    ends_on: datetime
    calls: int


class Tables:
    """The committed rows of every table."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, Row] = {}
        self.archive: dict[UUID, Row] = {}
        self.events: dict[UUID, list[JobEvent]] = {}
        self.event_seq = 0
        self.numbers: set[int | None] = set()
        self.queues: dict[str, QueueSettings] = {}
        self.workers: dict[UUID, WorkerInfo] = {}
        self.plans: dict[str, Plan] = {}
        self.keys: dict[UUID, ApiKey] = {}
        self.sessions: dict[bytes, Session] = {}
        self.windows: dict[str, Window] = {}

        self.held: dict[Hold, UUID] = {}
        self.lines: defaultdict[str, Line] = defaultdict(Line)
        self.active: dict[UUID, Row] = {}
        self.waiting: dict[UUID, dict[UUID, Row]] = {}
        self.children: dict[UUID, dict[UUID, Row]] = {}
        self.counts: defaultdict[str, dict[RowState, int]] = defaultdict(dict)
        self._held_by: defaultdict[UUID | None, dict[UUID, Row]] = defaultdict(dict)
        self.planted: set[UUID] = set()
        self._ended: list[tuple[datetime, int, UUID]] = []
        self._archived: list[tuple[datetime, int, UUID]] = []

    def take_out(self, row: Row) -> None:
        """Remove a live row from the indexes, because it is about to change or to go."""
        state, counts = row.state, self.counts[row.name]
        counts[state] -= 1
        if not counts[state]:
            del counts[state]
        if row.hold is not None and held_in(row.hold, state):
            del self.held[row.hold]
        if state is RowState.ACTIVE:
            del self.active[row.id]
            held = self._held_by[row.worker]
            del held[row.id]
            if not held:
                del self._held_by[row.worker]
        if row.waits_for is not None:
            drop(self.waiting, row.waits_for, row.id)
        if row.awaited and row.parent is not None:
            drop(self.children, row.parent, row.id)

    def put_in(self, row: Row) -> None:
        """Store a live row in its present form, new or changed."""
        state, counts = row.state, self.counts[row.name]
        self.jobs[row.id] = row
        counts[state] = counts.get(state, 0) + 1
        if row.hold is not None and held_in(row.hold, state):
            self.held[row.hold] = row.id
        if row.waits:
            self.lines[row.name].add(row)
        elif state is RowState.ACTIVE:
            self.active[row.id] = self._held_by[row.worker][row.id] = row
        elif row.completed_on is not None:
            heappush(self._ended, (row.completed_on, row.id.int, row.id))
        if row.waits_for is not None and row.waits:
            self.waiting.setdefault(row.waits_for, {})[row.id] = row
        if row.awaited and row.parent is not None:
            self.children.setdefault(row.parent, {})[row.id] = row

    def line_up(self, name: str) -> None:
        """Rebuild a queue's line, without entries of jobs that have moved to another queue."""
        self.lines.pop(name, None)
        for row in self.jobs.values():
            if row.name == name and row.waits:
                self.lines[name].add(row)

    def known(self, job_id: UUID) -> bool:
        """Return whether a job with this id is live or archived."""
        return job_id in self.jobs or job_id in self.archive

    def held_by(self, worker: UUID) -> dict[UUID, Row]:
        """Return the active rows of a worker."""
        return self._held_by.get(worker, {})

    def waiting_for_ended(self) -> Iterator[Row]:
        """Yield the rows that wait for a job that has ended or no longer exists."""
        for job_id, parents in self.waiting.items():
            child = self.jobs.get(job_id)
            if child is None or child.state in FINAL:
                yield from parents.values()

    def room(self, name: str) -> int | None:
        """Return how many more jobs of a queue may become active; None is any number."""
        settings = self.queues.get(name)
        if settings is None:
            return None
        if settings.paused_on is not None:
            return 0
        if settings.concurrency_limit is None:
            return None
        first = self.queue(self.row_of_limit(name)).concurrency_limit
        counted = {name, *settings.limited_with}
        return (settings.concurrency_limit if first is None else first) - sum(
            self.counts[one].get(RowState.ACTIVE, 0) for one in counted if one in self.counts
        )

    def row_of_limit(self, name: str) -> str:
        """Return the queue whose row a claim of this queue locks: the first one that shares its limit."""
        first = self.queue(name).limited_with[:1]
        return first[0] if first and first[0] in self.queues else name

    def queue(self, name: str) -> QueueSettings:
        """Return the settings of a queue, or defaults if it has none."""
        return self.queues.get(name) or QueueSettings(name)

    def bury(self, row: Row, now: datetime) -> None:
        """Move an ended row to the archive."""
        self.take_out(row)
        del self.jobs[row.id]
        row.archived_on = now
        self.put_in_archive(row)

    def put_in_archive(self, row: Row) -> None:
        """Store a row as archived."""
        assert row.archived_on is not None  # noqa: S101 - archived rows have it
        self.archive[row.id] = row
        heappush(self._archived, (row.archived_on, row.id.int, row.id))

    def forget(self, row: Row) -> None:
        """Delete an archived row and its events."""
        del self.archive[row.id]
        self.forget_events(row.id)

    def forget_events(self, job_id: UUID) -> None:
        """Delete the events of a job."""
        self.numbers.difference_update(event.number for event in self.events.pop(job_id, ()))

    def date_ends(self, now: datetime) -> None:
        """Set the end of planted rows that ended at no known time, or at one far ahead, to this instant."""
        self.planted &= self.jobs.keys()
        for row in (self.jobs[job_id] for job_id in self.planted):
            if row.state in FINAL and (row.completed_on is None or row.completed_on - now > AHEAD_MAX):
                self.take_out(row)
                row.completed_on = now
                self.put_in(row)

    def ended_before(self, instant: datetime) -> Iterator[Row]:
        """Yield rows that ended before an instant, oldest first; move each one before asking for the next."""
        while self._ended and self._ended[0][0] < instant:
            ended, _, job_id = heappop(self._ended)
            row = self.jobs.get(job_id)
            if row is not None and row.state in FINAL and row.completed_on == ended:
                yield row

    def archived_before(self, instant: datetime) -> Iterator[Row]:
        """Yield rows archived before an instant, oldest first; delete each one before asking for the next."""
        while self._archived and self._archived[0][0] < instant:
            archived, _, job_id = heappop(self._archived)
            row = self.archive.get(job_id)
            if row is not None and row.archived_on == archived:
                yield row
