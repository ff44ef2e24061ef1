"""The background duties of a worker: maintenance and cron, or a check that another worker does.

Any number of workers may have the same duty: each passes over rows that another one has locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import StoppableTimer
from zeke_queue.worker.storage_health import log_refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from zeke_queue.client.parts import Parts
    from zeke_queue.maintenance.outage_monitor import OutageMonitor

SWEEP_INTERVAL_MAX: Final = 5.0
"""Maximum seconds between two rounds of maintenance."""

CHECK_INTERVAL: Final = 60.0
"""Seconds between two checks whether a live worker has the duties that this one leaves out."""

MAINTENANCE: Final = "maintenance"
SCHEDULES: Final = "schedules"

_HINTS: Final = {
    MAINTENANCE: "no live worker rescues lost jobs, archives or purges; start one with maintenance=True, for"
    " instance `zeke worker --concurrency 0`",
    SCHEDULES: "no live worker serves the schedules; start one with schedules=True, for instance"
    " `zeke worker --concurrency 0`",
}


def sweep_interval(heartbeat_interval: float) -> float:
    """Return the seconds between two rounds of maintenance.

    With shorter leases, whose heartbeats are more frequent, lost jobs are found sooner.
    """
    return min(SWEEP_INTERVAL_MAX, heartbeat_interval)


class Loop(Protocol):
    """A loop that runs concurrently with the worker's own."""

    async def run(self) -> None:
        """Run until stopped."""
        ...

    def stop(self) -> None:
        """Make ``run`` return after its current work."""
        ...


class Duties:
    """The duties of a worker, each with its loop.

    Args:
        parts: the parts of the worker's queue.
        names: the duties: ``maintenance``, ``schedules``, both or none.
        lease: the worker's lease, within which workers that start together are registered.
        interval: seconds between two rounds of maintenance.
        monitor: the time without an outage of the storage, from the worker's heartbeats.

    Attributes:
        names: the names of the duties, stored with the worker.
        monitor: as given.
    """

    def __init__(
        self, parts: Parts, names: Sequence[str], lease: float, interval: float, monitor: OutageMonitor
    ) -> None:
        self.names = tuple(names)
        self.monitor = monitor
        self._loops: dict[str, Loop] = {}
        if MAINTENANCE in names:
            self._loops[MAINTENANCE] = Maintenance(parts, every=interval, monitor=monitor)
        if SCHEDULES in names:
            self._loops[SCHEDULES] = Scheduler(parts, declared=True)
        wanted = {MAINTENANCE, SCHEDULES} if parts.catalog.schedules else {MAINTENANCE}
        if left_out := wanted.difference(names):
            self._loops["duty-check"] = DutyCheck(parts, left_out, lease)

    def __iter__(self) -> Iterator[tuple[str, Loop]]:
        """Yield the loops with their names."""
        return iter(self._loops.items())

    def stop(self) -> None:
        """Stop the loops; each finishes its current work."""
        for loop in self._loops.values():
            loop.stop()


class DutyCheck:
    """Logs a warning while no live worker has a duty that this one leaves out.

    Args:
        parts: the parts of the worker's queue.
        lease: seconds until the first check.
    """

    def __init__(self, parts: Parts, left_out: Collection[str], lease: float) -> None:
        self._storage = parts.storage
        self._timer = StoppableTimer(parts.clock)
        self._left_out = frozenset(left_out)
        self._lease = lease

    async def run(self) -> None:
        """Check at intervals until stopped; each gap is logged once."""
        missing: frozenset[str] = frozenset()
        await self._timer.pause(self._lease)
        while not self._timer.stopped:
            try:
                found = await self._missing()
            except Exception as error:  # noqa: BLE001 - a check must not end the worker
                log_refusal("workers", error)
                found = missing
            for name in sorted(found - missing):
                get_logger().warning("duty_missing", duty=name, hint=_HINTS[name])
            missing = found
            await self._timer.pause(CHECK_INTERVAL)

    def stop(self) -> None:
        """Make ``run`` return soon."""
        self._timer.stop()

    async def _missing(self) -> frozenset[str]:
        now = await self._storage.now()
        live = [worker for worker in await self._storage.workers() if worker.is_alive(now)]
        return self._left_out.difference(name for worker in live for name in worker.duties)
