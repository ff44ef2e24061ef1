"""Repeats the run of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import load

if TYPE_CHECKING:
    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario


def replay(plan: Plan | Mapping[str, Any] | str | Path, scenario: Scenario | None = None) -> Outcome:
    """Repeat the run of a plan; ``replay(plan).check()`` is a regression test.

    Args:
        plan: a plan, its JSON values, or the path of a file that contains them.
        scenario: its scenario, if it cannot be loaded by name.

    Raises:
        SimulationError: the plan is invalid, or its scenario does not exist.
    """
    if isinstance(plan, Mapping):
        plan = Plan.loads(json.dumps(dict(plan)))
    elif not isinstance(plan, Plan):
        plan = Plan.read(Path(plan))
    return run(load(plan.scenario) if scenario is None else scenario, plan)
