"""Queries over many jobs, for charts and streams: recently ended jobs, waiting times, events."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from zeke_queue.core import event_limits, time_buckets
from zeke_queue.model import FINAL, QueueStats, RowState, Throughput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from zeke_queue.model import JobEvent
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.system.clock import Clock

_MEDIAN: Final = 0.5
_NINETY_FIVE: Final = 0.95


class MemoryOverview:
    """The queries of ``storage.inspect.Inspector`` over many jobs; the protocol documents each."""

    _tables: Tables
    _clock: Clock

    async def events(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        """Return progress and log lines of jobs, by ``seq``; each job has at most its share."""
        share = event_limits.of_each(len(after))
        found: list[JobEvent] = []
        for job_id, seq in after.items():
            found += [event for event in self._tables.events.get(job_id, []) if event.seq > seq][:share]
        return [replace(event, number=None) for event in sorted(found, key=lambda event: event.seq)]

    async def throughput(self, names: Sequence[str], span: float, step: float) -> list[Throughput]:
        """Return counts and times of recently ended jobs by interval, oldest first."""
        begins = time_buckets.begins(self._clock.now(), time_buckets.how_many(span, step), step)
        ended: dict[datetime, list[Row]] = {begin: [] for begin in begins}
        archived = self._tables.archive.values()
        # A row archived before the first interval ended before it, so the archive is filtered by that time.
        late = (row for row in archived if row.archived_on is None or row.archived_on >= begins[0])
        for row in (*self._tables.jobs.values(), *late):
            if row.state in FINAL and row.completed_on is not None and (not names or row.name in names):
                begin = time_buckets.begin_of(row.completed_on, step)
                if begin in ended:
                    ended[begin].append(row)
        return [_pace(begin, rows) for begin, rows in ended.items()]

    async def queue_stats(self) -> list[QueueStats]:
        """Return for each queue with live jobs their number by state and the oldest due age, by name."""
        now = self._clock.now()
        ages: dict[str, float] = {}
        for row in self._tables.jobs.values():
            if row.waits and row.start_after <= now:
                ages[row.name] = max(ages.get(row.name, 0.0), (now - row.start_after).total_seconds())
        counts = sorted(self._tables.counts.items())
        return [QueueStats(name, dict(states), ages.get(name)) for name, states in counts if states]


def _pace(begin: datetime, rows: list[Row]) -> Throughput:
    states = [row.state for row in rows]
    waits: list[timedelta] = []
    runs: list[timedelta] = []
    for row in rows:
        # A job that never ran has no duration, and a cancelled one did not run to its end.
        if (
            row.state is not RowState.CANCELLED
            and row.started_on is not None
            and row.completed_on is not None
        ):
            # Clocks may have been set, so order the two times: no duration is negative.
            begun = min(row.started_on, row.completed_on)
            waits.append(begun - min(row.start_after, begun))
            runs.append(row.completed_on - begun)
    return Throughput(
        begin=begin,
        completed=states.count(RowState.COMPLETED),
        failed=states.count(RowState.FAILED) + states.count(RowState.EXPIRED),
        cancelled=states.count(RowState.CANCELLED),
        wait_median=_ranked(waits, _MEDIAN),
        wait_95=_ranked(waits, _NINETY_FIVE),
        run_median=_ranked(runs, _MEDIAN),
        run_95=_ranked(runs, _NINETY_FIVE),
    )


def _ranked(values: list[timedelta], share: float) -> float | None:
    """Return the least of these values such that at least this share of them is as small."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1].total_seconds()
