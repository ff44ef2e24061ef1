"""A deterministic simulator for catalogs of ``zeke_queue``, and its test harness.

This module contains only the public names. Each is loaded on first access, since the pytest plugin imports
this package in every run, including those that do not use it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from zeke_sim import strategies as strategies
    from zeke_sim.errors import Outside, SimulationError
    from zeke_sim.experiment.replay import replay
    from zeke_sim.history.state import RunState
    from zeke_sim.properties.user import always, eventually, unique_effects
    from zeke_sim.testing.client import Client
    from zeke_sim.testing.crash_test import crash_test
    from zeke_sim.testing.double import double
    from zeke_sim.testing.facade import BlockingZeke, Zeke, virtual_time
    from zeke_sim.testing.scripted import Scripted, Unscripted
    from zeke_sim.testing.seeded_test import test
    from zeke_sim.testing.worlds import sometimes
    from zeke_sim.world.handlers import effect

__all__ = [
    "BlockingZeke",
    "Client",
    "Outside",
    "RunState",
    "Scripted",
    "SimulationError",
    "Unscripted",
    "Zeke",
    "always",
    "crash_test",
    "double",
    "effect",
    "eventually",
    "replay",
    "sometimes",
    "test",
    "unique_effects",
    "virtual_time",
]

_HOMES: Final = {
    "errors": ["Outside", "SimulationError"],
    "experiment.replay": ["replay"],
    "history.state": ["RunState"],
    "properties.user": ["always", "eventually", "unique_effects"],
    "testing.client": ["Client"],
    "testing.crash_test": ["crash_test"],
    "testing.double": ["double"],
    "testing.facade": ["BlockingZeke", "Zeke", "virtual_time"],
    "testing.scripted": ["Scripted", "Unscripted"],
    "testing.seeded_test": ["test"],
    "testing.worlds": ["sometimes"],
    "world.handlers": ["effect"],
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from its module; ``strategies`` is one that needs Hypothesis."""
    if name == "strategies":
        return importlib.import_module(f"{__name__}.strategies")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
