"""Searching, shrinking and replaying, on a property that is easily broken."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cases import check_each
from tests.scenarios import full, load, names
from tests.sim.planted import SCENARIO
from zeke_sim.errors import SimulationError
from zeke_sim.experiment import driver
from zeke_sim.experiment.plan import STRATEGIES, Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.search import Finding, find
from zeke_sim.experiment.shrink import REPLAYS, shrink
from zeke_sim.history.events import Answered, Fault, Invoked
from zeke_sim.report.show import sentence, shown, write

NAME = SCENARIO.name
RULE = "no claim is left unanswered"


def given(**changes: object) -> str:
    plan = {"version": 1, "scenario": "tests.scenarios.retries", "seed": 7, "knobs": {}, "decisions": {}}
    return json.dumps({**plan, **changes})


@pytest.fixture(scope="module")
def found() -> Finding:
    finding = find([NAME], itertools.count(), 60, shrink=True)
    assert finding is not None
    return finding


def test_broken_property_is_found(found: Finding) -> None:
    assert found.violation.rule == RULE
    assert "left without an answer" in found.violation.text


def test_search_ends_in_time_and_reports_each_run() -> None:
    told: list[int] = []
    assert (
        find(
            ["tests.scenarios.retries"],
            itertools.count(),
            0.3,
            seen=lambda _, outcome: told.append(outcome.plan.seed),
        )
        is None
    )
    assert told == list(range(len(told)))
    assert told


def test_run_stops_at_the_event_that_broke_it(found: Finding) -> None:
    last = found.outcome.events[-1]
    assert (last.at, getattr(last, "outcome", None)) == (found.violation.at, "unknown")


def test_shrinking_leaves_one_fault(found: Finding) -> None:
    assert found.shrunk is not None
    assert found.shrunk.before > 10
    assert len((found.shrunk.outcome.plan.decisions or {}).keys() - {*found.shrunk.outcome.deeds}) == 1
    assert found.shrunk.outcome.violation is not None
    assert found.shrunk.outcome.violation.rule == RULE


def test_shrunk_plan_was_replayed(found: Finding) -> None:
    assert found.shrunk is not None
    assert (found.shrunk.replays, found.shrunk.unsteady) == (REPLAYS, None)


def test_shrunk_plan_needs_its_decision(found: Finding) -> None:
    assert found.shrunk is not None
    assert run(SCENARIO, found.shrunk.outcome.plan.with_decisions({})).violation is None


def test_shrinking_ends_in_time(found: Finding) -> None:
    hurried = shrink(SCENARIO, found.outcome, seconds=0.0)
    assert hurried.outcome is found.outcome
    assert hurried.replays == REPLAYS


def test_plan_is_the_same_run_after_json(found: Finding) -> None:
    plan = Plan.loads(found.outcome.plan.dumps())
    assert plan == found.outcome.plan
    assert run(SCENARIO, plan).digest == found.outcome.digest


def test_invalid_plan_is_rejected() -> None:
    def check(text: str, said: str) -> None:
        with pytest.raises(SimulationError, match=said):
            Plan.loads(text)

    check_each(
        [
            ("{", "it is no plan"),
            ("[]", "it is no plan"),
            ("{}", "it is no plan"),
            (json.dumps({"version": 99}), "a plan of version 99"),
            (given(seed="7"), "seed: '7' is no whole number"),
            (given(scenario=5), "scenario: 5 is no name"),
            (given(decisions=[]), "decisions: they are a list"),
            (
                given(decisions={"w1/claim/1": {"fault": "nope"}}),
                "decisions: w1/claim/1: there is no fault 'nope'",
            ),
        ],
        check,
    )


def test_unknown_scenario_is_rejected() -> None:
    def check(name: str, said: str) -> None:
        with pytest.raises(SimulationError, match=said):
            load(name)

    check_each(
        [
            ("nowhere", "No module named 'tests.scenarios.nowhere'"),
            ("nowhere:SCENARIO", "No module named 'nowhere'"),
            ("tests.sim.planted:RULE", "can't be loaded"),
            ("zeke_sim.experiment.scenario:load", "is a function"),
        ],
        check,
    )


def test_every_strategy_has_its_share_of_seeds() -> None:
    scenario = load("retries")
    drawn = [scenario.plan(seed).strategy for seed in range(1000)]
    shares = [drawn.count(strategy) / 1000 for strategy in STRATEGIES]
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.05, 0.05], abs=0.03)


def test_calm_run_has_no_faults() -> None:
    scenario = load("retries")
    calm = next(plan for plan in map(scenario.plan, itertools.count(1)) if plan.strategy == "calm")
    happened = run(scenario, calm).events
    assert not any(isinstance(event, Fault) for event in happened)
    answers = [event for event in happened if isinstance(event, Answered)]
    assert {event.outcome for event in answers} == {"ok"}
    asked = {event.call: event.at for event in happened if isinstance(event, Invoked)}
    assert max(event.at - asked[event.call] for event in answers) < 0.1  # and nothing is slow


def test_campaign_divides_its_runs_among_scenarios_and_finds_nothing() -> None:
    result = driver.search([full(name) for name in names()], seeds=2 * len(names()))
    assert result.found is None, result.found
    assert result.runs == dict.fromkeys(map(full, names()), 2)
    assert f"{2 * len(names())} runs" in result.summary()
    assert result.coverage.runs == 2 * len(names())


def test_summary_gives_the_speed() -> None:
    def check(runs: int, cpu: float, told: str) -> None:
        assert told in driver.Campaign(runs={NAME: runs}, cpu=cpu, real=2.0).summary()

    check_each(
        [
            (300, 9.0, "; 33 runs a processor second, "),
            (10, 1.0, "; 10 runs a processor second, "),
            (9, 1.0, "; 0.11 processor seconds a run, "),
            (3, 200.0, "; 66.7 processor seconds a run, "),
            (0, 0.01, "virtual hours; 2.0 s; "),
        ],
        check,
    )


def test_campaign_in_processes_finds_the_same() -> None:
    here, there = (driver.search([NAME], seeds=60, jobs=jobs) for jobs in (1, 2))
    assert here.found is not None
    assert there.found is not None
    assert here.found.violation.rule == there.found.violation.rule == RULE
    assert there.found.outcome.digest == run(SCENARIO, SCENARIO.plan(there.found.seed)).digest


def test_campaign_without_scenarios_is_rejected() -> None:
    with pytest.raises(SimulationError, match="must name at least one"):
        driver.search([], seeds=1)


def test_campaign_ends_in_time() -> None:
    result = driver.search(["tests.scenarios.retries"], seeds=200, budget=0.0)
    assert 0 < sum(result.runs.values()) <= driver.BATCH


def test_long_campaign_reports_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "EVERY", 0.0)
    told: list[str] = []
    driver.search(["tests.scenarios.retries"], seeds=2 * driver.BATCH, progress=told.append)
    assert [line.partition(",")[0] for line in told] == [
        f"{done} of {2 * driver.BATCH} runs" for done in (driver.BATCH, 2 * driver.BATCH)
    ]


def test_written_plan_repeats_the_failure(found: Finding, tmp_path: Path) -> None:
    files, told = write(found.outcome, tmp_path / "new" / "folder", SCENARIO.properties)
    again = run(SCENARIO, Plan.loads(files.plan.read_text()))
    assert again.digest == found.outcome.digest
    assert told.sentence == "Every claim is answered, which no network promises."
    assert told.sentence in files.page.read_text()
    assert str(files.plan) in told.command
    assert (files.plan.parent / ".gitignore").read_text() == "*\n"


def test_each_failure_has_files_of_its_own(found: Finding, tmp_path: Path) -> None:
    failed, names = found.outcome, ("a:b", "../a b", "c")
    plans = [replace(failed.plan, scenario=name) for name in names]
    written = [write(replace(failed, plan=plan), tmp_path)[0] for plan in plans]
    paths = [path for files in written for path in (files.plan, files.page)]
    assert len(set(paths)) == 2 * len(names)
    assert all(path.parent == tmp_path for path in paths)


def test_rule_without_a_property_is_its_own_sentence() -> None:
    assert sentence("a client's program ends", SCENARIO.properties) == "a client's program ends"


def test_run_without_a_failure_is_not_shown(found: Finding, tmp_path: Path) -> None:
    files, _ = write(found.outcome, tmp_path)
    retries = load("retries")
    calm = run(retries, retries.plan(1).with_decisions({}))
    with pytest.raises(ValueError, match="nothing broke"):
        shown(calm, files)
