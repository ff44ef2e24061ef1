"""Shrinks a failing plan: removes decisions as long as the same property is violated.

First, all decisions of one kind are removed at once: orders, skipped rows, delays. Then delta debugging runs
over the remaining decisions by their addresses. Without a decision, the default happens, and the other
decisions are unaffected. Finally, the clients' actions are removed one by one.

A plan from which no single decision can be removed may still contain a superfluous fault: one that only
undoes the effect of another one, or of a decision about order. So the remaining faults are tried once more,
with and without the other decisions: each alone, all but one, and, if there are few, every subset.
If a program ended with an error, the shrunk run must end with an error of the same type.

Source: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input (2002), algorithm ddmin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_sim.experiment.budget import Budget
from zeke_sim.experiment.run import first_difference, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario

SECONDS: Final = 15.0
"""Default limit of CPU seconds for shrinking."""

SHARE: Final = 0.75
"""Share of the limit after which the search ends, so that the remaining faults can be tried."""

ALONE: Final = 20
"""Number of faults up to which each is tried alone before the search, since one often suffices."""

FEW: Final = 4
"""Number of remaining faults up to which every subset of them is tried."""

REPLAYS: Final = 3
"""Number of identical failures of a shrunk plan before it is shown."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A shrunk failing run.

    Attributes:
        before: number of decisions before shrinking.
        seconds: CPU seconds that shrinking took; None if it was not shrunk.
        replays: number of replays that failed identically.
        unsteady: the difference between replays; None if they were identical.
        minimal: whether the failure needs each remaining fault; False if the time limit ended the proof.
    """

    outcome: Outcome
    before: int
    seconds: float | None
    replays: int
    unsteady: str | None = None
    minimal: bool = False

    @classmethod
    def given(cls, outcome: Outcome, replays: int = 0) -> Shrunk:
        """Return a run that is not shrunk."""
        return cls(outcome, len(outcome.plan.decisions or {}), None, replays)


def shrink(scenario: Scenario, failed: Outcome, seconds: float = SECONDS) -> Shrunk:
    """Shrink the plan of a run that violated a property.

    Args:
        seconds: limit of CPU seconds; the smallest plan so far is returned.
    """
    search = _Shrinking(scenario, failed, seconds)
    search.by_kinds()
    search.of_one_fault()
    search.by_halves()
    search.of_actions()
    search.of_details()
    minimal = search.of_subsets()
    small = search.best
    replays, unsteady = 0, None
    while replays < REPLAYS and unsteady is None:
        unsteady = divergence(small, run(scenario, small.plan))
        replays += unsteady is None
    return Shrunk(small, len(failed.plan.decisions or {}), search.used, replays, unsteady, minimal)


def divergence(one: Outcome, other: Outcome) -> str | None:
    """Describe the first event in which two runs of one plan differ; return None if they are equal."""
    differs = first_difference(one.events, other.events)
    if differs is None:
        return None
    place, left, right = differs
    return f"event {place} was {left or 'missing'}, and is {right or 'missing'}"


class _Shrinking:
    """The smallest plan so far, and the steps that shrink it."""

    def __init__(self, scenario: Scenario, failed: Outcome, seconds: float) -> None:
        self._scenario = scenario
        self._broke = _broke(failed)
        self._seconds = seconds
        self._budget = Budget(seconds * SHARE)
        self._used = 0.0
        self._holds: set[str] = set()
        self.best = failed

    @property
    def used(self) -> float:
        """CPU seconds used so far."""
        return self._used + self._budget.used

    @property
    def _decisions(self) -> dict[str, Any]:
        return dict(self.best.plan.decisions or {})

    def _wrong(self) -> list[str]:
        """Return the addresses of all decisions except those that leave out clients' actions."""
        return [address for address in self._decisions if address not in self.best.actions]

    def by_kinds(self) -> None:
        """Remove all decisions of one kind at once, since some, such as orders, matter only together."""
        for kind in _KINDS:
            self._try_without(kind)
        for fault in sorted({str(_fault(one)) for one in self._decisions.values()}):
            self._try_without(lambda _, one, fault=fault: _fault(one) == fault)

    def of_one_fault(self) -> None:
        """Remove everything but one fault, if one is enough for the failure."""
        decisions, faults = self._decisions, self._faults()
        if len(faults) <= ALONE:
            any(self._try({address: decisions[address]}) for address in faults)

    def by_halves(self) -> None:
        """Remove parts of decreasing size until every single decision is needed."""
        pieces = 2
        while len(addresses := self._wrong()) > 1 and not self._budget.used_up:
            size = max(1, len(addresses) // pieces)
            smaller = False
            for start in range(0, len(addresses), size):
                part = set(addresses[start : start + size])
                if self._try_without(lambda address, _, part=part: address in part):
                    smaller = True
                    break
            if smaller:
                pieces = max(2, pieces - 1)
            elif size == 1:
                break
            else:
                pieces = min(len(addresses), pieces * 2)
        if len(addresses) == 1:
            self._try_without(lambda address, _: address in addresses)

    def of_actions(self) -> None:
        """Remove the clients' actions that the failure does not need, and then the faults."""
        before = self.best
        for address in reversed(self.best.actions):
            if address not in self._decisions:
                self._try({**self._decisions, address: True})
        if self.best is not before:
            self.by_halves()

    def of_details(self) -> None:
        """Remove the delays of the remaining faults."""
        for address, one in self._decisions.items():
            plain = {key: value for key, value in _parts(one).items() if key not in {"back", "wait"}}
            if "fault" in plain and plain != one:
                self._try({**self._decisions, address: plain})

    def of_subsets(self) -> bool:
        """Remove faults until the failure needs each of them; return False if the time limit prevented it."""
        self._used = self._budget.used
        self._budget = Budget(self._seconds - self._used)
        while (smaller := self._smaller()) is not None:
            self.best = smaller
            self.by_halves()
            self.of_actions()
        return not self._budget.used_up or not self._faults()

    def _faults(self) -> list[str]:
        return [address for address, one in self._decisions.items() if _fault(one) is not None]

    def _smaller(self) -> Outcome | None:
        """Return the same failure with fewer of the faults, if there is one."""
        decisions, faults = self._decisions, self._faults()
        others = decisions.keys() - set(faults)
        sizes = range(len(faults)) if len(faults) <= FEW else (0, 1, len(faults) - 1)
        for size in sizes:
            for kept in combinations(faults, size):
                for beside in (others, others & set(self.best.actions), set[str]()):
                    left = {*kept, *beside}
                    outcome = self._failure({at: one for at, one in decisions.items() if at in left})
                    if outcome is not None:
                        return outcome
        return None

    def _try_without(self, leave_out: Callable[[str, Any], bool]) -> bool:
        decisions = self._decisions
        kept = {address: one for address, one in decisions.items() if not leave_out(address, one)}
        return len(kept) < len(decisions) and self._try(kept)

    def _try(self, decisions: Mapping[str, Any]) -> bool:
        outcome = self._failure(decisions)
        self.best = outcome or self.best
        return outcome is not None

    def _failure(self, decisions: Mapping[str, Any]) -> Outcome | None:
        """Run decisions; return the outcome if it is the same failure, or None, also after the time limit."""
        key = json.dumps(decisions, sort_keys=True)
        if self._budget.used_up or key in self._holds:
            return None
        outcome = run(self._scenario, self.best.plan.with_decisions(decisions))
        if outcome.violation is not None and _broke(outcome) == self._broke:
            return outcome
        self._holds.add(key)
        return None


def _broke(outcome: Outcome) -> tuple[str, type[BaseException] | None]:
    """Return the violated rule and, if a program ended with an error, the error's type."""
    violation = outcome.violation
    if violation is None:
        return "", None
    return violation.rule, None if violation.__cause__ is None else type(violation.__cause__)


def _parts(one: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", one) if isinstance(one, dict) else {}


def _fault(one: Any) -> str | None:
    return _parts(one).get("fault")


_KINDS: Final[tuple[Callable[[str, Any], bool], ...]] = (
    lambda address, _: address.startswith("order/"),
    lambda _, one: isinstance(one, dict) and "fault" not in one,
    lambda address, _: "/skip/" in address,
    lambda address, _: "/wake/" in address,
)
"""The kinds of decisions other than faults: orders, delays, skipped rows, wake-ups."""
