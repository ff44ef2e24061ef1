"""``zeke sim``: from a failure to its plan, its page, its regression test, and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.cases import check_each
from tests.sim.planted import SCENARIO
from zeke_sim.cli import sim
from zeke_sim.experiment import shrink
from zeke_sim.experiment.plan import Plan


def zeke_sim(*arguments: str | Path) -> Result:
    return CliRunner().invoke(sim, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def failure(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("failures")
    test = folder / "test_found.py"
    result = zeke_sim(
        "run", SCENARIO.name, "--seeds", "200", "--folder", folder / "plans", "--emit-test", test
    )
    return result, folder


def plan_of(failure: tuple[Result, Path]) -> Path:
    return next((failure[1] / "plans").glob("*.json"))


def test_failure_fits_one_screen_with_its_command(failure: tuple[Result, Path]) -> None:
    result, _ = failure
    assert result.exit_code == 1
    screen = result.stdout
    assert "no claim is left unanswered" in screen
    assert "Every claim is answered, which no network promises." in screen
    assert f"zeke sim replay {plan_of(failure)}" in screen
    assert "replayed 3 times" in screen
    assert len(screen.splitlines()) <= 30


def test_plan_and_page_are_written(failure: tuple[Result, Path]) -> None:
    plan = plan_of(failure)
    assert Plan.read(plan).scenario == SCENARIO.name
    page = plan.with_suffix(".html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "no claim is left unanswered" in page


def test_plan_replays(failure: tuple[Result, Path], tmp_path: Path) -> None:
    result = zeke_sim("replay", plan_of(failure), "--html", tmp_path / "page.html")
    assert result.exit_code == 1
    assert "no claim is left unanswered" in result.stdout
    assert (tmp_path / "page.html").exists()


def test_harmless_plan_violates_no_property(failure: tuple[Result, Path], tmp_path: Path) -> None:
    harmless = tmp_path / "harmless.json"
    harmless.write_text(Plan.read(plan_of(failure)).with_decisions({}).dumps(), encoding="utf-8")
    result = zeke_sim("replay", harmless)
    assert result.exit_code == 0
    assert "No violation" in result.stdout
    result = zeke_sim("shrink", harmless)
    assert result.exit_code == 2
    assert "nothing to shrink" in result.stderr


def test_unused_decisions_are_reported(failure: tuple[Result, Path], tmp_path: Path) -> None:
    """As they are in the plan of a scenario that is another one by now."""
    old = tmp_path / "old.json"
    old.write_text(
        Plan.read(plan_of(failure)).with_decisions({"w9/claim/1": {"fault": "lost"}}).dumps(),
        encoding="utf-8",
    )
    result = zeke_sim("replay", old)
    assert result.exit_code == 0
    assert "1 of 1 decisions never came up: w9/claim/1" in result.stderr


def test_binary_file_is_refused_as_a_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe")
    result = zeke_sim("replay", tmp_path / "plan.json")
    assert result.exit_code == 2
    assert "must be a plan written by `zeke sim run`" in result.stderr


def test_trace_shows_every_event(failure: tuple[Result, Path], tmp_path: Path) -> None:
    result = zeke_sim("replay", plan_of(failure), "--trace", "--html", tmp_path / "page.html")
    assert len(result.stdout.splitlines()) > 50


def test_diff_of_runs(failure: tuple[Result, Path], tmp_path: Path) -> None:
    plan = plan_of(failure)
    same = zeke_sim("diff", plan)
    assert same.exit_code == 0
    assert "No difference" in same.stdout
    other = tmp_path / "other.json"
    other.write_text(Plan.read(plan).with_decisions({}).dumps(), encoding="utf-8")
    different = zeke_sim("diff", plan, other)
    assert different.exit_code == 1
    assert [line[0] for line in different.stdout.splitlines()[-2:]] == ["-", "+"]


@pytest.mark.nightly
def test_emitted_test_fails_with_the_bug(failure: tuple[Result, Path]) -> None:
    test = failure[1] / "test_found.py"
    without = ["-p", "no:cacheprovider", "-p", "no:schemathesis"]
    command = [sys.executable, "-m", "pytest", "-q", *without, "-c", "/dev/null", str(test)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "no claim is left unanswered" in done.stdout


def test_shrunk_plan_stays_small(failure: tuple[Result, Path], tmp_path: Path) -> None:
    result = zeke_sim("shrink", plan_of(failure), "--folder", tmp_path)
    assert result.exit_code == 0
    decisions = Plan.read(next(tmp_path.glob("*.json"))).decisions or {}
    (fault,) = [address for address in decisions if not address.startswith("action/")]
    assert "/claim/" in fault


def test_search_without_a_finding_reports_its_runs() -> None:
    result = zeke_sim("run", "tests.scenarios.retries", "--seeds", "5")
    assert result.exit_code == 0
    assert "5 runs (tests.scenarios.retries 5)" in result.stdout
    assert "no failure" in result.stdout


def test_coverage_counts_and_names_what_is_missing() -> None:
    result = zeke_sim("coverage", "tests.scenarios.retries", "--seeds", "10")
    assert result.exit_code == 0
    assert "created > active" in result.stdout
    assert "never happened" in result.stdout


def test_invalid_arguments_are_reported_in_one_line() -> None:
    def check(arguments: tuple[str, ...], said: str) -> None:
        result = zeke_sim(*arguments)
        assert result.exit_code == 2
        assert said in result.stderr
        assert "Traceback" not in result.stderr

    check_each(
        [
            (("run", "nowhere"), "No module named 'nowhere'"),
            (("run", "tests.scenarios.retries", "--budget", "soon"), "must be a duration such as 90s"),
            (("run", "tests.scenarios.retries", "--budget", "0s"), "must be a duration such as 90s"),
            (("replay", "nowhere.json"), "nowhere.json: No such file"),
        ],
        check,
    )


def _below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("", encoding="utf-8")
    return folder / "file" / "below"


def _not_there(folder: Path) -> Path:
    return folder / "nowhere" / "test_found.py"


def test_unwritable_target_is_rejected_before_the_search(tmp_path: Path) -> None:
    def check(option: str, place: Callable[[Path], Path]) -> None:
        result = zeke_sim("run", "tests.scenarios.retries", "--seeds", "5", option, place(tmp_path))
        assert result.exit_code == 2
        assert f"{option}: {place(tmp_path)} can't be written" in result.stderr
        assert "runs" not in result.stdout

    check_each([("--folder", _below_a_file), ("--emit-test", _not_there)], check)


def test_search_without_a_finding_writes_nothing(tmp_path: Path) -> None:
    options = ("--folder", tmp_path / "some" / "where", "--emit-test", tmp_path / "test_found.py")
    assert zeke_sim("run", "tests.scenarios.retries", "--seeds", "1", *options).exit_code == 0
    assert list(tmp_path.iterdir()) == []


SEARCH = """
from zeke_sim import cli

