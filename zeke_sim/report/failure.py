"""A failing run as its reports show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_sim.experiment.fault_coverage import FaultCoverage
    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.shrink import Shrunk
    from zeke_sim.history.events import Violation


@dataclass(frozen=True, slots=True)
class Failure:
    """A failing run, with all data of its report.

    Attributes:
        shrunk: the run, and how it was shrunk.
        command: a shell command that replays the plan.
        page: the path of the page.
        coverage: the faults of all runs, if they are known.
    """

    shrunk: Shrunk
    command: str
    page: str
    coverage: FaultCoverage | None = None

    @property
    def outcome(self) -> Outcome:
        """The run."""
        return self.shrunk.outcome

    @property
    def violation(self) -> Violation:
        """The violated property, and where.

        Raises:
            ValueError: the run violated none.
        """
        if self.outcome.violation is None:
            raise ValueError("no property was violated in this run")
        return self.outcome.violation

    @property
    def decisions(self) -> Mapping[str, object]:
        """The decisions of the plan by their addresses, without the actions that it leaves out."""
        decisions = self.outcome.plan.decisions or {}
        return {address: one for address, one in decisions.items() if address not in self.outcome.actions}

    def shrinking(self) -> str:
        """Return the result of shrinking, such as ``214 decisions → 3, in 4.1 s, replayed 3 times``."""
        shrunk, left, actions = self.shrunk, len(self.decisions), len(self.outcome.actions)
        if shrunk.seconds is None:
            text = f"{left} decision{'' if left == 1 else 's'}, not shrunk"
        else:
            text = f"{shrunk.before} decision{'' if shrunk.before == 1 else 's'} → {left}"
            if left_out := len(self.outcome.plan.decisions or {}) - left:
                text += f", {actions} actions → {actions - left_out}"
            text += f", in {shrunk.seconds:.1f} s"
        times = {0: "not replayed", 1: "replayed once", 2: "replayed twice"}
        text += f", {times.get(shrunk.replays, f'replayed {shrunk.replays} times')}"
        if shrunk.seconds is not None and not shrunk.minimal:
            text += "; the time limit came before each fault was tried"
        return text
