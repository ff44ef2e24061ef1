"""The scenarios that try the runtime and the catalog, one module each."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from zeke_sim.experiment import scenario

if TYPE_CHECKING:
    from zeke_sim.experiment.scenario import Scenario


def names() -> list[str]:
    """Return the names of the scenarios, without the package's."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def full(name: str) -> str:
    """Return the name by which the simulator loads a scenario of this package."""
    return f"{__name__}.{name}"


def load(name: str) -> Scenario:
    """Return a scenario of this package by its short name, or any by the name that its plans have."""
    return scenario.load(name if {".", ":"} & set(name) else full(name))
