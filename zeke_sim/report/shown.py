"""What a report is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from zeke_sim.history.events import Event, Violation


@dataclass(frozen=True, slots=True)
class Shown:
    """A failure, found and shrunk, with all that its report tells.

    Attributes:
        scenario: the scenario's name.
        seed: the seed by which it was found.
        strategy: the strategy of the search that found it.
        violation: the property that does not hold, and where.
        sentence: what the property holds: its docstring.
        history: the events of the shrunk run, in order.
        decisions: the decisions of the shrunk plan by their addresses.
        decisions_before: how many decisions the plan had before it was shrunk.
        shrink_seconds: how long shrinking took in real seconds; None if nothing was shrunk.
        replays: how often the shrunk plan was replayed, and failed alike each time.
        plan_path: where the plan was written.
        html_path: where the page was written; None if it was not.
        nodes: the nodes' names, in the order of their lanes.
        epoch: the virtual time at 0, aware.
        command: one line for a shell that replays the plan.
        deeds: how many things the clients of the run do, or leave out.
        deeds_left_out: how many of them they leave out, since it fails without.
        plan: the whole plan as JSON values, for a test that needs no file; None if only its path is known.
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
    deeds: int = 0
    deeds_left_out: int = 0

    def shrinking(self) -> str:
        """What shrinking did: ``214 decisions → 3, in 4.1 s, replayed 3 times``."""
        left = len(self.decisions)
        told = f"{self.decisions_before} decision{'' if self.decisions_before == 1 else 's'}"
        if self.shrink_seconds is None:
            told = f"{left} decision{'' if left == 1 else 's'}, not shrunk"
        else:
            told += f" → {left}"
            if self.deeds_left_out:
                told += f", {self.deeds} deeds → {self.deeds - self.deeds_left_out}"
            told += f", in {self.shrink_seconds:.1f} s"
        times = {0: "not replayed", 1: "replayed once", 2: "replayed twice"}
        return f"{told}, {times.get(self.replays, f'replayed {self.replays} times')}"
