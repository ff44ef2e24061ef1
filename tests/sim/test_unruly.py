"""What unruly applications do to a simulation: they stop its loop, or are not the same from run to run."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - the stream of the program around the simulation
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.cases import check_each
from tests.sim import worlds
from tests.sim.worlds import catalog_of, scenario_of, sending
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.maintenance.outage_monitor import OutageMonitor
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.task.catalog import Catalog
from zeke_queue.worker import Worker
from zeke_sim.errors import SimulationError
from zeke_sim.experiment.driver import run_seeds
from zeke_sim.experiment.run import Outcome, run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.experiment.shrink import shrink
from zeke_sim.history.events import Change, Lived
from zeke_sim.loop.decisions import RandomStream
from zeke_sim.properties import ALL, always
from zeke_sim.world.node import Main, Node
from zeke_sim.world.setup import Setup

NAME = "tests.sim.test_unruly:{}"


SEND = sending("look")


async def work() -> None:
    """Do nothing."""


def scenario(handler: Callable[[], Awaitable[None]] = work, client: Main = SEND) -> Scenario:
    return scenario_of(catalog_of(handler), client, phase=15.0, quiet=30.0)


def played(one: Scenario, decisions: dict[str, object] | None = None) -> Outcome:
    return worlds.played(one, decisions or {})


def test_handler_that_stops_the_loop_is_a_violation() -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()

    violation = played(scenario(stop)).violation
    assert violation is not None
    assert "stopped the loop" in violation.text


def test_event_loop_of_the_program_is_kept() -> None:
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
    try:
        assert played(scenario()).violation is None
        assert asyncio.get_event_loop_policy().get_event_loop() is mine
    finally:
        asyncio.set_event_loop(None)
        mine.close()


def test_random_state_of_the_program_is_kept() -> None:
    before = random.getstate()
    played(replace(scenario(), allow=("random",)))
    assert random.getstate() == before


def test_property_that_raises_is_named() -> None:
    def look(_state: object) -> bool:
        raise KeyError("nobody")

    broken = replace(scenario(), properties=(*ALL, always("somebody is there", look)))
    violation = played(broken).violation
    assert violation is not None
    assert violation.rule == "somebody is there"
    assert "KeyError: 'nobody'" in violation.text


def test_late_kill_spares_the_successor() -> None:
    outcome = played(
        scenario(),
        {
            "w1/claim/1": {"fault": "kill_after", "wait": 8.0},
            "node/w1/0": {"fault": "kill", "at": 1.0, "for": 1.0},
        },
    )
    lives = [event.what for event in outcome.events if isinstance(event, Lived) and event.node == "w1"]
    assert lives == ["started", "killed", "started"]


def test_transaction_is_lost_with_its_connection() -> None:
    def check(fault: str) -> None:
        said: list[str] = []

        async def go_on(node: Node) -> None:
            try:
                async with node.queue.transaction() as transaction:
                    try:
                        await transaction.send("look")
                    except StorageUnavailableError:
                        await transaction.send("look")
            except StorageUnavailableError as error:
                said.append(str(error))

        outcome = played(scenario(client=go_on), {"c1/insert/1": {"fault": fault}})
        assert outcome.violation is None, outcome.violation
        assert len(said) == 1
        # What was inserted is gone again.
        changes = [event for event in outcome.events if isinstance(event, Change)]
        assert sum(1 if one.before is None else -1 for one in changes if None in (one.before, one.after)) == 0

    check_each(["refused", "lost"], check)


def test_shrinking_keeps_to_the_error_that_a_program_ended_with() -> None:
    async def fragile(node: Node) -> None:
        try:
            await node.storage.now()
        except StorageUnavailableError:
            raise ValueError("no answer") from None
        raise KeyError("it always ends badly")

    one = scenario(client=fragile)
    failed = played(one, {"c1/now/1": {"fault": "lost"}, "w1/claim/1": {"fault": "refused"}})
    small = shrink(one, failed).outcome
    assert list(small.plan.decisions or {}) == ["c1/now/1"]
    assert small.violation is not None
    assert "ValueError" in small.violation.text


@pytest.mark.parametrize(
    ("part", "node", "verb"),
    [(Worker, "w1", "claim"), (Maintenance, "v1", "lock_expired"), (Scheduler, "s1", "lock_due_schedules")],
)
def test_idle_part_of_the_runtime_is_found(
    part: type[Worker | Maintenance | Scheduler], node: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(_self: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(part, "run", sleep)
    one = scenario()
    lazy = replace(one, build=lambda draws: replace(one.build(draws), schedulers=1, quiet=60.0, phase=5.0))
    violation = played(lazy).violation
    assert violation is not None
    assert violation.rule == "every process performs its duty"
    assert violation.text.startswith(f"{node} ")
    assert violation.text.endswith(f"never called {verb}")


def test_failed_observation_of_outages_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: object, _sent: float) -> None:
        raise ValueError("no time")

    monkeypatch.setattr(OutageMonitor, "answered", fail)
    one = scenario()
    violation = played(replace(one, build=lambda draws: replace(one.build(draws), workers=0))).violation
    assert violation is not None
    assert (violation.rule, violation.text) == ("no part of the runtime crashes", "v1: ValueError: no time")


class _Changing:
    """Worlds of which the first of a process is another one than those that follow."""

    built = 0

    def build(self, _draws: RandomStream) -> Setup:
        self.built += 1
        first = self.built == 1

        async def main(_node: Node) -> None:
            if first:
                raise ValueError("only the first time")

        return Setup(Catalog(), clients={"c1": main}, workers=0, maintenance=0, phase=5.0, quiet=30.0)


CHANGING = Scenario(NAME.format("CHANGING"), "", _Changing().build)


def test_failure_that_is_not_repeated_is_a_failure() -> None:
    run(CHANGING, CHANGING.plan(0))  # in this process, which replays what another one found
    failure = run_seeds([CHANGING.name], range(3), processes=2).failure
    assert failure is not None
    assert "only the first time" in str(failure.violation)
    assert "its plan does not reproduce it" in str(failure.violation)


def test_scenario_that_can_not_be_built_is_named() -> None:
    def build(_draws: RandomStream) -> Setup:
        raise KeyError("nothing there")

    complaint = r"unruly, seed 1: .*KeyError: 'nothing there'.*test_unruly.py:"
    with pytest.raises(SimulationError, match=complaint):
        played(Scenario("unruly", "", build))
