"""Searching, shrinking and replaying, on a property that is easily broken."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from tests.cases import check_each
from tests.scenarios import full, load, names
from tests.sim.planted import SCENARIO
from zeke_sim.errors import SimulationError
from zeke_sim.experiment import driver
from zeke_sim.experiment.driver import run_seeds
from zeke_sim.experiment.plan import STRATEGIES, Plan
from zeke_sim.experiment.replay import replay
from zeke_sim.experiment.run import Outcome, run, sentence
from zeke_sim.experiment.shrink import REPLAYS, Shrunk, shrink
from zeke_sim.history.events import Answered, Fault, Invoked
from zeke_sim.report.failure import Failure
from zeke_sim.report.files import write

NAME = SCENARIO.name
RULE = "no claim is left unanswered"


def given(**changes: object) -> str:
    plan = {"version": 2, "scenario": "tests.scenarios.retries", "seed": 7, "knobs": {}, "decisions": {}}
    return json.dumps({**plan, **changes})


@pytest.fixture(scope="module")
def failed() -> Outcome:
    failure = run_seeds([NAME], itertools.count(), budget=60).failure
    assert failure is not None
    return failure


@pytest.fixture(scope="module")
def shrunk(failed: Outcome) -> Shrunk:
    return shrink(SCENARIO, failed)


def test_broken_property_is_found(failed: Outcome) -> None:
    assert failed.violation is not None
    assert failed.violation.rule == RULE
    assert "left without an answer" in failed.violation.text


def test_experiment_ends_in_time_and_reports_each_run() -> None:
    def check(limits: dict[str, float], enough: int) -> None:
        done: list[int] = []
        made = run_seeds(
            ["tests.scenarios.retries"],
            itertools.count(),
            runs=10_000,
            on_run=lambda made: done.append(made.runs.total()),
            **limits,  # pyright: ignore[reportArgumentType]
        )
        assert made.failure is None
        assert done == [*range(1, made.runs.total() + 1)]
        assert 0 < len(done) <= enough

    check_each([({"budget": 0.0}, 1), ({"timeout": 0.0}, 1), ({"budget": 0.3}, 9_999)], check)


def test_run_stops_at_the_event_that_broke_it(failed: Outcome) -> None:
    last = failed.events[-1]
    assert failed.violation is not None
    assert (last.at, getattr(last, "outcome", None)) == (failed.violation.at, "unknown")


def test_shrinking_leaves_one_fault(shrunk: Shrunk) -> None:
    assert shrunk.before > 10
    assert len((shrunk.outcome.plan.decisions or {}).keys() - {*shrunk.outcome.actions}) == 1
    assert shrunk.outcome.violation is not None
    assert shrunk.outcome.violation.rule == RULE


def test_shrunk_plan_was_replayed(shrunk: Shrunk) -> None:
    assert (shrunk.replays, shrunk.unsteady) == (REPLAYS, None)


def test_shrunk_plan_needs_its_decision(shrunk: Shrunk) -> None:
    assert replay(shrunk.outcome.plan.with_decisions({}), SCENARIO).violation is None


def test_shrinking_ends_in_time(failed: Outcome) -> None:
    hurried = shrink(SCENARIO, failed, seconds=0.0)
    assert hurried.outcome is failed
    assert hurried.replays == REPLAYS


def test_plan_is_the_same_run_after_json(failed: Outcome, tmp_path: Path) -> None:
    plan = Plan.loads(failed.plan.dumps())
    assert plan == failed.plan
    (tmp_path / "plan.json").write_text(failed.plan.dumps(), encoding="utf-8")
    for same in (plan, json.loads(failed.plan.dumps()), tmp_path / "plan.json", str(tmp_path / "plan.json")):
        assert replay(same).digest == failed.digest


def test_check_names_what_broke_and_its_decisions(failed: Outcome) -> None:
    replay(failed.plan.with_decisions({})).check()
    many = len(failed.plan.decisions or {})
    expected = rf"^{RULE}: .*\n  Every claim is answered, .*\n  at .* s of {NAME}, under these decisions:\n"
    with pytest.raises(AssertionError, match=rf"{expected}(  .*\n){{6}}  … and {many - 6} more$"):
        failed.check()


def test_invalid_plan_is_rejected() -> None:
    def check(text: str, said: str) -> None:
        with pytest.raises(SimulationError, match=said):
            Plan.loads(text)

    check_each(
        [
            ("{", "must be a plan written by"),
            ("[]", "must be a plan written by"),
            ("{}", "must be a plan written by"),
            (given(version=1), "version: must be 2, got 1, which names other faults"),
            (json.dumps({"version": 99}), "version: must be 2, got 99"),
            (given(seed="7"), "seed: must be an integer, got '7'"),
            (given(scenario=5), "scenario: must be a name, got 5"),
            (given(decisions=[]), "decisions: must be an object, got list"),
            (
                given(decisions={"w1/claim/1": {"fault": "nope"}}),
                "decisions: w1/claim/1: fault: must be a known kind, got 'nope'",
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


def test_run_without_faults_injects_none() -> None:
    scenario = load("retries")
    calm = next(plan for plan in map(scenario.plan, itertools.count(1)) if plan.strategy == "faultless")
    happened = run(scenario, calm).events
    assert not any(isinstance(event, Fault) for event in happened)
    answers = [event for event in happened if isinstance(event, Answered)]
    assert {event.outcome for event in answers} == {"ok"}
    asked = {event.call: event.at for event in happened if isinstance(event, Invoked)}
    assert max(event.at - asked[event.call] for event in answers) < 0.1  # and nothing is slow


@pytest.mark.nightly
def test_experiment_divides_its_runs_among_scenarios_and_finds_nothing() -> None:
    result = run_seeds([full(name) for name in names()], range(2))
    assert result.failure is None, result.failure
    assert result.runs == dict.fromkeys(map(full, names()), 2)
    assert f"{2 * len(names())} runs" in result.summary()
    assert result.coverage.runs == 2 * len(names())


def test_scenario_that_is_given_twice_runs_twice_as_many_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[object, int]] = []

    def record(scenario: object, seed: int) -> driver.Experiment:
        ran.append((scenario, seed))
        return driver.Experiment()

    monkeypatch.setattr(driver, "_run", record)
    run_seeds(["a", "b", "a"], range(4))
    assert ran == [("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1), ("a", 3), ("b", 2), ("b", 3)]


def test_summary_gives_the_speed() -> None:
    def check(runs: int, cpu: float, told: str) -> None:
        assert told in driver.Experiment(runs=Counter({NAME: runs}), cpu=cpu, real=2.0).summary()

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


def test_experiment_in_processes_finds_the_same() -> None:
    here, there = (run_seeds([NAME], range(60), processes=processes) for processes in (1, 2))
    assert here.failure is not None
    assert there.failure is not None
    assert str(here.failure.violation).startswith(RULE)
    assert there.failure.digest == here.failure.digest
    assert (there.runs, there.virtual) == (here.runs, here.virtual)


@pytest.mark.nightly
def test_experiment_in_processes_reports_each_run() -> None:
    done: list[int] = []
    run_seeds(
        ["tests.scenarios.retries"],
        itertools.count(),
        runs=3,
        processes=2,
        on_run=lambda made: done.append(made.runs.total()),
    )
    assert done == [1, 2, 3]


class SlowFirstRun:
    """A pool of processes whose first run has not ended, or was interrupted; the others end at once."""

    error: BaseException | None = None

    def __init__(self, *_: object, **__: object) -> None:
        self.futures: list[Future[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.futures:
            future.set_result(function(*arguments))
        elif self.error is not None:
            future.set_exception(self.error)
        self.futures.append(future)
        return future

    def shutdown(self, **_: object) -> None:
        pass


def test_experiment_that_ends_early_takes_every_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "ProcessPoolExecutor", SlowFirstRun)
    first = run_seeds([NAME], itertools.count()).failure
    assert first is not None
    for error in (None, KeyboardInterrupt()):
        monkeypatch.setattr(SlowFirstRun, "error", error)
        seeds = [first.plan.seed - 1, first.plan.seed, first.plan.seed + 1]
        found = run_seeds([NAME], seeds, processes=2, timeout=0.001)
        assert found.failure is not None
        assert (found.failure.digest, found.interrupted) == (first.digest, error is not None)


class RunsAtOnce(SlowFirstRun):
    """A pool of processes in which every run ends at once."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


