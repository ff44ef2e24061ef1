"""What a simulated world is made of, as a scenario or a test says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.system.settings import Settings
from zeke_sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from zeke_queue.task.catalog import Catalog
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

EPOCH: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""A Monday morning: where virtual time begins, unless a scenario needs another day."""

LONG: Final = 120.0
"""Seconds; a longer fault phase has as many misfortunes as this, and always skips its calm stretches."""


@cache
def default_settings() -> Settings:
    """Return the settings of a deployment that says nothing, read once, since that takes milliseconds."""
    return Settings()


@dataclass(slots=True)
class Setup:
    """What a world is made of.

    Attributes:
        catalog: the tasks; each worker, scheduler and supervisor has it.
        clients: programs that use the queue, by name: each is given a node, and runs once, while others fail.
            No misfortune of a node kills them; but their statements meet every fault, and one that is killed
            with its statement begins anew.
        workers, schedulers, supervisors: how many of each.
        worker: options of ``zeke_queue.Worker``.
        others: further workers by name, with a catalog of their own: another version, say.
        sweep, archive_after, delete_after: of the supervisors, in seconds.
        batch: rows that a supervisor's statement takes at most.
        phase: seconds of the fault phase.
        quiet: seconds after which everything must have drained.
        tail: seconds after that, in which what ended is archived and deleted; None for as long as that takes.
        epoch: the time at which the world begins, aware.
        settings: the deployment's.
        before: is told the world before it begins, to look on.
    """

    catalog: Catalog
    clients: Mapping[str, Callable[[Node], Awaitable[None]]] = field(default_factory=dict[str, Any])
    workers: int = 2
    schedulers: int = 0
    supervisors: int = 1
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
    before: Callable[[World], None] | None = None

    def check_names(self) -> None:
        """Refuse names of clients and further workers that are taken, or would not fit into an address.

        Raises:
            SimulationError: one is.
        """
        taken = {
            f"{letter}{number}"
            for letter, many in (("w", self.workers), ("s", self.schedulers), ("v", self.supervisors))
            for number in range(1, many + 1)
        }
        for name in (*self.others, *self.clients):
            if name in taken or "/" in name or not name:
                raise SimulationError(
                    f"clients: {name!r} is another node's name, or has a slash; give another"
                )
            taken.add(name)
