"""The result of shrinking: exactly the decisions without which the violation does not occur."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.scenarios import load
from zeke_queue.errors import StorageError
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.experiment.shrink import shrink
from zeke_sim.history.events import Began, Lived
from zeke_sim.history.state import Broken, RunState
from zeke_sim.properties import holds
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.experiment.run import Outcome
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node


@holds("nothing runs", Began)
def nothing_runs(event: Began, _state: RunState) -> None:
    """No handler begins, which takes no fault to break."""
    raise Broken("a handler began", job=event.job)


@holds("nobody dies", Lived)
def nobody_dies(event: Lived, _state: RunState) -> None:
    """No process is killed."""
    if event.what == "killed":
        raise Broken(f"{event.node} was killed")


def failing(scenario: Scenario) -> Outcome:
    """Return the first run of a scenario that breaks something, and had decisions to make."""
    runs = (run(scenario, scenario.plan(seed)) for seed in range(100))
    return next(outcome for outcome in runs if outcome.violation and outcome.plan.decisions)


def faults(outcome: Outcome) -> list[Any]:
    """Return what goes wrong in a run, or out of order: the decisions that are not of a client's own."""
    return [one for one in (outcome.plan.decisions or {}).values() if one is not True]


def test_failure_without_faults_shrinks_to_no_faults() -> None:
    scenario = replace(load("retries"), properties=(nothing_runs,))
    shrunk = shrink(scenario, failing(scenario))
    assert faults(shrunk.outcome) == []
    assert shrunk.before > 0


@pytest.mark.nightly
def test_remaining_fault_is_reduced_to_what_it_needs() -> None:
    scenario = replace(load("retries"), properties=(nobody_dies,))
    found = [shrink(scenario, run(scenario, plan)) for plan in killing(scenario)]
    assert len(found) > 1
    for shrunk in found:
        (decision,) = faults(shrunk.outcome)
        assert decision["fault"].startswith("kill")
        assert not {"back", "wait"} & set(decision)


def killing(scenario: Scenario) -> list[Plan]:
    """Return plans that kill a process, with the time of its restart."""
    outcomes = (run(scenario, scenario.plan(seed)) for seed in range(100))
    return [
        outcome.plan
        for outcome in outcomes
        if outcome.violation and any("back" in str(one) for one in (outcome.plan.decisions or {}).values())
    ][:3]


class Lost(Exception):
    """A program was not answered."""


class Done(Exception):
    """A program was answered, and ends with an error all the same."""


def ends_with_an_error(_draws: RandomStream) -> Setup:
    """Return a program that ends with one error if the storage fails it, else with another."""

    async def program(node: Node) -> None:
        for _ in range(30):
            try:
                await node.queue.stats()
            except StorageError as error:
                raise Lost from error
            await node.queue.clock.sleep(0.2)
        raise Done

    return Setup(Catalog(), clients={"c1": program}, workers=0, maintenance=0, phase=10.0)


def test_error_of_another_kind_is_another_failure() -> None:
    scenario = Scenario("errors", "", ends_with_an_error, kinds=("refused",))
    outcomes = (run(scenario, scenario.plan(seed)) for seed in range(300))
    lost = next(o for o in outcomes if o.violation and isinstance(o.violation.__cause__, Lost))
    small = shrink(scenario, lost).outcome
    assert small.violation is not None
    assert isinstance(small.violation.__cause__, Lost)
    assert len(faults(small)) == 1


def test_different_replay_is_reported_with_the_first_differing_event() -> None:
    numbers = itertools.count(100)  # which no seed knows

    def build(draws: RandomStream) -> Setup:
        async def look(node: Node) -> None:
            await node.queue.stats()

        setup = load("retries").build(draws)
        return replace(setup, clients={**setup.clients, f"c{next(numbers)}": look})

    scenario = Scenario("unsteady", "", build, properties=(nothing_runs,))
    shrunk = shrink(scenario, failing(scenario))
    assert shrunk.unsteady is not None
    assert re.match(r"event \d+ was .*c\d+.*, and is .*c\d+", shrunk.unsteady)
    assert shrunk.replays == 0
