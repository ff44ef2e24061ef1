"""Shrinking itself, over runs that are made up: which decisions a failure needs is known there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from zeke_sim import shrink as shrinking
from zeke_sim.faults import NONE
from zeke_sim.history import Violation
from zeke_sim.plan import Plan
from zeke_sim.run import Outcome
from zeke_sim.scenario import load
from zeke_sim.shrink import shrink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zeke_sim.scenario import Scenario

ORDERS = {f"order/{n}": "w1" for n in range(400)}
FAULTS = {f"w1/claim/{n}": {"fault": "lost", "back": 1.0} for n in range(40)}


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
        return Outcome(plan, [], violation, 1.0, 1, (), datetime(2026, 3, 2, tzinfo=UTC))


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
    assert left == {address: {"fault": "lost"} for address in needed}
    assert runs < 80


def test_orders_that_matter_only_together_are_left_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(given: Mapping[str, Any]) -> bool:
        orders = sum(address.startswith("order/") for address in given)
        return "w1/claim/3" in given and orders in {0, len(ORDERS)}

    left, runs = shrunk(breaks, {**ORDERS, **FAULTS}, monkeypatch)
    assert left == {"w1/claim/3": {"fault": "lost"}}
    assert runs < 80


def test_what_fails_without_any_decision_has_none_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shrunk(lambda _: True, {**ORDERS, **FAULTS}, monkeypatch)[0] == {}
