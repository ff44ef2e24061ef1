"""Shrinking over runs that are made up, of which it is known which decisions and actions a failure needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from tests.scenarios import load
from zeke_sim.experiment import shrink as shrinking
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import Outcome
from zeke_sim.experiment.shrink import REPLAYS, Shrunk, shrink
from zeke_sim.history.events import Lived, Violation
from zeke_sim.loop.decisions import Decisions
from zeke_sim.report.failure import Failure
from zeke_sim.world.faults import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zeke_sim.experiment.scenario import Scenario

ORDERS = {f"order/{n}": "w1" for n in range(400)}
FAULTS = {f"w1/claim/{n}": {"fault": "lost", "back": 1.0} for n in range(40)}
ACTIONS = tuple(f"action/c1/{n}" for n in range(5))


class Runs:
    """Runs that break by their decisions alone."""

    def __init__(self, breaks: Callable[[Mapping[str, Any]], bool]) -> None:
        self.breaks = breaks
        self.made = 0

    def run(self, scenario: Scenario | None, plan: Plan) -> Outcome:
        del scenario
        self.made += 1
        violation = (
            Violation("it holds", "it does not", at=1.0) if self.breaks(plan.decisions or {}) else None
        )
        return Outcome(plan, [], violation, 1.0, 1, (), datetime(2026, 3, 2, tzinfo=UTC), ACTIONS)


def shrunk(
    breaks: Callable[[Mapping[str, Any]], bool], decisions: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], int]:
    runs = Runs(breaks)
    monkeypatch.setattr(shrinking, "run", runs.run)
    failed = runs.run(None, Plan("retries", 1, "given", NONE, decisions))
    small = shrink(load("retries"), failed)
    return dict(small.outcome.plan.decisions or {}), runs.made


def test_two_faults_among_hundreds_are_found_in_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {"w1/claim/3", "w1/claim/31"}
    left, runs = shrunk(lambda given: needed <= given.keys(), {**ORDERS, **FAULTS}, monkeypatch)
    assert left == {address: {"fault": "lost"} for address in needed} | dict.fromkeys(ACTIONS, True)
    assert runs < 80


def test_orders_that_matter_only_together_are_left_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        orders = sum(address.startswith("order/") for address in given)
        return "w1/claim/3" in given and orders in {0, len(ORDERS)}

    left, runs = shrunk(breaks, {**ORDERS, **FAULTS}, monkeypatch)
    assert left == {"w1/claim/3": {"fault": "lost"}} | dict.fromkeys(ACTIONS, True)
    assert runs < 80


def test_failure_without_decisions_shrinks_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shrunk(lambda _: True, {**ORDERS, **FAULTS}, monkeypatch)[0] == dict.fromkeys(ACTIONS, True)


def test_actions_that_a_failure_needs_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        return "w1/claim/3" in given and not {"action/c1/1", "action/c1/4"} & given.keys()

    left, _ = shrunk(breaks, FAULTS, monkeypatch)
    assert left.keys() == {"w1/claim/3", "action/c1/0", "action/c1/2", "action/c1/3"}


def test_fault_needed_only_by_a_removed_action_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        return "w1/claim/3" in given and ("w1/claim/7" in given or "action/c1/2" in given)

    left, _ = shrunk(breaks, FAULTS, monkeypatch)
    assert [address for address in left if "claim" in address] == ["w1/claim/3"]


def test_fault_that_only_undoes_a_decision_about_order_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        return "w1/claim/3" in given and ("w1/claim/31" in given) == ("order/7" in given)

    left, runs = shrunk(breaks, {**ORDERS, **FAULTS}, monkeypatch)
    assert left == {"w1/claim/3": {"fault": "lost"}} | dict.fromkeys(ACTIONS, True)
    assert runs < 120


def test_fault_is_removed_that_only_undoes_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        return "w1/claim/3" in given and len(given.keys() & FAULTS.keys()) != 2

    left, _ = shrunk(breaks, {f"w1/claim/{n}": {"fault": "lost"} for n in (1, 2, 3)}, monkeypatch)
    assert [address for address in left if "claim" in address] == ["w1/claim/3"]


def test_fault_needed_only_by_a_delay_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        return "w1/claim/3" in given and ("w1/claim/7" in given or "back" not in given["w1/claim/3"])

    left, _ = shrunk(breaks, FAULTS, monkeypatch)
    assert [address for address in left if "claim" in address] == ["w1/claim/3"]


def test_fault_needed_only_because_an_action_is_left_out_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        return "w1/claim/3" in given and ("w1/claim/7" in given or "action/c1/0" not in given)

    given = {**FAULTS, "action/c1/0": True, "action/c1/1": True}
    left, _ = shrunk(breaks, given, monkeypatch)
    assert [address for address in left if "claim" in address] == ["w1/claim/3"]


def test_no_part_of_a_few_remaining_faults_breaks_the_same() -> None:
    faults = {f"w1/claim/{n}": {"fault": "lost"} for n in range(4)}
    parts = [frozenset(part) for size in range(5) for part in combinations(faults, size)]
    for seed in range(60):
        draws = Decisions(seed).stream("parts")
        broken = {part for part in parts if draws.chance(0.2)} | {frozenset(faults)}
        with pytest.MonkeyPatch.context() as patched:
            left, _ = shrunk(
                lambda given, broken=broken: given.keys() & faults.keys() in broken, faults, patched
            )
        kept = left.keys() & faults.keys()
        assert [part for part in broken if part <= kept] == [kept]


def test_each_replay_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unsteady(Runs):
        different = 0

        def run(self, scenario: Scenario | None, plan: Plan) -> Outcome:
            outcome = super().run(scenario, plan)
            return (
                replace(outcome, events=[Lived(1.0, "w1", "killed")])
                if self.made == self.different
                else outcome
            )

    def small(different: int = 0) -> tuple[Shrunk, int]:
        runs = Unsteady(lambda given: "w1/claim/3" in given)
        runs.different = different
        monkeypatch.setattr(shrinking, "run", runs.run)
        return shrink(load("retries"), runs.run(None, Plan("retries", 1, "given", NONE, FAULTS))), runs.made

    steady, made = small()
    assert (steady.unsteady, steady.replays) == (None, REPLAYS)
    for replays in range(REPLAYS):
        unsteady, _ = small(made - REPLAYS + replays + 1)
        assert unsteady.unsteady is not None
        assert unsteady.replays == replays


def test_report_says_whether_each_remaining_fault_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(lambda given: {"w1/claim/3", "w1/claim/31"} <= given.keys())
    monkeypatch.setattr(shrinking, "run", runs.run)
    failed = runs.run(None, Plan("retries", 1, "given", NONE, FAULTS))
    for seconds, minimal in ((15.0, True), (0.0, False)):
        small = shrink(load("retries"), failed, seconds)
        assert small.minimal is minimal
        said = Failure(small, "zeke sim replay plan.json", "plan.html").shrinking()
        assert ("the time limit came before each fault was tried" in said) is not minimal