def test_experiment_whose_budget_ends_counts_each_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "ProcessPoolExecutor", RunsAtOnce)
    made = run_seeds(["tests.scenarios.retries"], range(3), processes=2, budget=0.0)
    assert made.runs.total() == 3


def test_error_of_a_run_in_another_process_is_reported() -> None:
    text = r"seed 0 of tests\.sim\.planted:WRONG: WrongRatesError: rates of shop are wrong; run with --jobs 1"
    with pytest.raises(SimulationError, match=text):
        run_seeds(["tests.sim.planted:WRONG"], range(3), processes=2)


def test_experiment_without_scenarios_is_rejected() -> None:
    with pytest.raises(SimulationError, match="must name at least one"):
        run_seeds([], range(1))


def test_written_plan_repeats_the_failure(failed: Outcome, tmp_path: Path) -> None:
    failure = write(Shrunk.given(failed), tmp_path / "new" / "folder")
    page = Path(failure.page)
    plan = page.with_suffix(".json")
    assert run(SCENARIO, Plan.loads(plan.read_text())).digest == failed.digest
    assert failed.sentence == "Every claim is answered, which no network promises."
    assert failed.sentence in page.read_text()
    assert failure.command == f"zeke sim replay {plan}"
    assert (page.parent / ".gitignore").read_text() == "*\n"


def test_each_failure_has_its_own_files(failed: Outcome, tmp_path: Path) -> None:
    names = ("a:b", "../a b", "c")
    plans = [replace(failed.plan, scenario=name) for name in names]
    pages = [write(Shrunk.given(replace(failed, plan=plan)), tmp_path).page for plan in plans]
    assert len(set(pages)) == len(names)
    assert len(list(tmp_path.glob("*.*"))) == 2 * len(names) + len([".gitignore"])


def test_rule_without_a_property_is_its_own_sentence() -> None:
    assert sentence("a client's program ends", SCENARIO.properties) == "a client's program ends"


def test_run_without_a_failure_is_not_shown() -> None:
    retries = load("retries")
    calm = run(retries, retries.plan(1).with_decisions({}))
    with pytest.raises(ValueError, match="no property was violated"):
        _ = Failure(Shrunk.given(calm), "zeke sim replay x", "x").violation
