"""The search: runs many seeds of many scenarios until one violates a property or the budget is used up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zeke_sim.experiment.budget import Budget
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import load
from zeke_sim.experiment.shrink import shrink as shrunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.experiment.shrink import Shrunk
    from zeke_sim.history.events import Violation


@dataclass(frozen=True, slots=True)
class Finding:
    """A run that violated a property.

    Attributes:
        scenario: the scenario's name.
        seed: the seed that led to it.
        violation: the violated property.
        runs: number of runs until then.
        outcome: the run's outcome.
        shrunk: the shrunk run, if it was shrunk.
    """

    scenario: str
    seed: int
    violation: Violation
    runs: int
    outcome: Outcome
    shrunk: Shrunk | None = None


def find(
    scenarios: Sequence[str],
    seeds: Iterable[int],
    budget: float | None = None,
    *,
    shrink: bool = False,
    seen: Callable[[Scenario, Outcome], None] | None = None,
) -> Finding | None:
    """Run seeds, each in every scenario, until one violates a property.

    Args:
        scenarios: names of scenarios.
        seeds: the seeds to run.
        budget: limit of CPU seconds; None for no limit.
        shrink: whether to shrink a failed run.
        seen: called with every run.
    """
    for runs, (scenario, outcome) in enumerate(outcomes(scenarios, seeds, budget), 1):
        if seen is not None:
            seen(scenario, outcome)
        if outcome.violation is not None:
            smaller = shrunk(scenario, outcome) if shrink else None
            return Finding(scenario.name, outcome.plan.seed, outcome.violation, runs, outcome, shrunk=smaller)
    return None


def outcomes(
    scenarios: Sequence[str], seeds: Iterable[int], budget: float | None = None
) -> Iterator[tuple[Scenario, Outcome]]:
    """Yield the outcome of each seed in each scenario, within a budget of CPU seconds."""
    left = Budget(budget)
    for seed in seeds:
        for name in scenarios:
            if left.used_up:
                return
            scenario = load(name)  # loaded when needed, since some are slow to import
            yield scenario, run(scenario, scenario.plan(seed))
