"""Scenarios: named worlds, each a module that reads as a specification of what is tried there."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zeke_sim.errors import SimulationError
from zeke_sim.experiment.plan import drawn
from zeke_sim.properties import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeke_sim.experiment.plan import Plan
    from zeke_sim.loop.decisions import Draws
    from zeke_sim.properties import Property
    from zeke_sim.world.setup import Setup


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of world.

    Attributes:
        name: what the command line calls it.
        about: what is tried, in a sentence.
        build: makes the world's parts from draws; called once a run.
        kinds: the faults that make sense in it; None for all.
        properties: what it is judged by.
        allow: what its handlers may reach for: see ``zeke_sim.world.sandbox.closed``.
        freeze: whether handlers that read the machine's clocks see virtual time; for those of applications.
    """

    name: str
    about: str
    build: Callable[[Draws], Setup]
    kinds: tuple[str, ...] | None = None
    properties: Sequence[Property] = ALL
    allow: tuple[str, ...] = ()
    freeze: bool = False

    def plan(self, seed: int) -> Plan:
        """Return the plan of a seed, whose decisions are not drawn yet."""
        from zeke_sim.loop.decisions import Decisions  # noqa: PLC0415

        return drawn(self.name, seed, Decisions(seed).draws("strategy"), self.kinds)


def names() -> list[str]:
    """Return the names of all scenarios that come with the simulator."""
    from tests import scenarios  # noqa: PLC0415 - scenarios import this module

    return sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))


def load(name: str) -> Scenario:
    """Return the scenario of a name, or one of somebody's own as ``module:attribute``.

    Raises:
        SimulationError: there is none.
    """
    if ":" in name:
        return _own(name)
    known = names()
    if name not in known:
        raise SimulationError(f"scenario: there is no {name!r}; there are {', '.join(known)}")
    return importlib.import_module(f"tests.scenarios.{name}").SCENARIO


def _own(name: str) -> Scenario:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SimulationError(f"scenario: {name!r} can't be loaded: {error}; give module:attribute") from None
    if not isinstance(found, Scenario):
        raise SimulationError(
            f"scenario: {name!r} is a {type(found).__name__}; give a zeke_sim.experiment.scenario.Scenario"
        )
    return found
