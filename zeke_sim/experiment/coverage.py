"""Coverage counts over many runs, which show situations that a search never reached.

The counters cover each transition of the state machine, each fault kind in each phase of a job's life, and
each storage method with each outcome.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.model import WAITING
from zeke_sim.history.events import Answered, Began, Change, Ended, Fault, Invoked, Lived
from zeke_sim.properties.transitions import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zeke_sim.history.events import Event

PHASES: Final = ("waiting", "being claimed", "running", "settling", "idle")
"""Phases of a job's life in which a fault can occur; ``idle`` means that no job is affected."""

OUTCOMES: Final = ("ok", "failed", "unknown", "none")
"""Outcomes of calls; ``none`` means that the caller had ended."""

_PHASE_OF: Final[Mapping[str, str]] = {
    "insert": "waiting",
    "claim": "being claimed",
    "extend": "running",
    "append_events": "running",
    "settle": "settling",
    "settle_unlocked": "settling",
    "insert_child": "running",
    "suspend": "settling",
}


class Coverage:
    """Coverage counts over any number of runs.

    Attributes:
        edges: state transitions, such as ``created > active``; the old state of a new row and the new state
            of a deleted one is ``none``.
        faults: fault kinds by phase, such as ``kill in running``.
        calls: storage methods by outcome, such as ``settle: unknown``.
        runs: number of runs.
    """

    def __init__(self) -> None:
        self.edges: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.runs = 0

    def take(self, events: Iterable[Event]) -> None:
        """Count the events of a run."""
        counting = _Run(self)
        for event in events:
            counting.see(event)
        counting.finish()
        self.runs += 1

    def merge(self, other: Coverage) -> None:
        """Add other counts."""
        self.edges += other.edges
        self.faults += other.faults
        self.calls += other.calls
        self.runs += other.runs

    def never(self, expected: Mapping[str, Iterable[str]]) -> list[str]:
        """Return the expected entries that never occurred.

        Args:
            expected: the entries by ``edges``, ``faults`` and ``calls``, as ``expected`` returns them.
        """
        return [
            f"{part}: {what}"
            for part, wanted in expected.items()
            for what in wanted
            if not self._counts()[part][what]
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {"runs": self.runs} | {part: dict(sorted(c.items())) for part, c in self._counts().items()}

    def _counts(self) -> dict[str, Counter[str]]:
        return {"edges": self.edges, "faults": self.faults, "calls": self.calls}


def expected(kinds: Iterable[str], verbs: Iterable[str], *, but: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return all entries that a thorough search should reach.

    Args:
        but: entries to leave out, in the format of ``never``.
    """
    all_of_it = {
        "edges": [f"{was or 'none'} > {now}" for was, now in sorted(STEPS, key=str)],
        "faults": [f"{kind} in {phase}" for kind in kinds for phase in PHASES],
        "calls": [f"{verb}: {outcome}" for verb in verbs for outcome in OUTCOMES],
    }
    left_out = set(but)
    return {
        part: [what for what in wanted if f"{part}: {what}" not in left_out]
        for part, wanted in all_of_it.items()
    }


class _Run:
    """The state of one run that is needed to determine the phase of a fault."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self._waiting = 0
        self._running: Counter[str] = Counter()
        self._open: dict[int, tuple[str, str]] = {}

    def see(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Change():
                self._change(event)
            case Invoked():
                self._open[event.call] = (event.node, event.verb)
            case Answered():
                self._open.pop(event.call, None)
                self._coverage.calls[f"{event.verb}: {event.outcome}"] += 1
            case Began():
                self._running[event.node] += 1
            case Ended():
                self._running[event.node] -= 1
            case Lived():
                self._lived(event)
            case Fault():
                self._coverage.faults[f"{event.kind} in {self._phase(event)}"] += 1
            case _:
                pass

    def finish(self) -> None:
        """Count the calls whose outcome no caller received."""
        for _, verb in self._open.values():
            self._coverage.calls[f"{verb}: none"] += 1

    def _change(self, event: Change) -> None:
        if event.table != "job":
            return
        was = None if event.before is None else event.before.state
        now = None if event.after is None else event.after.state
        self._coverage.edges[f"{was or 'none'} > {now or 'none'}"] += 1
        self._waiting += (now in WAITING) - (was in WAITING)

    def _lived(self, event: Lived) -> None:
        if event.what in {"killed", "stopped", "started"}:
            self._running[event.node] = 0
            for call, (node, verb) in list(self._open.items()):
                if node == event.node:
                    del self._open[call]
                    self._coverage.calls[f"{verb}: none"] += 1

    def _phase(self, event: Fault) -> str:
        """Return the phase that a fault affected: from the statement, else from the node's activity."""
        for part in event.address.split("/"):
            if part in _PHASE_OF:
                return _PHASE_OF[part]
            if part in {"handler", "call", "line"}:
                return "running"
        known = event.node in self._running or any(node == event.node for node, _ in self._open.values())
        verbs = {verb for node, verb in self._open.values() if node == event.node or not known}
        if not verbs.isdisjoint(("settle", "settle_unlocked", "suspend")):
            return "settling"
        if self._running[event.node] > 0 or (not known and any(n > 0 for n in self._running.values())):
            return "running"
        if "claim" in verbs:
            return "being claimed"
        return "waiting" if self._waiting else "idle"
