"""Equal seeds give equal histories: in one process, in others with other hash seeds, and from a plan."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

import zeke_sim
from tests.scenarios import load, names
from tests.sim.worlds import catalog_of, played, scenario_of, sending
from zeke_sim.experiment.run import first_difference, run
from zeke_sim.experiment.shrink import divergence
from zeke_sim.history.events import Effect

SEED = 1


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.nightly) if name == "catalog" else name for name in names()],
)
def test_seed_and_decisions_repeat_a_run(name: str) -> None:
    scenario = load(name)
    drawn, again = (run(scenario, scenario.plan(SEED), ()) for _ in range(2))
    assert first_difference(drawn.events, again.events) is None
    assert drawn.digest == again.digest
    assert drawn.plan.decisions
    assert divergence(drawn, run(scenario, drawn.plan, ())) is None


def test_memory_addresses_do_not_change_the_history() -> None:
    kept: list[object] = []

    def look() -> object:
        kept.append(object())
        return kept[-1]

    scenario = scenario_of(catalog_of(look, retry_limit=0), sending("look"))
    one, other = played(scenario), played(scenario)
    assert any("object object at 0x" in str(event) for event in one.events)
    assert first_difference(one.events, other.events) is None
    assert one.digest == other.digest


def test_order_of_a_set_of_tasks_does_not_change_the_history() -> None:
    kept: list[bytearray] = []

    async def request(number: int) -> None:
        try:
            await asyncio.sleep(1 if number else 0.5)
            raise ConnectionError
        finally:
            zeke_sim.effect(f"end {number}")

    async def look() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                kept.extend(bytearray(600) for _ in range(number % 7))
                group.create_task(request(number))

    scenario = scenario_of(catalog_of(look, retry_limit=0), sending("look"))
    one, other = played(scenario), played(scenario)
    ends = [event.key for event in one.events if isinstance(event, Effect)]
    assert len(ends) == 20
    assert ends == [event.key for event in other.events if isinstance(event, Effect)]


def test_other_seeds_give_other_histories() -> None:
    scenario = load("retries")
    assert len({run(scenario, scenario.plan(seed), ()).digest for seed in range(10)}) == 10


def _digests(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "tests.sim.histories_of", ",".join(names()), str(SEED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.nightly
def test_hash_seed_does_not_change_the_history() -> None:
    assert _digests("1").splitlines() == _digests("2").splitlines()


def test_difference_is_described_by_the_first_event() -> None:
    scenario = load("retries")
    plan = run(scenario, scenario.plan(3), ()).plan
    fewer = dict(list((plan.decisions or {}).items())[1:])
    told = divergence(run(scenario, plan, ()), run(scenario, plan.with_decisions(fewer), ()))
    assert told is not None
    assert told.startswith("event ")
    assert " was " in told
