"""The choice of the next node, and the decisions that a shrunk plan keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from tests.sim.worlds import scenario_of
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import Outcome, run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.experiment.shrink import shrink
from zeke_sim.history.events import Answered
from zeke_sim.world.faults import NONE
from zeke_sim.world.node import Node

Program = Callable[[Node], Awaitable[None]]


def scenario(*programs: Program) -> Scenario:
    return scenario_of(Catalog(), *programs, workers=0, maintenance=0, phase=20.0, quiet=30.0)


def played(one: Scenario, decisions: dict[str, Any] | None, **knobs: Any) -> Outcome:
    return run(one, Plan("choices", 5, "given", NONE.but(**knobs), decisions))


def test_node_of_high_priority_runs_first_until_it_is_lowered() -> None:
    """Turns alternate; with priorities one node runs while it can, and the priorities change now and then."""
    heard: list[str] = []

    async def talk(node: Node) -> None:
        for _ in range(400):
            heard.append(node.name)
            await node.clock.sleep(0)

    one = scenario(talk, talk, talk, talk)
    played(one, None, order="turns")
    turns, heard = heard, []
    played(one, None, order="priorities")
    switches = [sum(a != b for a, b in pairwise(said)) for said in (turns, heard)]
    assert switches[0] > 1500
    # Without falling there would be as many switches as nodes that come to their end.
    assert 4 < switches[1] < switches[0] / 5


def test_pending_answer_does_not_reach_a_partitioned_node() -> None:
    async def ask(node: Node) -> None:
        try:
            await node.storage.now()
        except StorageUnavailableError:
            return

    decisions = {"c1/now/1": {"back": 4.0}, "node/c1/0": {"fault": "partition_in", "at": 2.0, "for": 3.0}}
    answers = [event for event in played(scenario(ask), decisions).events if isinstance(event, Answered)]
    assert [(event.verb, event.outcome) for event in answers] == [("now", "unknown")]


def test_node_with_a_slow_clock_sleeps_longer() -> None:
    woken: list[float] = []

    async def sleep(node: Node) -> None:
        await node.clock.sleep(1.0)
        before = node.clock.monotonic()
        await node.clock.sleep(4.0)
        woken.extend([node.world.time(), node.clock.monotonic() - before])

    one = scenario(sleep)
    played(one, {"node/c1/0": {"fault": "drift", "at": 0.5, "rate": 0.5}})
    (at, slept) = woken
    assert abs(slept - 4.0) < 0.001
    assert abs(at - 9.0) < 0.001


async def _frail(node: Node) -> None:
    for _ in range(8):
        try:
            await node.storage.now()
        except StorageUnavailableError:
            raise ValueError("no answer") from None


def test_shrunk_plan_keeps_the_effective_part_of_a_fault() -> None:
    one = scenario(_frail)
    failed = played(one, {"c1/now/2": {"back": 0.1}, "c1/now/3": {"fault": "lost", "wait": 0.5, "back": 0.3}})
    assert failed.violation is not None
    assert shrink(one, failed).outcome.plan.decisions == {"c1/now/3": {"fault": "lost"}}
