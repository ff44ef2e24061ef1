"""Kills a process at each point that a workload's handlers pass, in one run for each point.

The idea is that of SQLite's crash tests: fail at the first operation, at the second, and so on, until a run
ends before the next one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.model import RowState
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.history.events import Change, Fault
from zeke_sim.loop.decisions import Decisions
from zeke_sim.loop.run_loop import Interruptible
from zeke_sim.properties.losses import LOST, nothing_lost, observed
from zeke_sim.world.faults import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.history.events import Affected, Event
    from zeke_sim.properties.losses import Done
    from zeke_sim.world.context import Passed

CRASHES: Final = NONE.but(kinds=("kill_line",), handler=1.0, until_drained=True)
"""The only faults are kills at points, which a plan names."""

POINTS_MAX: Final = 1000
"""Maximum number of runs with one kill; of more points, a sample is tried, with equal shares of tasks."""

PAIRS_MAX: Final = 500
"""Maximum number of runs with two kills; of more pairs, a sample is tried."""


SETTLING_MAX: Final = 2
"""Number of times that the points are looked for again, since the first runs filled a cache, for instance."""

FAILED: Final = frozenset({RowState.FAILED, RowState.EXPIRED})
"""The ends of jobs that a report names if they occur without a kill; a cancellation is asked for."""

SECONDS_MAX: Final = 100
"""Maximum number of second kills that are considered for each first one."""


@dataclass(slots=True)
class Crashes:
    """The results of runs with kills at points.

    Attributes:
        points: number of points that were passed without a kill.
        tried, pairs: number of runs with one kill, and with two.
        pairs_found: number of pairs of points that were passed.
        missed: the first point that no run reached again, so that it was not killed there.
        uneven: whether two runs without a kill had different effects.
        failure: the first run that violated a property.
        scenario: the scenario, with the property that nothing is lost if that was to be checked.
        done: what jobs do without a kill.
        failed: for each task of which jobs fail without a kill, the last error.
    """

    scenario: Scenario
    points: int = 0
    tried: int = 0
    pairs: int = 0
    pairs_found: int = 0
    missed: Passed | None = None
    uneven: bool = False
    failure: Outcome | None = None
    done: Done = field(default_factory=dict[Any, Any])
    failed: Mapping[str, str] = field(default_factory=dict[str, str])

    def summary(self) -> str:
        """Return at how many of the points processes were killed."""
        pairs = f", and at {self.pairs} of {self.pairs_found} pairs of points" if self.pairs_found else ""
        return f"killed at {self.tried} of {self.points} points{pairs}"


def crash_everywhere(
    scenario: Scenario,
    *,
    pairs: bool = False,
    once: bool = False,
    may_lose: Sequence[str] | None = None,
    choose: Callable[[Sequence[Passed]], Sequence[Passed]] | None = None,
    points_max: int = POINTS_MAX,
    pairs_max: int = PAIRS_MAX,
) -> Iterator[tuple[Crashes, Outcome]]:
    """Run a scenario without a kill, and then with a kill at each point, until a property is violated.

    Args:
        pairs: whether to also try two kills in a run.
        once: whether to try each line of a task only once, where the first job passes it.
        may_lose: the beginnings of effects that may be missing after a kill, and no others; by default all.
        choose: returns those of the points that are tried; by default all are.
        points_max: maximum number of runs with one kill.
        pairs_max: maximum number of runs with two kills.

    Yields:
        The results so far, and the last run.
    """
    search = _Search(scenario, may_lose)
    with Interruptible() as interruption:
        for turn in range(SETTLING_MAX + 1):
            whole = search.begin()
            yield search.crashes, whole
            points = whole.passed if choose is None else choose(whole.passed)
            points = _each_line(points) if once else points
            for passed in _drawn(points, points_max, "points", lambda one: one.affected.task):
                if search.crashes.failure is not None:
                    return
                interruption.check()
                yield search.crashes, search.kill_at(passed, pairs=pairs)
                if search.moved and turn < SETTLING_MAX:
                    break
            if not search.moved:
                break
        for decisions in _drawn(search.seconds, pairs_max, "pairs"):
            if search.crashes.failure is not None:
                return
            interruption.check()
            yield search.crashes, search.kill_twice(decisions)


class _Search:
    """The runs of a scenario, and what they gave.

    Attributes:
        moved: whether a run passed other points than the one without a kill.
        seconds: the pairs of kills.
    """

    def __init__(self, scenario: Scenario, may_lose: Sequence[str] | None) -> None:
        self._scenario = scenario
        self._may_lose = may_lose
        self.crashes = Crashes(scenario)
        self.moved = False
        self.seconds: list[dict[str, Any]] = []

    def begin(self) -> Outcome:
        """Run without a kill."""
        self.crashes.tried, self.crashes.pairs_found, self.crashes.missed = 0, 0, None
        self.moved = False
        self.seconds.clear()
        whole, self.crashes.done = run_whole(self._scenario)
        self.crashes.points = len(whole.passed)
        self.crashes.failed = _failed(whole.events)
        if self._may_lose is not None:
            self.crashes.scenario = requiring(self._scenario, self.crashes.done, self._may_lose)
        if whole.violation is not None:
            self.crashes.failure = whole
        return whole

    def kill_at(self, passed: Passed, *, pairs: bool) -> Outcome:
        """Run with one kill, and note further ones if there are to be pairs."""
        first = _kill(passed)
        outcome = self._run(first)
        self.crashes.tried += 1
        killed = _killed(outcome, passed)
        self.moved = self.moved or killed != passed.affected
        if killed is None and outcome.violation is None:
            self.crashes.missed = self.crashes.missed or passed
        if pairs:
            others = [first | _kill(one) for one in outcome.passed if one.address not in first]
            self.crashes.pairs_found += len(others)
            self.seconds += _drawn(others, SECONDS_MAX, f"second/{self.crashes.tried}")
        return outcome

    def kill_twice(self, decisions: Mapping[str, Any]) -> Outcome:
        """Run with two kills."""
        outcome = self._run(decisions)
        self.crashes.pairs += 1
        return outcome

    def _run(self, decisions: Mapping[str, Any]) -> Outcome:
        crashes = self.crashes
        outcome = run(crashes.scenario, _plan(self._scenario, decisions), trace=True)
        if outcome.violation is not None:
            crashes.failure = outcome
            if outcome.violation.rule == LOST:
                crashes.uneven = _often(run_whole(self._scenario)[1]) != _often(crashes.done)
        return outcome


def run_whole(scenario: Scenario) -> tuple[Outcome, Done]:
    """Run a scenario without a kill; return what its jobs do, too, unless a property is violated."""
    done: list[Done] = []
    properties = (*scenario.properties, observed(done))
    outcome = run(scenario, _plan(scenario, {}), properties, trace=True)
    return outcome, done[0] if done else {}


def requiring(scenario: Scenario, done: Done, may_lose: Sequence[str]) -> Scenario:
    """Return a scenario that requires of killed jobs what they do without a kill."""
    return replace(scenario, properties=(*scenario.properties, nothing_lost(done, may_lose)))


def _plan(scenario: Scenario, decisions: Mapping[str, Any]) -> Plan:
    return Plan(scenario.name, 0, "crashes", CRASHES, decisions)


def _failed(events: Sequence[Event]) -> dict[str, str]:
    """Return the last error of each task of which jobs fail or expire."""
    rows = [event.after for event in events if isinstance(event, Change) and event.table == "job"]
    return {row.name: row.output or "" for row in rows if row is not None and row.state in FAILED}


def _often(done: Done) -> dict[Any, dict[str, int]]:
    return {job: {kind: len(texts) for kind, texts in kinds.items()} for job, kinds in done.items()}


def _kill(passed: Passed) -> dict[str, Any]:
    return {passed.address: {"fault": "kill_line", "point": passed.point}}


def _killed(outcome: Outcome, passed: Passed) -> Affected | None:
    """Return the attempt that was killed at a point, and where; None if none was."""
    kills = (one for one in outcome.events if isinstance(one, Fault) and one.address == passed.address)
    return next((kill.affected[0] for kill in kills), None)


def _each_line(passed: Sequence[Passed]) -> list[Passed]:
    """Return the first point of each line of each task."""
    first: dict[Any, Passed] = {}
    for one in passed:
        first.setdefault((one.affected.task, one.affected.line, one.affected.returned), one)
    return list(first.values())


def _drawn(
    ones: Sequence[Any], most: int, address: str, part: Callable[[Any], object] | None = None
) -> Sequence[Any]:
    """Return all items, or a sample of ``most`` of them in their order.

    Args:
        part: returns the part that an item belongs to; the sample has equal shares of parts, if possible.
    """
    if len(ones) <= most:
        return ones
    draws = Decisions(0).stream(address)
    shuffled = sorted(range(len(ones)), key=lambda _: draws.random())
    if part is not None:
        taken: Counter[object] = Counter()
        rank: dict[int, int] = {}
        for place in shuffled:
            of = part(ones[place])
            rank[place] = taken[of]
            taken[of] += 1
        shuffled.sort(key=rank.__getitem__)
    return [ones[place] for place in sorted(shuffled[:most])]
