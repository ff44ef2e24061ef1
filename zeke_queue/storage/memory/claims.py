"""Claims: due jobs in claim order, within the limits.

A job is due if it waits, its start_after is not in the future, and its queue is not paused and has room,
which queues may share. The order over all queues is priority (highest first), then start_after, then id; the
first job that does not fit into the bytes of a claim ends it. ``claim.sql`` implements the same, and
``tests/model`` compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.storage.memory.rows import Row

    Entry = tuple[int, datetime, int, UUID]  # claim order: -priority, start_after, id as a number, id
    Later = tuple[datetime, Entry]


class Line:
    """The waiting jobs of one queue: due ones in claim order, the others by the time when they will be due.

    Both heaps contain stale entries, of jobs that no longer wait or wait for another time; they are dropped
    when they reach the top.
    """

    __slots__ = ("_due", "_later", "_now")

    def __init__(self) -> None:
        self._due: list[Entry] = []
        self._later: list[Later] = []
        self._now: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no job has been added that may still wait."""
        return not self._due and not self._later

    def add(self, row: Row) -> None:
        """Add a waiting row."""
        entry = (-row.priority, row.start_after, row.id.int, row.id)
        if self._now is not None and row.start_after <= self._now:
            heappush(self._due, entry)
        else:
            heappush(self._later, (row.start_after, entry))

    def put_back(self, entry: Entry) -> None:
        """Return an entry that was taken but not used."""
        heappush(self._due, entry)

    def advance(self, now: datetime) -> None:
        """Mark jobs whose start time has passed as due; a clock that was set back makes jobs wait again."""
        if self._now is not None and now < self._now:
            self._later.extend((entry[1], entry) for entry in self._due)
            heapify(self._later)
            self._due.clear()
        self._now = now
        while self._later and self._later[0][0] <= now:
            heappush(self._due, heappop(self._later)[1])

    def head(self, jobs: Mapping[UUID, Row]) -> Entry | None:
        """Return the first due entry, as of the last advance, or None."""
        while self._due:
            entry = self._due[0]
            if _stands(entry, jobs):
                return entry
            heappop(self._due)
        return None

    def take(self) -> Entry:
        """Remove the head and return it."""
        return heappop(self._due)

    def next_start(self, jobs: Mapping[UUID, Row]) -> datetime | None:
        """Return when the first job that is not yet due will be, or None."""
        while self._later:
            start, entry = self._later[0]
            if _stands(entry, jobs):
                return start
            heappop(self._later)
        return None


@dataclass(slots=True)
class Pool:
    """Queues that share a limit, or a single queue.

    Attributes:
        capacity: how many jobs may be taken of its queues, the highest number of one of them.
        seen: how many of its jobs a claim has seen in claim order, taken or not.
    """

    capacity: int = 0
    seen: int = 0


def _stands(entry: Entry, jobs: Mapping[UUID, Row]) -> bool:
    """Return whether an entry is current: its job waits, and for this time."""
    row = jobs.get(entry[3])
    return row is not None and row.waits and row.start_after == entry[1]


def choose(
    lines: Iterable[tuple[Line, int, Pool]],
    jobs: Mapping[UUID, Row],
    limit: int,
    passed: Callable[[UUID], bool],
    bytes_max: int | None = None,
) -> list[Row]:
    """Take the first due rows of several lines, in claim order.

    Args:
        lines: advanced lines, each with the number of rows of its pool after which none of it is taken.
        jobs: the live rows.
        limit: how many rows in total at most.
        passed: returns whether to skip a row, as SKIP LOCKED does with rows locked by others.
        bytes_max: how many bytes of payload and meta in total at most, but one row at the least.
    """
    chosen: list[Row] = []
    bytes_left = math.inf if bytes_max is None else bytes_max
    aside: list[tuple[Line, Entry]] = []
    heads: list[tuple[Entry, int, Line, int, Pool]] = []
    for number, (line, room, pool) in enumerate(lines):
        pool.capacity = max(pool.capacity, room)
        if room > 0 and (entry := line.head(jobs)) is not None:
            heads.append((entry, number, line, room, pool))
    heapify(heads)
    while heads and len(chosen) < limit:
        entry, number, line, room, pool = heappop(heads)
        if pool.seen >= pool.capacity:
            continue
        line.take()
        if passed(entry[3]):
            aside.append((line, entry))
        elif pool.seen >= room:
            aside.append((line, entry))
            pool.seen += 1
        else:
            row = jobs[entry[3]]
            bytes_left -= row.payload_bytes
            if bytes_left < 0 and chosen:
                aside.append((line, entry))
                break
            chosen.append(row)
            pool.seen += 1
        if pool.seen < pool.capacity and (following := _after(line, entry, jobs)) is not None:
            heappush(heads, (following, number, line, room, pool))
    for line, entry in aside:
        line.put_back(entry)
    return chosen


def _after(line: Line, entry: Entry, jobs: Mapping[UUID, Row]) -> Entry | None:
    """Return the head after an entry was taken, skipping further entries of the same job."""
    while (following := line.head(jobs)) == entry:
        line.take()
    return following
