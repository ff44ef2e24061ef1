"""Searching, shrinking and replaying, on a property that is easily broken."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.cases import check_each
from tests.sim.planted import SCENARIO
from zeke_sim import campaign
from zeke_sim.errors import SimulationError
from zeke_sim.history import Answered, Fault, Invoked
from zeke_sim.plan import STRATEGIES, Plan
from zeke_sim.run import run
from zeke_sim.scenario import load, names
from zeke_sim.search import Finding, find
from zeke_sim.shrink import REPLAYS, shrink

NAME = SCENARIO.name
RULE = "no claim is left unanswered"


def given(**changes: object) -> str:
    plan = {"version": 1, "scenario": "retries", "seed": 7, "knobs": {}, "decisions": {}}
    return json.dumps({**plan, **changes})


@pytest.fixture(scope="module")
def found() -> Finding:
    finding = find([NAME], itertools.count(), 60, shrink=True)
    assert finding is not None
    return finding


def test_a_broken_property_is_found_and_named(found: Finding) -> None:
    assert found.violation.rule == RULE
    assert "left without an answer" in found.violation.text


def test_a_search_ends_when_its_time_is_up_and_tells_of_each_run() -> None:
    told: list[int] = []
    assert (
        find(["retries"], itertools.count(), 0.3, seen=lambda _, outcome: told.append(outcome.plan.seed))
        is None
    )
    assert told == list(range(len(told)))
    assert told


def test_the_run_stops_at_the_event_that_broke_it(found: Finding) -> None:
    last = found.outcome.events[-1]
    assert (last.at, getattr(last, "outcome", None)) == (found.violation.at, "unknown")


def test_shrinking_leaves_one_fault_and_fails_in_the_same_way(found: Finding) -> None:
    assert found.shrunk is not None
    assert found.shrunk.before > 10
    assert len((found.shrunk.outcome.plan.decisions or {}).keys() - {*found.shrunk.outcome.deeds}) == 1
    assert found.shrunk.outcome.violation is not None
    assert found.shrunk.outcome.violation.rule == RULE


def test_what_was_shrunk_was_replayed_before_it_is_shown(found: Finding) -> None:
    assert found.shrunk is not None
    assert (found.shrunk.replays, found.shrunk.unsteady) == (REPLAYS, None)


def test_a_shrunk_plan_without_its_one_decision_breaks_nothing(found: Finding) -> None:
    assert found.shrunk is not None
    assert run(SCENARIO, found.shrunk.outcome.plan.with_decisions({})).violation is None


def test_shrinking_stops_when_its_time_is_up(found: Finding) -> None:
    hurried = shrink(SCENARIO, found.outcome, seconds=0.0)
    assert hurried.outcome is found.outcome
    assert hurried.replays == REPLAYS


def test_a_plan_is_the_same_run_after_it_went_through_json(found: Finding) -> None:
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
            ("nowhere", "there is no 'nowhere'; there are"),
            ("nowhere:SCENARIO", "can't be loaded"),
            ("tests.sim.planted:RULE", "can't be loaded"),
            ("zeke_sim.scenario:load", "is a function"),
        ],
        check,
    )


def test_every_strategy_gets_its_share_of_the_seeds() -> None:
    scenario = load("retries")
    drawn = [scenario.plan(seed).strategy for seed in range(1000)]
    shares = [drawn.count(strategy) / 1000 for strategy in STRATEGIES]
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.05, 0.05], abs=0.03)


def test_nothing_goes_wrong_in_a_calm_run() -> None:
    scenario = load("retries")
    calm = next(plan for plan in map(scenario.plan, itertools.count(1)) if plan.strategy == "calm")
    happened = run(scenario, calm).events
    assert not any(isinstance(event, Fault) for event in happened)
    answers = [event for event in happened if isinstance(event, Answered)]
    assert {event.outcome for event in answers} == {"ok"}
    asked = {event.call: event.at for event in happened if isinstance(event, Invoked)}
    assert max(event.at - asked[event.call] for event in answers) < 0.1  # and nothing is slow


def test_campaign_divides_its_runs_among_scenarios_and_finds_nothing() -> None:
    result = campaign.search(seeds=2 * len(names()))
    assert result.found is None, result.found
    assert result.runs == dict.fromkeys(names(), 2)
    assert f"{2 * len(names())} runs" in result.summary()
    assert result.ledger.runs == 2 * len(names())


def test_summary_gives_the_speed() -> None:
    def check(runs: int, cpu: float, told: str) -> None:
        assert told in campaign.Campaign(runs={NAME: runs}, cpu=cpu, real=2.0).summary()

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


def test_a_campaign_in_processes_finds_what_one_process_finds() -> None:
    here, there = (campaign.search([NAME], seeds=60, jobs=jobs) for jobs in (1, 2))
    assert here.found is not None
    assert there.found is not None
    assert here.found.violation.rule == there.found.violation.rule == RULE
    assert there.found.outcome.digest == run(SCENARIO, SCENARIO.plan(there.found.seed)).digest


def test_a_campaign_ends_when_its_time_is_up() -> None:
    result = campaign.search(["retries"], seeds=200, budget=0.0)
    assert 0 < sum(result.runs.values()) <= campaign.BATCH


def test_a_long_campaign_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "EVERY", 0.0)
    told: list[str] = []
    campaign.search(["retries"], seeds=2 * campaign.BATCH, progress=told.append)
    assert [line.partition(",")[0] for line in told] == [
        f"{done} of {2 * campaign.BATCH} runs" for done in (campaign.BATCH, 2 * campaign.BATCH)
    ]
