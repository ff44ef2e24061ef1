"""A failed test is run once more, alone: flaky tests are listed, and more than two fail the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tidy import ROOT

pytest_plugins = ["pytester"]

# A test of the list fails as often as set in the file of its name, then passes.
SOURCE = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("name", {names!r})
def test_one(name):
    counter = Path({folder!r}) / name
    left = int(counter.read_text())
    counter.write_text(str(left - 1))
    assert left <= 0

def test_good():
    with (Path({folder!r}) / "good").open("a") as file:
        file.write("ran\\n")
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest with the plugin on tests that fail as often as the keywords set."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("ZEKE_FLAKY", str(pytester.path / "flaky.txt"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Plugins that the inner run does not need; some of them warn about pytester.
    others = ("randomly", "schemathesis", "hypothesispytest", "asyncio", "anyio", "zeke_sim")
    without = [word for name in others for word in ("-p", f"no:{name}")]

    def started(*arguments: str, **fails: int) -> pytest.RunResult:
        for name, times in fails.items():
            (pytester.path / name).write_text(str(times), encoding="utf-8")
        pytester.makepyfile(test_it=SOURCE.format(names=list(fails), folder=str(pytester.path)))
        # The processes of xdist outlive a run in this process, and take longer to start.
        start = pytester.runpytest_subprocess if "-n" in arguments else pytester.runpytest_inprocess
        return start("-p", "tests.flaky", *without, *arguments)

    return started


def flaky(folder: Path) -> list[str]:
    file = folder / "flaky.txt"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_flaky_test_is_listed_and_the_run_passes(
    run: Run, pytester: pytest.Pytester, processes: list[str]
) -> None:
    result = run("--flaky", "2", *processes, a=1, b=0, c=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines_random(["FLAKY test_it.py::test_one?a?", "FLAKY test_it.py::test_one?c?"])
    assert sorted(flaky(pytester.path)) == ["test_it.py::test_one[a]", "test_it.py::test_one[c]"]
    # Only what failed was run again.
    assert (pytester.path / "good").read_text(encoding="utf-8") == "ran\n"


def test_test_that_fails_twice_fails_the_run(run: Run, pytester: pytest.Pytester) -> None:
    result = run("--flaky", "2", "test_it.py", a=1, b=5)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FLAKY test_it.py::test_one?a?", "FAILED AGAIN test_it.py::test_one?b?"])
    assert flaky(pytester.path) == ["test_it.py::test_one[a]"]


def test_more_failures_than_may_be_flaky_fail_the_run_at_once(run: Run, pytester: pytest.Pytester) -> None:
    result = run("--flaky", "2", a=1, b=1, c=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["3 failed and 0 flaky before; *none is run again"])
    assert [(pytester.path / name).read_text(encoding="utf-8") for name in "abc"] == ["0", "0", "0"]
    assert flaky(pytester.path) == []


def test_flaky_tests_of_earlier_stages_count(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "flaky.txt").write_text("one\ntwo\n", encoding="utf-8")
    result = run("--flaky", "2", a=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["1 failed and 2 flaky before; *"])
    assert flaky(pytester.path) == ["one", "two"]


def test_plugin_is_active_in_ci_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(a=1).ret == 1
    monkeypatch.setenv("CI", "true")
    assert run(a=1).ret == 0
    assert run("--flaky", "0", a=1).ret == 1


def test_error_of_collection_is_not_a_flaky_test(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_broken="import nowhere_to_be_found")
    assert run("--flaky", "2", "--continue-on-collection-errors", a=1).ret == 1


def test_run_that_was_stopped_at_its_first_failure_stays_red(run: Run) -> None:
    assert run("--flaky", "2", "-x", a=1, b=0).ret == 1


def test_second_run_gets_the_options_of_the_first(run: Run) -> None:
    result = run("--flaky", "2", "-k", "test_one", "--junitxml=report.xml", "test_it.py", a=1)
    assert result.ret == 0
    assert 'failures="1"' in Path("report.xml").read_text(encoding="utf-8")
