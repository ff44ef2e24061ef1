"""What is simulated for the benchmark ``sim``, each measure in a process of its own.

``python -m benchmarks.simulated runs SCENARIO SEEDS`` and ``… searched|tested DAYS SCHEDULE…`` print JSON:
the processor seconds that it took, without imports and a first run that warms up. ``searched`` is a world of
the search, with a network and a full history that all properties judge; ``tested`` is ``zeke.advance``.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tests.scenarios import load
from zeke_queue import Catalog
from zeke_queue.system.settings import Settings
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.testing.backends import Memory
from zeke_sim.testing.environment import Options, TestEnvironment
from zeke_sim.world.faults import NONE
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_sim.loop.decisions import RandomStream

DAY: Final = 86_400.0
WARM_UP: Final = 1_000_000
"""A seed beyond those that are measured."""


def runs(name: str, seeds: int) -> Callable[[], None]:
    """Return runs of a scenario as the search makes them, of the seeds from 0 on."""
    scenario = load(name)

    def measure(plans: list[Plan]) -> None:
        for plan in plans:
            broken = run(scenario, plan).violation
            if broken is not None:
                raise RuntimeError(f"{name}, seed {plan.seed}: {broken}")

    measure([scenario.plan(WARM_UP)])
    plans = [scenario.plan(seed) for seed in range(seeds)]
    return lambda: measure(plans)


def application(schedules: list[str]) -> Catalog:
    """Return a catalog of a task a schedule, which does nothing."""
    catalog = Catalog()

    async def handler() -> None:
        return

    for number, expression in enumerate(schedules):
        catalog.task(f"task-{number}")(handler)
        catalog.schedule(f"task-{number}", expression)
    return catalog


def searched(days: float, schedules: list[str]) -> Callable[[], None]:
    """Return a run without faults: a worker, a scheduler and a maintenance process with default settings."""
    settings = Settings()

    def build(_draws: RandomStream) -> Setup:
        return Setup(
            application(schedules),
            workers=1,
            schedulers=1,
            archive_after=settings.jobs_archive_after,
            delete_after=settings.jobs_delete_after,
            phase=days * DAY,
            tail=0.0,
        )

    scenario = Scenario("cron-application", "schedules fire and their jobs run", build)

    def measure() -> None:
        outcome = run(scenario, Plan(scenario.name, 1, "none", NONE))
        if outcome.violation is not None:
            raise RuntimeError(str(outcome.violation))

    return measure


def tested(days: float, schedules: list[str]) -> Callable[[], None]:
    """Do the work of ``zeke.advance`` in a test: advance the time and run due jobs."""
    environment = TestEnvironment(application(schedules), Memory(), Options())
    environment.advance(environment.clock.now() + timedelta(hours=1))
    until = environment.clock.now() + timedelta(days=days)
    return lambda: environment.advance(until)


def main(what: str, *arguments: str) -> None:
    """Prepare, then measure."""
    measures: dict[str, Any] = {"searched": searched, "tested": tested}
    if what == "runs":
        measure = runs(arguments[0], int(arguments[1]))
    else:
        measure = measures[what](float(arguments[0]), list(arguments[1:]))
    begun = time.process_time()
    measure()
    print(json.dumps(time.process_time() - begun))


if __name__ == "__main__":
    main(*sys.argv[1:])