cli.EVERY = 0.0
cli.sim(["run", "tests.scenarios.retries", "--jobs", "{jobs}", "--seeds", "1000000"])
"""


@pytest.mark.nightly
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_search_reports_its_progress(jobs: int) -> None:
    command = [sys.executable, "-c", SEARCH.format(jobs=jobs)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as search:
        assert search.stderr is not None
        assert "of 1000000 runs" in search.stderr.readline()
        os.killpg(search.pid, signal.SIGINT)
        out, err = search.communicate()  # returns once all of its processes have closed their output
    assert search.returncode == 130
    assert "interrupted; no failure so far" in out
    assert "Traceback" not in err


@pytest.mark.nightly
def test_failure_is_kept_if_its_shrinking_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shrink, "shrink", interrupted)
    result = zeke_sim("run", SCENARIO.name, "--seeds", "200", "--folder", tmp_path)
    assert result.exit_code == 130
    assert "no claim is left unanswered" in result.stdout
    assert len(list(tmp_path.glob("*.json"))) == 1


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "'own:MINE' can't be loaded: ZeroDivisionError: division by zero"),
        ("import nowhere", "'own:MINE' can't be loaded: No module named 'nowhere'"),
        ("MINE = 3", "pass a zeke_sim.experiment.scenario.Scenario"),
        ("from tests.scenarios.retries import SCENARIO as MINE", ""),
    ],
)
def test_scenario_of_the_working_directory_is_found(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    # As an installed command, which has no folder of its own on its path, is run.
    command = [sys.executable, "-P", "-c", "from zeke_sim.cli import sim; sim()"]
    done = subprocess.run(
        [*command, "run", "own:MINE", "--seeds", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == (2 if said else 0), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_plan_of_a_test_is_left_to_pytest(failure: tuple[Result, Path], tmp_path: Path) -> None:
    given = json.loads(plan_of(failure).read_text(encoding="utf-8"))
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({**given, "test": "tests/test_shop.py::test_it"}), encoding="utf-8")
    for command in ("replay", "shrink", "diff"):
        result = zeke_sim(command, file)
        assert result.exit_code == 2
        assert f"pytest tests/test_shop.py::test_it --zeke-plan {file}" in result.stderr
