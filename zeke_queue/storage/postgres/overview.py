"""Queries over many jobs, for charts and streams: recently ended jobs, waiting times, events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.core import event_limits, time_buckets
from zeke_queue.model import QueueStats, RowState, Throughput
from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.connection_pool import Statement
from zeke_queue.storage.postgres.reader import reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any
    from uuid import UUID

    from zeke_queue.model import JobEvent
    from zeke_queue.storage.postgres.connection_pool import ConnectionPool


class PostgresOverview:
    """The queries of ``storage.inspect.Inspector`` over many jobs; the protocol documents each."""

    _pool: ConnectionPool
    read_seconds: float

    async def events(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        """Return progress and log lines of jobs, by ``seq``; each job has at most its share."""
        if not after:
            return []
        parameters = {
            "ids": list(after),
            "afters": list(after.values()),
            "share": event_limits.of_each(len(after)),
        }
        with reading(self.read_seconds, "raise it, or ask for fewer jobs"):
            (found,) = await self._pool.run_all(Statement("events", parameters), seconds=self.read_seconds)
        return [rows.event(row) for row in found]

    async def throughput(self, names: Sequence[str], span: float, step: float) -> list[Throughput]:
        """Return counts and times of recently ended jobs by interval, oldest first."""
        asked = Statement("throughput", throughput_parameters(names, span, step))
        with reading(self.read_seconds, "ask for a shorter span, or fewer queues"):
            (found,) = await self._pool.run_all(asked, plain=True, seconds=self.read_seconds)
        return [Throughput._make(row) for row in found]

    async def queue_stats(self) -> list[QueueStats]:
        """Return for each queue with live jobs their number by state and the oldest due age, by name."""
        with reading(self.read_seconds, "raise it, or retry when fewer jobs are live"):
            counted, lagging = await self._pool.run_all(
                Statement("count", {}), Statement("lag", {}), plain=True, seconds=self.read_seconds
            )
        counts: dict[str, dict[RowState, int]] = {}
        for name, state, number in counted:
            counts.setdefault(name, {})[RowState(state)] = number
        ages = dict(lagging)
        return [QueueStats(name, states, ages.get(name)) for name, states in counts.items()]


def throughput_parameters(names: Sequence[str], span: float, step: float) -> dict[str, Any]:
    """Return the parameters of ``throughput.sql``."""
    number, length = time_buckets.how_many(span, step), int(step)
    return {"names": list(names) or None, "step": length, "back": (number - 1) * length}
