"""Claims: the choice of statement, its marks, and the queues to lock.

The index of a busy queue begins with entries of jobs that were claimed before. A vacuum removes them, but not
during a long transaction of any session. So a claim that finds as much as it wants leaves a mark at the
lowest position it took, for each queue and priority, and the next claim starts there. It would miss jobs
below a mark (a send whose transaction committed late, a start time in the past), so marks are used for a
second at a time only, and not at all once a claim returns fewer jobs than requested.

A queue with a concurrency limit is locked before its active jobs are counted, in an earlier statement, since
a statement counts in the snapshot from its start. Locking costs a write, so queues with nothing due or no
room are not locked, and never more queues than jobs are wanted, except by a claim that searches past locked
rows. A queue that another session has locked is left out, and tried again soon (``contended_queues``).

Payloads have a budget, which the statement applies before it reads them. A claim that it cut short left due
jobs, so nothing is repeated after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.core.contended_queues import ContendedQueues
from zeke_queue.model import Claimed, ClaimedJobs
from zeke_queue.storage.postgres.connection_pool import Statement
from zeke_queue.storage.postgres.verbs import job_channel
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import DeadlineTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Wanted(NamedTuple):
    """What a claim may take.

    Attributes:
        bytes_max: how many bytes payloads and meta may have together; None for any number.
        least: 1 if the first job may exceed that, else 0.
    """

    worker: UUID
    capacity: Sequence[QueueCapacity]
    limit: int
    bytes_max: int | None = None
    least: int = 1


class Taken(NamedTuple):
    """What one run of the statements took.

    Attributes:
        contended: whether queues were tried that others had locked.
        cut: whether due jobs were left because of their size.
        left_out: whether queues were left out, tried or not, because others had locked them.
    """

    jobs: list[Claimed]
    contended: bool = False
    cut: bool = False
    left_out: bool = False


class Claims:
    """The claims of one storage, with their state between claims.

    Args:
        retry: called with a queue that a claim left out, when a claim may find it unlocked.
        marking: whether to leave and use marks.
    """

    def __init__(
        self, pool: ConnectionPool, clock: Clock, retry: Callable[[str], None], *, marking: bool = True
    ) -> None:
        self._pool = pool
        self._channel = job_channel(pool.schema)
        self._clock = clock
        self._marking = marking
        self._marks: dict[str, dict[int, Mark]] = {}
        self._full_look_due: dict[str, float] = {}
        self._further_due = 0.0
        self._limited: frozenset[str] = frozenset()
        self._limits_due = 0.0
        self._contended = ContendedQueues()
        self._stuck: dict[str, float] = {}
        self._retry = retry
        self._retries = DeadlineTimer(clock, self._retry_due)

    def close(self) -> None:
        """Stop the timer of queues that were left out."""
        self._retries.cancel()

    def forget_marks(self) -> None:
        """Start the next claim at the head of each queue."""
        self._marks.clear()

    def forget_limits(self) -> None:
        """Read again which queues have limits, and try all of them again."""
        self._limits_due = 0.0
        self._contended = ContendedQueues()

    async def claim(self, wanted: Wanted) -> ClaimedJobs:
        """Claim due jobs, in claim order."""
        if self._clock.monotonic() >= self._limits_due:
            await self._look_up_limits()
        await self._report_stuck()
        began, limited = self._clock.monotonic(), self._limited
        capacity, limit = wanted.capacity, wanted.limit
        marks = {one.name: self._marks[one.name] for one in capacity if self._trusts(one.name, began)}
        taken, contended, cut, left_out = await self._claim(wanted, marks)
        self._time_full_reads([one.name for one in capacity if one.name not in marks], began)
        if len(taken) < limit and not cut and (rest := _rest(wanted, taken)).capacity:
            self.forget_marks()
            if any(one.name not in self._limited for one in rest.capacity):
                await self._look_up_limits()
            # A newly found limit excluded its queue, jobs below a mark were skipped, and a locked queue took
            # the place of another one, so claim again.
            if marks or contended or any(one.name in self._limited - limited for one in rest.capacity):
                more = await self._claim(rest, {})
                taken, left_out = taken + more.jobs, more.left_out
                taken.sort(key=lambda job: (-job.priority, job.start_after, job.id))
            if not taken and self._may_reach_further():
                further = await self._claim(wanted, {}, further=_FURTHER)
                taken, left_out = further.jobs, further.left_out
        elif self._marking:
            self._remember(taken)
        return ClaimedJobs(taken, left_out=left_out)

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

    async def _claim(self, wanted: Wanted, marks: dict[str, dict[int, Mark]], further: int = 0) -> Taken:
        """Run the statements of a claim once."""
        limit, now = wanted.limit, self._clock.monotonic()
        limited = [one for one in wanted.capacity if one.name in self._limited]
        free = [one for one in limited if not self._contended.left_out(one.name, now)]
        tried = await self._worth_locking(free, limit + further, marks)
        open_queues = [one for one in wanted.capacity if one.name not in self._limited or one.name in tried]
        if not open_queues:
            return Taken([], left_out=len(free) < len(limited))
        parameters = claim_parameters(wanted._replace(capacity=open_queues), marks)
        parameters |= {"reach": limit + further, "job_channel": self._channel}
        literal = next((literal for literal in _LIMIT_LITERALS if literal >= limit), -(-limit // 1000) * 1000)
        contended: dict[str, str] = {}
        if not tried:
            found = await self._pool.run("claim", parameters, limit=literal)
        else:
            lock = Statement("lock_queues", {"names": list(tried)})
            ((_, names, holders),), found = await self._pool.run_all(
                lock, Statement("claim", parameters, literal)
            )
            contended = dict(zip(names, holders, strict=True))
            self._record_contended(tried, contended)
        return Taken(
            [Claimed._make(row[:-1]) for row in found],
            bool(contended),
            bool(found and found[0][-1]),
            bool(contended) or len(free) < len(limited),
        )

    async def _worth_locking(
        self, limited: Sequence[QueueCapacity], limit: int, marks: dict[str, dict[int, Mark]]
    ) -> dict[str, None]:
        """Return those of the queues from which a claim may get jobs, in claim order, at most ``limit``."""
        if not limited:
            return {}
        found = await self._pool.run("ready", ready_parameters(limited, limit, marks))
        return dict.fromkeys(row[0] for row in found)

    def _record_contended(self, tried: Iterable[str], contended: Mapping[str, str]) -> None:
        now = self._clock.monotonic()
        self._stuck.update(self._contended.record(tried, contended, now))
        if contended and (at := self._contended.next_retry()) is not None:
            self._retries.set(at)

    def _retry_due(self, now: float) -> float | None:
        for name in self._contended.due(now):
            self._retry(name)
        return self._contended.next_retry()

    async def _report_stuck(self) -> None:
        """Log the queues that stay locked, and the sessions that hold the locks."""
        stuck, self._stuck = self._stuck, {}
        if not stuck:
            return
        for name, pid, application, state in await self._pool.run("queue_holders", {"names": list(stuck)}):
            get_logger().warning(
                "queue_locked",
                queue=name,
                seconds=round(stuck[name], 1),
                session=None if pid is None else {"pid": pid, "application": application, "state": state},
                consequence="its jobs wait until that session ends its transaction",
            )

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


def claim_parameters(wanted: Wanted, marks: dict[str, dict[int, Mark]]) -> dict[str, Any]:
    """Return the parameters of ``claim.sql``."""
    return _heads(wanted.capacity, marks) | {
        "worker": wanted.worker,
        "limit": wanted.limit,
        "reach": wanted.limit,
        "bytes_max": wanted.bytes_max,
        "least": wanted.least,
        "names": [one.name for one in wanted.capacity],
        "frees": [one.limit for one in wanted.capacity],
    }


def ready_parameters(
    capacity: Sequence[QueueCapacity], limit: int, marks: dict[str, dict[int, Mark]]
) -> dict[str, Any]:
    """Return the parameters of ``ready.sql``."""
    return _heads(capacity, marks) | {"names": [one.name for one in capacity], "limit": limit}


def _heads(capacity: Sequence[QueueCapacity], marks: dict[str, dict[int, Mark]]) -> dict[str, Any]:
    """Return the positions where the search begins: the marks, and the gaps between their priorities."""
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
        "gap_names": [gap[0] for gap in gaps],
        "gap_lows": [gap[1] for gap in gaps],
        "gap_highs": [gap[2] for gap in gaps],
        "known_names": [head[0] for head in known],
        "known_priorities": [head[1] for head in known],
        "marks": [head[2] for head in known],
        "mark_ids": [head[3] for head in known],
    }


def _rest(wanted: Wanted, taken: Sequence[Claimed]) -> Wanted:
    """Return what is left of a request once these jobs are taken."""
    counts: dict[str, int] = {}
    for job in taken:
        counts[job.name] = counts.get(job.name, 0) + 1
    rest = [one._replace(limit=one.limit - counts.get(one.name, 0)) for one in wanted.capacity]
    bytes_max = wanted.bytes_max
    if bytes_max is not None:
        bytes_max = max(0, bytes_max - sum(job.payload_bytes for job in taken))
    return wanted._replace(
        capacity=[one for one in rest if one.limit > 0],
        limit=wanted.limit - len(taken),
        bytes_max=bytes_max,
        least=0 if taken else wanted.least,
    )
