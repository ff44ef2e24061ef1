"""Scenarios: named worlds, each defined in a module that specifies the tested behaviour."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_sim.errors import SimulationError
from zeke_sim.experiment.plan import drawn
from zeke_sim.loop.decisions import Decisions
from zeke_sim.properties import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from zeke_sim.experiment.plan import Plan
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.properties import Property
    from zeke_sim.world.faults import Knobs
    from zeke_sim.world.setup import Setup

ATTRIBUTE: Final = "SCENARIO"
"""The name of the module attribute that contains the scenario."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A configuration of a simulated world.

    Attributes:
        name: the name for ``load``, which a plan's replay needs: ``__name__`` of its module.
        about: the tested behaviour, in one sentence.
        build: builds the world's setup from random draws; called once per run.
        kinds: the fault kinds that apply to it; None for all.
        properties: the properties that its runs are checked against.
        allow: outside resources that its handlers may use: see ``zeke_sim.world.sandbox.closed``.
        freeze: whether handlers that read the machine's clocks see virtual time; meant for applications.
        adjust: changes the fault rates that a seed draws.
    """

    name: str
    about: str
    build: Callable[[RandomStream], Setup]
    kinds: tuple[str, ...] | None = None
    properties: Sequence[Property] = ALL
    allow: tuple[str, ...] = ()
    freeze: bool = False
    adjust: Callable[[Knobs], Knobs] | None = None

    def plan(self, seed: int) -> Plan:
        """Return the plan of a seed, with decisions that are drawn when it runs."""
        plan = drawn(self.name, seed, Decisions(seed).stream("strategy"), self.kinds)
        return plan if self.adjust is None else replace(plan, knobs=self.adjust(plan.knobs))


def load(name: str) -> Scenario:
    """Load a scenario by the name of a module that defines ``SCENARIO``, or by ``module:attribute``.

    Raises:
        SimulationError: there is no such scenario.
    """
    module, _, attribute = name.partition(":")
    attribute = attribute or ATTRIBUTE
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SimulationError(
            f"scenario: {name!r} can't be loaded: {error}; "
            f"pass a module with a {ATTRIBUTE}, or module:attribute"
        ) from None
    if not isinstance(found, Scenario):
        raise SimulationError(
            f"scenario: {name!r} is a {type(found).__name__}; pass a zeke_sim.experiment.scenario.Scenario"
        )
    return found


def expand(names: Iterable[str]) -> list[str]:
    """Replace each package in a list of names by its modules that define ``SCENARIO``.

    Raises:
        SimulationError: a package has no scenario.
        ImportError: a module cannot be imported.
    """
    return [scenario for name in names for scenario in _expanded(name)]


def _expanded(name: str) -> list[str]:
    if ":" in name:
        return [name]
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError:
        return [name]  # ``load`` reports the error
    if not hasattr(found, "__path__") or hasattr(found, ATTRIBUTE):
        return [name]
    modules = sorted(f"{name}.{module.name}" for module in pkgutil.iter_modules(found.__path__))
    with_one = [module for module in modules if hasattr(importlib.import_module(module), ATTRIBUTE)]
    if not with_one:
        raise SimulationError(f"scenario: no module of the package {name!r} has a {ATTRIBUTE}")
    return with_one


def configured(folder: Path) -> tuple[Path, list[str]]:
    """Return what ``[tool.zeke.sim] scenarios`` of the nearest pyproject.toml names, from a folder upwards.

    Returns:
        The folder of that file, from which the names can be imported, and the names.

    Raises:
        SimulationError: there is no such table, it is no list of names, or the file is not TOML.
    """
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            project = tomllib.loads(file.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise SimulationError(f"{file}: {error}") from None
        names = project.get("tool", {}).get("zeke", {}).get("sim", {}).get("scenarios")
        if names is None or names == []:
            break
        if not isinstance(names, list) or not all(isinstance(name, str) for name in cast("list[Any]", names)):
            raise SimulationError(f"{file}: tool.zeke.sim.scenarios must be a list of modules or packages")
        return place, cast("list[str]", names)
    raise SimulationError(
        "scenario: none is named; pass a package, a module or module:attribute, or list them in "
        'pyproject.toml as [tool.zeke.sim] scenarios = ["package"]'
    )
