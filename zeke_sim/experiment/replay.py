"""Replaying a plan in a regression test: ``replay(plan).check()``."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_sim.experiment.run import Outcome

DECISIONS_SHOWN: Final = 6


class Replayed:
    """A replayed plan.

    Attributes:
        outcome: the outcome of the run.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def check(self) -> None:
        """Fail if a property was violated.

        Raises:
            AssertionError: a property was violated; the message names it, the violation and the decisions.
        """
        violation = self.outcome.violation
        if violation is None:
            return
        decisions = [f"{address}: {what}" for address, what in (self.outcome.plan.decisions or {}).items()]
        left = len(decisions) - DECISIONS_SHOWN
        more = [f"… and {left} more"] if left > 0 else []
        sentence = next(
            (
                inspect.getdoc(one.check)
                for one in load(self.outcome.plan.scenario).properties
                if one.name == violation.rule
            ),
            None,
        )
        under = "under these decisions:" if decisions else "under no decisions"
        raise AssertionError(
            "\n  ".join(
                [
                    f"{violation.rule}: {violation.text}",
                    *([sentence] if sentence else []),
                    f"at {violation.at:.3f} s of {self.outcome.plan.scenario}, {under}",
                    *decisions[:DECISIONS_SHOWN],
                    *more,
                ]
            )
        ) from violation


def replay(plan: Mapping[str, Any] | str | Path) -> Replayed:
    """Replay a plan.

    Args:
        plan: its JSON values, or the path of a file that contains them.

    Raises:
        SimulationError: the plan is invalid, or its scenario does not exist.
    """
    file = isinstance(plan, str | Path)
    given = Plan.read(Path(plan)) if file else Plan.loads(json.dumps(dict(plan)))
    return Replayed(run(load(given.scenario), given))
