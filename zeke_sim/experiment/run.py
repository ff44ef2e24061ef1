"""One run of a scenario: takes a plan, returns a history and, if a property was violated, the violation."""

from __future__ import annotations

import gc
import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.system import logging as log
from zeke_sim.errors import SimulationError
from zeke_sim.history.events import Violation
from zeke_sim.history.recorder import lines
from zeke_sim.loop.decisions import Decisions
from zeke_sim.properties.checker import Checker
from zeke_sim.world import sandbox
from zeke_sim.world.frozen_time import WorldTimes, showing
from zeke_sim.world.lines import LINES
from zeke_sim.world.world import World

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from zeke_sim.experiment.plan import Plan
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.history.events import Event, Line
    from zeke_sim.properties import Property
    from zeke_sim.world.context import Passed
    from zeke_sim.world.setup import Setup

DECISIONS_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        plan: a plan that repeats exactly this run.
        violation: the violated property, or None.
        seconds: virtual seconds.
        ticks: number of callbacks that ran.
        epoch: the virtual time at second 0.
        actions: the clients' actions, done or left out, by address.
        sentence: the docstring of the violated property, or its name if it has none.
        passed: the points that handlers passed while faults were possible, if they were traced.
        lines: all points that handlers passed, by task.
    """

    plan: Plan
    events: Sequence[Event]
    violation: Violation | None
    seconds: float
    ticks: int
    nodes: tuple[str, ...]
    epoch: datetime
    actions: tuple[str, ...] = ()
    sentence: str = ""
    passed: Sequence[Passed] = ()
    lines: Mapping[str, Collection[Line]] = field(default_factory=dict[str, Any])

    @property
    def digest(self) -> str:
        """A hash of the history, equal for equal runs on any Python version."""
        return digest(self.events)

    def check(self) -> None:
        """Fail if a property was violated.

        Raises:
            AssertionError: a property was violated; the message names it, the violation and the decisions.
        """
        violation = self.violation
        if violation is None:
            return
        decisions = [f"{address}: {what}" for address, what in (self.plan.decisions or {}).items()]
        left = len(decisions) - DECISIONS_SHOWN
        under = "under these decisions:" if decisions else "under no decisions"
        lines = [
            f"{violation.rule}: {violation.text}",
            *([self.sentence] if self.sentence != violation.rule else []),
            f"at {violation.at:.3f} s of {self.plan.scenario}, {under}",
            *decisions[:DECISIONS_SHOWN],
            *([f"… and {left} more"] if left > 0 else []),
        ]
        raise AssertionError("\n  ".join(lines)) from violation


def run(
    scenario: Scenario, plan: Plan, properties: Sequence[Property] | None = None, *, trace: bool = False
) -> Outcome:
    """Run a scenario.

    Args:
        plan: the seed, the knobs and optionally the decisions, which are otherwise drawn.
        properties: the properties to check; by default those of the scenario.
        trace: whether to return the points that handlers passed.

    Raises:
        SimulationError: the scenario cannot be built.
    """
    # A collection during the run would scan the whole world and free none of it, so collect afterwards.
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _run(scenario, plan, properties, trace=trace)
    finally:
        if enabled:
            gc.enable()


def _run(scenario: Scenario, plan: Plan, properties: Sequence[Property] | None, *, trace: bool) -> Outcome:
    decisions = Decisions(plan.seed, plan.decisions)
    setup = _built(scenario, plan, decisions)
    world: World | None = None
    checker: Checker | None = None

    def see(event: Event) -> None:
        if world is not None:
            world.see_change(event)
        if checker is not None:
            checker.see(event)

    world = World(setup, decisions, plan.knobs, see)
    world.trace = [] if trace else None
    chosen = scenario.properties if properties is None else properties
    checker = Checker(world.rules(), properties=chosen)
    times = showing(WorldTimes(world)) if scenario.freeze else nullcontext()
    with log.silenced(), times, sandbox.closed(world.seed_of, scenario.allow, world.reached_outside):
        world.run()
    violation = world.recorder.violation
    if violation is None and checker.state.phase != "end":
        text = "something stopped the loop, which only the simulation may; let a handler return instead"
        violation = Violation("a run goes on to its end", text, at=world.time())
    if violation is None:
        try:
            checker.finish(world.time())
        except Violation as found:
            violation = found
    return Outcome(
        plan=plan.with_decisions(decisions.made),
        events=world.recorder.events,
        violation=violation,
        sentence="" if violation is None else sentence(violation.rule, chosen),
        seconds=world.time(),
        ticks=world.loop.ticks,
        nodes=tuple(world.nodes),
        epoch=world.epoch,
        actions=tuple(world.actions),
        passed=world.trace or (),
        lines={task: [LINES[one] for one in sorted(passed)] for task, passed in world.passed.items()},
    )


def _built(scenario: Scenario, plan: Plan, decisions: Decisions) -> Setup:
    try:
        return scenario.build(decisions.stream("scenario"))
    except Exception as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        raise SimulationError(
            f"{scenario.name}, seed {plan.seed}: it can't be built: {type(error).__name__}: {error} (at"
            f" {last.filename}:{last.lineno})"
        ) from error


def sentence(rule: str, properties: Sequence[Property]) -> str:
    """Return the docstring of a property, or its name if it is not one of ``properties``."""
    return next((one.sentence for one in properties if one.name == rule), "") or rule


def digest(events: Sequence[Event]) -> str:
    """Return a hash of a history."""
    hashed = blake2b(digest_size=16)
    for line in lines(events):
        hashed.update(line.encode())
    return hashed.hexdigest()


def first_difference(one: Sequence[Event], other: Sequence[Event]) -> tuple[int, Any, Any] | None:
    """Return the first difference of two histories: its index, and both events (None past an end)."""
    for place, (left, right) in enumerate(zip_longest(lines(one), lines(other))):
        if left != right:
            return place, left, right
    return None
