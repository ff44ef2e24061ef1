"""Metrics for Prometheus: of the storage at the time of the scrape, and of this process.

The storage's metrics are gauges: rows are archived and purged, so no count only grows.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from zeke_queue.errors import ReadTimeoutError
from zeke_queue.system.waiting import end, start_detached
from zeke_queue.web.errors import RETRY_AFTER, ApiError
from zeke_queue.web.inspect import all_workers, described

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from zeke_queue.web.api import Api

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class _Collected:
    """A Prometheus collector of metrics that were read beforehand."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class Metrics:
    """Reads metrics. Concurrent scrapes share one read, so that none of the search budget is needed."""

    def __init__(self, parts: Api) -> None:
        self._parts = parts
        self._reading: asyncio.Task[bytes] | None = None
        self._closed = False

    async def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format; without those that take too long to count."""
        if self._closed:
            raise _stopping()
        if self._reading is None or self._reading.done():
            self._reading = start_detached(self._read())
        reading = self._reading
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            scrape = asyncio.current_task()
            if not reading.cancelled() or (scrape is not None and scrape.cancelling()):
                raise
            raise _stopping() from None

    async def close(self) -> None:
        """End the read under way, and begin no others: they use connections that the caller closes next."""
        self._closed = True
        if self._reading is not None:
            await end(self._reading)

    async def _read(self) -> bytes:
        streams = self._parts.live.open_streams
        metrics: list[Metric] = [_gauge("zeke_streams", "Live streams of this process", streams)]
        for read in (_of_jobs, _of_queues, _of_workers, _of_schedules):
            with suppress(ReadTimeoutError):
                metrics += await read(self._parts)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(metrics))
        return generate_latest(registry)


def _stopping() -> ApiError:
    return ApiError(503, "The server is stopping; retry later", headers={"retry-after": RETRY_AFTER})


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)


async def _of_jobs(parts: Api) -> list[Metric]:
    jobs = GaugeMetricFamily("zeke_jobs", "Live jobs by queue and state", labels=["queue", "state"])
    lag = GaugeMetricFamily(
        "zeke_queue_lag_seconds", "Seconds since the oldest waiting job became due", labels=["queue"]
    )
    for queue in await described(parts, await parts.storage.queue_stats()):
        for state, number in queue.counts.items():
            jobs.add_metric([queue.name, state], number)
        lag.add_metric([queue.name], queue.lag or 0.0)
    return [jobs, lag]


async def _of_queues(parts: Api) -> list[Metric]:
    paused = GaugeMetricFamily("zeke_queue_paused", "1 for a paused queue", labels=["queue"])
    limit = GaugeMetricFamily("zeke_queue_limit", "Maximum number of concurrent jobs", labels=["queue"])
    for queue in await described(parts, ()):
        paused.add_metric([queue.name], float(queue.paused))
        if queue.concurrency_limit is not None:
            limit.add_metric([queue.name], queue.concurrency_limit)
    return [paused, limit]


async def _of_workers(parts: Api) -> list[Metric]:
    alive = [worker for worker in await all_workers(parts) if worker.alive]
    busy = sum(worker.holds for worker in alive)
    return [
        _gauge("zeke_workers", "Live workers", len(alive)),
        _gauge("zeke_workers_holding", "Jobs that live workers hold", busy),
    ]


async def _of_schedules(parts: Api) -> list[Metric]:
    late = GaugeMetricFamily(
        "zeke_schedule_late_seconds",
        "Seconds by which the next tick is overdue; 0 if it is not",
        labels=["schedule"],
    )
    now = await parts.storage.now()
    for schedule in await parts.queue.schedules.list():
        due = None if schedule.paused else schedule.next_tick
        late.add_metric([schedule.name], max(0.0, (now - due).total_seconds()) if due else 0.0)
    return [late]
