"""Kills a process at each point that a workload's handlers pass, in one run for each point.

The idea is that of SQLite's crash tests: fail at the first operation, at the second, and so on, until a run
ends before the next one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.loop.decisions import Decisions
from zeke_sim.loop.run_loop import Interruptible
from zeke_sim.world.faults import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.world.context import Passed

CRASHES: Final = NONE.but(kinds=("kill_line",), handler=1.0, until_drained=True)
"""The only faults are kills at points, which a plan names."""

POINTS_MAX: Final = 1000
"""Maximum number of runs with one kill; of more points, a sample is tried, with equal shares of tasks."""

PAIRS_MAX: Final = 500
"""Maximum number of runs with two kills; of more pairs, a sample is tried."""


SECONDS_MAX: Final = 100
"""Maximum number of second kills that are considered for each first one."""


@dataclass(slots=True)
class Crashes:
    """The results of runs with kills at points.

    Attributes:
        points: number of points that were passed without a kill.
        tried, pairs: number of runs with one kill, and with two.
        failure: the first run that violated a property.
    """

    points: int = 0
    tried: int = 0
    pairs: int = 0
    failure: Outcome | None = None


def crash_everywhere(
    scenario: Scenario,
    *,
    pairs: bool = False,
    once: bool = False,
    choose: Callable[[Sequence[Passed]], Sequence[Passed]] | None = None,
    points_max: int = POINTS_MAX,
    pairs_max: int = PAIRS_MAX,
) -> Iterator[tuple[Crashes, Outcome]]:
    """Run a scenario without a kill, and then with a kill at each point, until a property is violated.

    Args:
        pairs: whether to also try two kills in a run.
        once: whether to try each line of a task only once, where the first job passes it.
        choose: returns those of the points that are tried; by default all are.
        points_max: maximum number of runs with one kill.
        pairs_max: maximum number of runs with two kills.

    Yields:
        The results so far, and the last run.
    """
    crashes = Crashes()
    seconds: list[dict[str, Any]] = []

    def tried(decisions: Mapping[str, Any]) -> Outcome:
        outcome = run(scenario, Plan(scenario.name, 0, "crashes", CRASHES, decisions), trace=True)
        if outcome.violation is not None:
            crashes.failure = outcome
        return outcome

    with Interruptible() as interruption:
        whole = tried({})
        crashes.points = len(whole.passed)
        yield crashes, whole
        points = whole.passed if choose is None else choose(whole.passed)
        points = _each_line(points) if once else points
        for passed in _drawn(points, points_max, "points", lambda one: one.affected.task):
            if crashes.failure is not None:
                return
            interruption.check()
            first = _kill(passed)
            outcome = tried(first)
            crashes.tried += 1
            if pairs:
                others = [first | _kill(one) for one in outcome.passed if one.address not in first]
                seconds += _drawn(others, SECONDS_MAX, f"second/{crashes.tried}")
            yield crashes, outcome
        for decisions in _drawn(seconds, pairs_max, "pairs"):
            if crashes.failure is not None:
                return
            interruption.check()
            outcome = tried(decisions)
            crashes.pairs += 1
            yield crashes, outcome


def _kill(passed: Passed) -> dict[str, Any]:
    return {passed.address: {"fault": "kill_line", "point": passed.point}}


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
