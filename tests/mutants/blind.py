"""Searches for a planted bug with some properties disabled: only the disabled ones may show the bug.

Every search makes the same runs, so its verdict depends on no clock.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.mutants.patching import install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.patching import Mutant
    from tests.mutants.simulator import SimulatorMutant
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.history.state import RunState
    from zeke_sim.properties import Property

SEEDS: Final = 4
"""How many seeds of each scenario are run."""

MORE: Final = 100
"""The last seed of the search in a bug's own scenarios, if none of those runs shows it."""


class Finding(NamedTuple):
    """The evidence of a bug in a run: a property, and its violation."""

    scenario: str
    seed: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule} in {self.scenario}, seed {self.seed}: {self.text}"


class Blind(NamedTuple):
    """What came of a search.

    Attributes:
        runs: how many were made.
        seen: the first run in which a disabled property shows the bug; None if none does.
        other: the first run in which another property shows it, which ends the search.
    """

    runs: int
    seen: Finding | None
    other: Finding | None


def hunt_blind(planted: Mutant, of: SimulatorMutant, everywhere: Sequence[str], own: Sequence[str]) -> Blind:
    """Search for a bug in this process, which must not have imported the runtime yet.

    Args:
        planted: the bug.
        of: the mutant of the simulator.
        everywhere: the scenarios in which only that may show it.
        own: those that try what the bug breaks.
    """
    install([planted])
    from zeke_sim.experiment.run import run  # noqa: PLC0415 - it imports what has just been patched
    from zeke_sim.experiment.scenario import load  # noqa: PLC0415

    noted: list[str] = []
    seen: Finding | None = None
    runs = 0
    blind = {name: _blinded(load(name), of, noted) for name in {*everywhere, *own}}
    for seed, name in (*product(range(1, SEEDS + 1), everywhere), *product(range(SEEDS + 1, MORE + 1), own)):
        if seed > SEEDS and seen is not None:
            break
        scenario, blinded = load(name), blind[name]
        if of.kinds and seen is None:
            runs += 1
            broken = run(scenario, scenario.plan(seed)).violation
            seen = None if broken is None else Finding(name, seed, broken.rule, broken.text)
        runs += 1
        broken = run(blinded, blinded.plan(seed)).violation
        if broken is not None:
            return Blind(runs, seen, Finding(name, seed, broken.rule, broken.text))
        if noted and seen is None:
            seen = Finding(name, seed, str(of.asked), noted[0])
    return Blind(runs, seen, None)


def _blinded(scenario: Scenario, of: SimulatorMutant, noted: list[str]) -> Scenario:
    """Return a scenario without some kinds of faults, or with violations of a property only recorded."""
    from zeke_sim.world.faults import KINDS  # noqa: PLC0415

    if of.kinds:
        kinds = KINDS if scenario.kinds is None else scenario.kinds
        return replace(scenario, kinds=tuple(kind for kind in kinds if kind not in of.kinds))
    properties = tuple(_noting(one, noted) if one.name == of.asked else one for one in scenario.properties)
    return replace(scenario, properties=properties)


def _noting(one: Property, noted: list[str]) -> Property:
    from zeke_sim.history.state import Broken  # noqa: PLC0415

    def check(event: Any, state: RunState) -> None:
        try:
            one.check(event, state)
        except Broken as broken:
            noted.append(broken.text)

    return one._replace(check=check)
