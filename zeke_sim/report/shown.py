"""The data of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from zeke_sim.history.events import Event, Violation


@dataclass(frozen=True, slots=True)
class Shown:
    """A shrunk failure, with all data of its report.

    Attributes:
        scenario: the scenario's name.
        seed: the seed that led to it.
        strategy: the strategy of the search that found it.
        violation: the violated property, and where.
        sentence: the property's docstring.
        history: the events of the shrunk run, in order.
        decisions: the decisions of the shrunk plan by their addresses.
        decisions_before: number of decisions in the plan before it was shrunk.
        shrink_seconds: real seconds that shrinking took; None if the plan was not shrunk.
        replays: number of replays of the shrunk plan, all of which failed identically.
        plan_path: the path of the plan.
        html_path: the path of the page; None if there is none.
        nodes: the nodes' names, in the order of their lanes.
        epoch: the virtual time at second 0, aware.
        command: a shell command that replays the plan.
        actions: number of the clients' actions, done or left out.
        actions_left_out: number of actions that were left out because the run still fails without them.
        plan: the whole plan as JSON values, for a test without a file; None if only its path is known.
    """

    scenario: str
    seed: int
    strategy: str
    violation: Violation
    sentence: str
    history: Sequence[Event]
    decisions: Mapping[str, object]
    decisions_before: int
    shrink_seconds: float | None
    replays: int
    plan_path: str
    html_path: str | None
    nodes: tuple[str, ...]
    epoch: datetime
    command: str
    plan: Mapping[str, object] | None = None
    actions: int = 0
    actions_left_out: int = 0

    def shrinking(self) -> str:
        """The result of shrinking, such as ``214 decisions → 3, in 4.1 s, replayed 3 times``."""
        left = len(self.decisions)
        told = f"{self.decisions_before} decision{'' if self.decisions_before == 1 else 's'}"
        if self.shrink_seconds is None:
            told = f"{left} decision{'' if left == 1 else 's'}, not shrunk"
        else:
            told += f" → {left}"
            if self.actions_left_out:
                told += f", {self.actions} actions → {self.actions - self.actions_left_out}"
            told += f", in {self.shrink_seconds:.1f} s"
        times = {0: "not replayed", 1: "replayed once", 2: "replayed twice"}
        return f"{told}, {times.get(self.replays, f'replayed {self.replays} times')}"
