"""What has happened over many runs, to tell what never did: a search is as good as what it reaches.

It counts each step of the state machine, each kind of fault in each phase of a job's life, and each verb with
each way in which it ended.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.model import WAITING
from zeke_sim.history.events import Answered, Began, Change, Ended, Fault, Invoked, Lived
from zeke_sim.properties.rows import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from zeke_sim.history.events import Event

PHASES: Final = ("waiting", "being claimed", "running", "settling", "idle")
"""Phases of a job's life, in which a fault can hit: the last is that there is no job to be hit."""

OUTCOMES: Final = ("ok", "failed", "unknown", "none")
"""How calls end; ``none`` is that nobody was left to hear."""

_PHASE_OF: Final[Mapping[str, str]] = {
    "insert": "waiting",
    "claim": "being claimed",
    "extend": "running",
    "note": "running",
    "settle": "settling",
    "spawn": "running",
    "suspend": "settling",
}


class Ledger:
    """Counts over any number of runs.

    Attributes:
        edges: steps of the state machine, as ``created > active``; a row that is new has ``none`` before, and
            one that went ``none`` after.
        faults: kinds in phases, as ``kill in running``.
        calls: verbs with outcomes, as ``settle: unknown``.
        runs: how many runs.
    """

    def __init__(self) -> None:
        self.edges: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.runs = 0

    def take(self, events: Iterable[Event]) -> None:
        """Count what happened in a run."""
        counting = _Run(self)
        for event in events:
            counting.see(event)
        counting.finish()
        self.runs += 1

    def merge(self, other: Ledger) -> None:
        """Add another ledger's counts."""
        self.edges += other.edges
        self.faults += other.faults
        self.calls += other.calls
        self.runs += other.runs

    def never(self, expected: Mapping[str, Iterable[str]]) -> list[str]:
        """Return what was expected, and never happened.

        Args:
            expected: as ``expected`` makes it: by ``edges``, ``faults`` and ``calls`` what should be there.
        """
        return [
            f"{part}: {what}"
            for part, wanted in expected.items()
            for what in wanted
            if not self._counts()[part][what]
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON has them."""
        return {"runs": self.runs} | {part: dict(sorted(c.items())) for part, c in self._counts().items()}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Ledger:
        """Return the ledger that ``as_json`` told of."""
        ledger = cls()
        ledger.runs = given["runs"]
        for part, counts in ledger._counts().items():
            counts.update(given[part])
        return ledger

    def _counts(self) -> dict[str, Counter[str]]:
        return {"edges": self.edges, "faults": self.faults, "calls": self.calls}


def expected(kinds: Iterable[str], verbs: Iterable[str], *, but: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return all that a thorough search should reach.

    Args:
        kinds: of faults.
        verbs: of the storage.
        but: what it need not, as ``never`` tells of it.
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
    """One run, as far as it is needed to tell in which phase a fault hit."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting = 0
        self._running: Counter[str] = Counter()
        self._open: dict[int, tuple[str, str]] = {}
        self._sees: dict[type, Callable[[Any], None]] = {
            Change: self._change,
            Invoked: self._invoked,
            Answered: self._answered,
            Began: self._began,
            Ended: self._ended,
            Lived: self._lived,
            Fault: self._fault,
        }

    def see(self, event: Event) -> None:
        """Count an event."""
        see = self._sees.get(type(event))
        if see is not None:
            see(event)

    def finish(self) -> None:
        """Count the calls that nobody heard the end of."""
        for _, verb in self._open.values():
            self._ledger.calls[f"{verb}: none"] += 1

    def _change(self, event: Change) -> None:
        if event.table != "job":
            return
        was = None if event.before is None else event.before.state
        now = None if event.after is None else event.after.state
        self._ledger.edges[f"{was or 'none'} > {now or 'none'}"] += 1
        self._waiting += (now in WAITING) - (was in WAITING)

    def _invoked(self, event: Invoked) -> None:
        self._open[event.call] = (event.node, event.verb)

    def _answered(self, event: Answered) -> None:
        self._open.pop(event.call, None)
        self._ledger.calls[f"{event.verb}: {event.outcome}"] += 1

    def _began(self, event: Began) -> None:
        self._running[event.node] += 1

    def _ended(self, event: Ended) -> None:
        self._running[event.node] -= 1

    def _lived(self, event: Lived) -> None:
        if event.what in {"killed", "stopped", "started"}:
            self._running[event.node] = 0
            for call, (node, verb) in list(self._open.items()):
                if node == event.node:
                    del self._open[call]
                    self._ledger.calls[f"{verb}: none"] += 1

    def _fault(self, event: Fault) -> None:
        self._ledger.faults[f"{event.kind} in {self._phase(event)}"] += 1

    def _phase(self, event: Fault) -> str:
        """Return what jobs were at when a fault hit: by the statement, else by what its node does."""
        for part in event.address.split("/"):
            if part in _PHASE_OF:
                return _PHASE_OF[part]
            if part == "handler":
                return "running"
        known = event.node in self._running or any(node == event.node for node, _ in self._open.values())
        verbs = {verb for node, verb in self._open.values() if node == event.node or not known}
        if not verbs.isdisjoint(("settle", "suspend")):
            return "settling"
        if self._running[event.node] > 0 or (not known and any(n > 0 for n in self._running.values())):
            return "running"
        if "claim" in verbs:
            return "being claimed"
        return "waiting" if self._waiting else "idle"
