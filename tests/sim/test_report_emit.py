"""A failure as a regression test: a module that pytest collects, and that replays this very plan."""

from __future__ import annotations

import ast
import json
import sys
from types import ModuleType
from typing import Any

import pytest

import zeke_sim
from tests.cases import check_each
from tests.sim.report_samples import failure
from zeke_sim.experiment.plan import Plan
from zeke_sim.history.events import Violation
from zeke_sim.report import emit

DECISIONS: dict[str, Any] = {
    "it's": 'a "q" \n',
    "both": 'it\'s "x"',
    "none": None,
    "yes": True,
    "list": [1, 0.4, []],
    "order/17": "w2",
}


def run(source: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run the module's tests; return the arguments of ``replay``, once for each ``check``."""
    checked: list[Any] = []

    class Replayed:
        def __init__(self, plan: Any) -> None:
            self.plan = plan

        def check(self) -> None:
            checked.append(self.plan)

    monkeypatch.setattr(zeke_sim, "replay", Replayed, raising=False)
    module = ModuleType("test_emitted")
    monkeypatch.setitem(sys.modules, "test_emitted", module)
    exec(compile(source, "test_emitted.py", "exec"), module.__dict__)  # noqa: S102 - it is our own
    for name, test in vars(module).items():
        if name.startswith("test_"):
            test()
    return checked


def test_emitted_test_replays_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = failure(decisions=DECISIONS)
    (plan,) = run(emit.test(shown), monkeypatch)
    assert Plan.loads(json.dumps(plan)) == shown.outcome.plan


def test_emitted_test_is_named_after_the_failure() -> None:
    def check(scenario: str, seed: int, name: str) -> None:
        tree = ast.parse(emit.test(failure(scenario=scenario, seed=seed)))
        assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == [name]

    check_each(
        [
            ("storm", 7, "test_storm_unique_effects_seed_7"),
            ("tests/shop.py::Böse Fälle", -1, "test_tests_shop_py_b_se_f_lle_unique_effects_seed_minus_1"),
        ],
        check,
    )


def test_no_text_of_the_failure_becomes_code(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = '"""\nraise SystemExit("""\r\x0craise SystemExit\u2028\0\x1b\\'
    shown = failure(
        scenario=bad, sentence=bad, violation=Violation("rule", bad), decisions={bad: bad}, strategy=bad
    )
    (plan,) = run(emit.test(shown), monkeypatch)
    assert (plan["scenario"], plan["strategy"], plan["decisions"]) == (bad, bad, {bad: bad})


def test_lines_are_short_if_the_plan_permits() -> None:
    source = emit.test(failure(sentence="word " * 200, decisions=DECISIONS))
    assert max(len(line) for line in source.splitlines()) <= emit.WIDTH
    assert not [line for line in source.splitlines() if line != line.rstrip()]
    assert source.endswith(".check()\n")
