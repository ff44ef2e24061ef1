"""Claims: the choice of statement, its marks, and the queues to lock.

The index of a busy queue begins with entries of jobs that were claimed before. A vacuum removes them, but not
during a long transaction of any session. So a claim that finds as much as it wants leaves a mark at the
lowest position it took, for each queue and priority, and the next claim starts there. It would miss jobs
below a mark (a send whose transaction committed late, a start time in the past), so marks are used for a
second at a time only, and not at all once a claim returns fewer jobs than requested.

A queue with a concurrency limit is locked before its active jobs are counted, in an earlier statement, since
a statement counts in the snapshot from its start. Locking costs a write, so queues with nothing due or no
room are not locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.model import Claimed
from zeke_queue.storage.postgres.connection_pool import Statement
from zeke_queue.storage.postgres.verbs import job_channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import QueueCapacity
    from zeke_queue.storage.postgres.connection_pool import ConnectionPool
    from zeke_queue.system.clock import Clock

_LIMIT_LITERALS: Final = (1, 10, 50, 100, 200, 500, 1000)
"""Limits as literals, each with its own plan: the planner takes an unknown limit for a tenth of all rows."""

_TRUSTED_SECONDS: Final = 1.0
_FULL_LOOK_SHARE: Final = 4
"""Pause after a claim without marks, in multiples of its duration: it takes a fifth of the time at most."""

_FURTHER: Final = 100
_FURTHER_SECONDS: Final = 1.0
"""Seconds between claims that search past locked rows. An empty claim may have met rows locked by others, so
once in this time it searches past them, over ``_FURTHER`` more heads."""

_MARKS_MAX: Final = 100
"""Marks per queue at most; with more priorities than this, claims use none."""

_LIMITS_SECONDS: Final = 1.0
_LOWEST: Final = -(2**31)
_HIGHEST: Final = 2**31 - 1


class Mark(NamedTuple):
    """The lowest position, in claim order, from which a claim took a job."""

    start_after: datetime
    id: UUID


class Claims:
    """The claims of one storage, with their state between claims.

    Args:
        marking: whether to leave and use marks.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, *, marking: bool = True) -> None:
        self._pool = pool
        self._channel = job_channel(pool.schema)
        self._clock = clock
        self._marking = marking
        self._marks: dict[str, dict[int, Mark]] = {}
        self._full_look_due: dict[str, float] = {}
        self._further_due = 0.0
        self._limited: frozenset[str] = frozenset()
        self._limits_due = 0.0

    def forget_marks(self) -> None:
        """Start the next claim at the head of each queue."""
        self._marks.clear()

    def forget_limits(self) -> None:
        """Read again which queues have limits."""
        self._limits_due = 0.0

    async def claim(self, worker: UUID, capacity: Sequence[QueueCapacity], limit: int) -> list[Claimed]:
        """Claim due jobs, in claim order."""
        if self._clock.monotonic() >= self._limits_due:
            await self._look_up_limits()
        began, limited = self._clock.monotonic(), self._limited
        marks = {one.name: self._marks[one.name] for one in capacity if self._trusts(one.name, began)}
        taken = await self._claim(worker, capacity, limit, marks)
        self._time_full_reads([one.name for one in capacity if one.name not in marks], began)
        if len(taken) < limit and (rest := _rest(capacity, taken)):
            self.forget_marks()
            await self._look_up_limits()
            # A newly found limit excluded its queue, and jobs below a mark were skipped, so claim again.
            if marks or any(one.name in self._limited - limited for one in rest):
                taken += await self._claim(worker, rest, limit - len(taken), {})
                taken.sort(key=lambda job: (-job.priority, job.start_after, job.id))
            if not taken and self._may_reach_further():
                taken = await self._claim(worker, capacity, limit, {}, further=_FURTHER)
        elif self._marking:
            self._remember(taken)
        return taken

    def _may_reach_further(self) -> bool:
        """Return whether to search past locked rows at the heads; on an idle queue that would be useless."""
        now = self._clock.monotonic()
        if self._marking and now < self._further_due:
            return False
        self._further_due = now + _FURTHER_SECONDS
        return True

    def _trusts(self, name: str, now: float) -> bool:
        """Return whether a queue's marks go back to a recent claim without marks."""
        return name in self._marks and now < self._full_look_due.get(name, 0.0)

    def _time_full_reads(self, names: Iterable[str], began: float) -> None:
        ended = self._clock.monotonic()
        due = ended + max(_TRUSTED_SECONDS, _FULL_LOOK_SHARE * (ended - began))
        self._full_look_due.update(dict.fromkeys(names, due))

    async def _claim(
        self,
        worker: UUID,
        capacity: Sequence[QueueCapacity],
        limit: int,
        marks: dict[str, dict[int, Mark]],
        further: int = 0,
    ) -> list[Claimed]:
        locked = await self._worth_locking([one.name for one in capacity if one.name in self._limited], marks)
        open_queues = [one for one in capacity if one.name not in self._limited or one.name in locked]
        if not open_queues:
            return []
        parameters = claim_parameters(worker, open_queues, limit, marks)
        parameters |= {"locked": locked, "reach": limit + further, "job_channel": self._channel}
        literal = next((literal for literal in _LIMIT_LITERALS if literal >= limit), -(-limit // 1000) * 1000)
        if not locked:
            found = await self._pool.run("claim", parameters, limit=literal)
        else:
            lock = Statement("lock_queues", {"names": locked})
            found = (await self._pool.run_all(lock, Statement("claim", parameters, literal)))[1]
        return [Claimed._make(row) for row in found]

    async def _worth_locking(self, names: list[str], marks: dict[str, dict[int, Mark]]) -> list[str]:
        """Return those of these limited queues from which a claim may get jobs."""
        if not names:
            return []
        parameters = {"names": names, "busy": [name for name in names if name in marks]}
        return [row[0] for row in await self._pool.run("ready", parameters)]

    async def _look_up_limits(self) -> None:
        self._limited = frozenset(row[0] for row in await self._pool.run("limited_queues"))
        self._limits_due = self._clock.monotonic() + _LIMITS_SECONDS

    def _remember(self, taken: Iterable[Claimed]) -> None:
        """Set a mark at the lowest position of each queue and priority; ``taken`` is in claim order."""
        fresh: dict[tuple[str, int], Mark] = {}
        for job in taken:
            fresh.setdefault((job.name, job.priority), Mark(job.start_after, job.id))
        for (name, priority), mark in fresh.items():
            self._marks.setdefault(name, {})[priority] = mark
        # Each mark is a head that the next claim checks, even if nothing is left there.
        for name in {name for name, _ in fresh if len(self._marks[name]) > _MARKS_MAX}:
            del self._marks[name]


def claim_parameters(
    worker: UUID, capacity: Sequence[QueueCapacity], limit: int, marks: dict[str, dict[int, Mark]]
) -> dict[str, Any]:
    """Return the parameters of ``claim.sql``: the marks, and the gaps between their priorities."""
    gaps: list[tuple[str, int, int]] = []
    known: list[tuple[str, int, datetime, UUID]] = []
    for name, _ in capacity:
        high = _HIGHEST
        for priority in sorted(marks.get(name, ()), reverse=True):
            mark = marks[name][priority]
            known.append((name, priority, mark.start_after, mark.id))
            if priority < high:
                gaps.append((name, priority + 1, high))
            high = priority - 1
        if high >= _LOWEST:
            gaps.append((name, _LOWEST, high))
    return {
        "worker": worker,
        "limit": limit,
        "reach": limit,
        "names": [one.name for one in capacity],
        "frees": [one.limit for one in capacity],
        "gap_names": [gap[0] for gap in gaps],
        "gap_lows": [gap[1] for gap in gaps],
        "gap_highs": [gap[2] for gap in gaps],
        "known_names": [head[0] for head in known],
        "known_priorities": [head[1] for head in known],
        "marks": [head[2] for head in known],
        "mark_ids": [head[3] for head in known],
    }


def _rest(capacity: Sequence[QueueCapacity], taken: Sequence[Claimed]) -> list[QueueCapacity]:
    """Return the remaining capacity."""
    counts: dict[str, int] = {}
    for job in taken:
        counts[job.name] = counts.get(job.name, 0) + 1
    rest = [one._replace(limit=one.limit - counts.get(one.name, 0)) for one in capacity]
    return [one for one in rest if one.limit > 0]
