"""The search: many seeds over many scenarios, until one breaks a property or the budget is used up."""

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
    """A run that broke a property.

    Attributes:
        scenario: its name.
        seed: the seed by which it was found.
        violation: what broke.
        runs: how many runs it took.
        outcome: the run.
        shrunk: what is left of it, if it was shrunk.
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
    """Run seeds, each in every scenario, until one breaks a property.

    Args:
        scenarios: names.
        seeds: which to try.
        budget: seconds of processor time at most; None for no end but that of the seeds.
        shrink: whether to shrink what was found.
        seen: is told of every run.
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
    """Yield what comes of each seed in each scenario, within a budget of processor time."""
    left = Budget(budget)
    for seed in seeds:
        for name in scenarios:
            if left.used_up:
                return
            scenario = load(name)  # when its turn comes, since some take a while to import
            yield scenario, run(scenario, scenario.plan(seed))
