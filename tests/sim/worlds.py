"""Small worlds of a catalog and a few programs, run with given decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue import Catalog
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import Outcome, run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.faults import KINDS, NONE
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_sim.world.node import Main, Node

SKIPPING = NONE.but(skip_time=True, kinds=tuple(KINDS))
"""Time is skipped when nothing happens, and every kind of fault may be decided on."""


def catalog_of(handler: Callable[..., Any], **options: Any) -> Catalog:
    """Return a catalog of one task, which is called ``look``."""
    catalog = Catalog()
    catalog.task("look", **options)(handler)
    return catalog


def sending(task: str, times: int = 1, every: float = 0.0, first: float = 0.0) -> Main:
    """Return a program that sends jobs of a task at intervals."""

    async def send(node: Node) -> None:
        await node.clock.sleep(first)
        for _ in range(times):
            await node.queue.send(task)
            await node.clock.sleep(every)

    return send


def scenario_of(
    catalog: Catalog, *programs: Main, options: dict[str, Any] | None = None, **setup: Any
) -> Scenario:
    """Return a scenario of one worker, by default, whose clients ``c1``, ``c2`` … run the programs."""
    clients = {f"c{number}": program for number, program in enumerate(programs, 1)}
    made = {"clients": clients, "workers": 1, "phase": 1.0, **setup}
    return Scenario("given", "", lambda _draws: Setup(catalog, **made), **(options or {}))


def played(scenario: Scenario, decisions: dict[str, Any] | None = None, knobs: Any = NONE) -> Outcome:
    """Run a scenario under these decisions."""
    return run(scenario, Plan(scenario.name, 1, "given", knobs, decisions))


def simulated(
    catalog: Catalog, *programs: Main, decisions: Any = None, knobs: Any = NONE, **made: Any
) -> Outcome:
    """Run a world of a catalog and programs, in which no property is broken."""
    outcome = played(scenario_of(catalog, *programs, **made), decisions, knobs)
    assert outcome.violation is None, outcome.violation
    return outcome
