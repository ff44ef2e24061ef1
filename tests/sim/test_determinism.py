"""Equal seeds give equal histories: in one process, in others with other hash seeds, and from a plan."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from zeke_queue import Catalog
from zeke_sim.faults import NONE
from zeke_sim.plan import Plan
from zeke_sim.run import first_difference, run
from zeke_sim.scenario import Scenario, load, names
from zeke_sim.setup import Setup
from zeke_sim.shrink import divergence

if TYPE_CHECKING:
    from zeke_sim.draws import Draws
    from zeke_sim.node import Node

SEEDS = (1, 2, 11)


@pytest.mark.parametrize("name", names())
def test_a_seed_run_twice_gives_one_history(name: str) -> None:
    scenario = load(name)
    for seed in SEEDS:
        one, other = (run(scenario, scenario.plan(seed), ()) for _ in range(2))
        assert first_difference(one.events, other.events) is None
        assert one.digest == other.digest


@pytest.mark.parametrize("name", names())
def test_the_decisions_of_a_run_make_it_again_without_drawing(name: str) -> None:
    scenario = load(name)
    for seed in SEEDS:
        drawn = run(scenario, scenario.plan(seed), ())
        assert drawn.plan.decisions
        assert divergence(drawn, run(scenario, drawn.plan, ())) is None


def test_where_an_object_lies_in_memory_makes_no_other_history() -> None:
    kept: list[object] = []

    def build(_draws: Draws) -> Setup:
        catalog = Catalog()

        @catalog.task("make", retry_limit=0)
        async def make() -> object:
            kept.append(object())
            return kept[-1]

        async def send(node: Node) -> None:
            await node.queue.send(make)

        return Setup(catalog, clients={"c1": send}, workers=1, phase=1.0)

    one, other = (run(Scenario("made", "", build), Plan("made", 1, "given", NONE)) for _ in range(2))
    assert any("object object at 0x" in str(event) for event in one.events)
    assert first_difference(one.events, other.events) is None
    assert one.digest == other.digest


def test_other_seeds_give_other_histories() -> None:
    scenario = load("retries")
    assert len({run(scenario, scenario.plan(seed), ()).digest for seed in range(10)}) == 10


def _digests(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "tests.sim.histories_of", ",".join(names()), *map(str, SEEDS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_processes_with_other_hash_seeds_agree() -> None:
    assert _digests("1").splitlines() == _digests("2").splitlines()


def test_a_difference_is_told_by_the_first_event_that_differs() -> None:
    scenario = load("retries")
    plan = run(scenario, scenario.plan(3), ()).plan
    fewer = dict(list((plan.decisions or {}).items())[1:])
    told = divergence(run(scenario, plan, ()), run(scenario, plan.with_decisions(fewer), ()))
    assert told is not None
    assert told.startswith("event ")
    assert " was " in told
