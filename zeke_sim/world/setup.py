"""The setup of a simulated world, as defined by a scenario or a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core.leases import validity
from zeke_queue.system.settings import Settings
from zeke_queue.worker.duties import SWEEP_INTERVAL_MAX, sweep_interval
from zeke_sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from zeke_queue.task.catalog import Catalog
    from zeke_sim.world.node import Main

EPOCH: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""The default start of virtual time, a Monday morning."""

LONG: Final = 120.0
"""Seconds; a longer fault phase has as many faults as one of this length, and always skips idle time."""


@cache
def default_settings() -> Settings:
    """Return the default settings, cached because reading them takes milliseconds."""
    return Settings()


@dataclass(slots=True)
class Setup:
    """The setup of a world.

    Attributes:
        catalog: the tasks, for workers, schedulers and maintenance.
        clients: programs that use the queue, by name; each has a node of its own and runs once. Node faults
            never kill a client, but all statement faults affect it; a client that is killed with its
            statement is restarted.
        workers, schedulers, maintenance: the number of processes of each.
        worker: options of ``zeke_queue.Worker``. Here ``maintenance`` and ``schedules`` are False by default,
            and processes of their own have these duties; where they are True, workers have them too.
        others: additional workers by name, with their own catalog, such as another version.
        sweep: seconds between sweeps of maintenance.
        archive_after, delete_after: how long ended and archived jobs are kept, in seconds.
        batch: maximum number of rows per statement of maintenance.
        phase: length of the fault phase in seconds.
        quiet: seconds after the fault phase by which all jobs must have ended.
        tail: seconds after that for archiving and deletion of ended jobs; None for as long as they take.
        epoch: the virtual start time, aware.
        code: names of modules or packages in whose functions a process can be killed between two statements,
            besides the modules of handlers and what those import of their own package.
        before: called with the ``World`` before it starts, to observe it.
    """

    catalog: Catalog
    clients: Mapping[str, Main] = field(default_factory=dict[str, Any])
    workers: int = 2
    schedulers: int = 0
    maintenance: int = 1
    worker: Mapping[str, Any] = field(default_factory=dict[str, Any])
    others: Mapping[str, Catalog] = field(default_factory=dict[str, Any])
    sweep: float = 5.0
    archive_after: float = 60.0
    delete_after: float = 60.0
    batch: int = 1000
    phase: float = 60.0
    quiet: float = 600.0
    tail: float | None = None
    epoch: datetime = EPOCH
    settings: Settings | None = None
    code: Sequence[str] = ()
    before: Callable[[Any], None] | None = None

    @property
    def maintained(self) -> bool:
        """Whether any process runs maintenance."""
        return bool(self.maintenance or self.worker.get("maintenance"))

    @property
    def slowest_sweep(self) -> float:
        """The longest interval between two sweeps of a process."""
        if not self.worker.get("maintenance"):
            return self.sweep
        heartbeat = self.worker.get("heartbeat_interval", SWEEP_INTERVAL_MAX)
        return max(self.sweep * bool(self.maintenance), sweep_interval(heartbeat))

    @property
    def validity(self) -> float:
        """Seconds after a heartbeat for which a worker's jobs are its own."""
        return validity(self.worker.get("lease", 15.0), self.heartbeat_interval)

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between a worker's heartbeats."""
        return self.worker.get("heartbeat_interval", 5.0)

    def check_names(self) -> None:
        """Check that names of clients and additional workers are unique and can be part of an address.

        Raises:
            SimulationError: a name is taken, or not valid in an address.
        """
        taken = {
            f"{letter}{number}"
            for letter, many in (("w", self.workers), ("s", self.schedulers), ("v", self.maintenance))
            for number in range(1, many + 1)
        }
        for name in (*self.others, *self.clients):
            if name in taken or "/" in name or not name:
                raise SimulationError(
                    f"clients: {name!r} is another node's name, or has a slash; pass another"
                )
            taken.add(name)
