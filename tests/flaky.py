"""A failed test is run once more, alone, at the end: if it passes then, it is listed as flaky.

Active where the environment has ``CI``, or with ``--flaky N``: at most N tests may be flaky. With more
failures than that the run fails anyway, so none of them is run again. ``ZEKE_FLAKY`` names a file in which
the runs of a whole CI count together: each appends its flaky tests, and those before it count.

No plugin for reruns can do this: they repeat a test at once, beside the tests of the other processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ALLOWED: Final = 2
SECONDS: Final = 600
"""How long one test may take the second time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--flaky",
        type=int,
        metavar="N",
        help="run each failed test once more, alone; at most N may then pass"
        f" ({ALLOWED} where CI is set, otherwise none is run again)",
    )


def pytest_configure(config: pytest.Config) -> None:
    allowed: int | None = config.getoption("--flaky")
    if allowed is None:
        allowed = ALLOWED if os.environ.get("CI") else 0
    # A worker process of xdist reports to the controller, which has the whole run.
    if allowed > 0 and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SecondRun(config, allowed), "zeke-flaky")


class SecondRun:
    """Collects what failed, runs it again, and turns the exit status green if all of it passed."""

    def __init__(self, config: pytest.Config, allowed: int) -> None:
        self._config = config
        self._allowed = allowed
        self._failed: dict[str, str] = {}
        self._said: list[str] = []
        self._collected = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._collected = self._collected and not report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.setdefault(report.nodeid, report.when or "call")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Run again what failed, unless the run is red for another reason or was stopped before its end."""
        stopped = session.shouldfail or session.shouldstop
        if exitstatus != pytest.ExitCode.TESTS_FAILED or stopped or not (self._collected and self._failed):
            return
        before = known()
        if len(before) + len(self._failed) > self._allowed:
            self._said.append(
                f"{len(self._failed)} failed and {len(before)} flaky before; with more than {self._allowed}"
                " together none is run again"
            )
            return
        flaky = [test for test in self._failed if self._passes(test)]
        record(flaky)
        if len(flaky) == len(self._failed):
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._said:
            terminalreporter.section("run once more, alone")
            for line in self._said:
                terminalreporter.write_line(line)

    def _passes(self, test: str) -> bool:
        """Return whether a test passes in a process of its own."""
        command = [sys.executable, "-m", "pytest", f"{self._config.rootpath}/{test}", *self._options()]
        try:
            done = subprocess.run(
                command,
                cwd=self._config.invocation_params.dir,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self._said.append(f"FAILED AGAIN {test}: it took more than {SECONDS} s")
            return False
        if done.returncode == pytest.ExitCode.OK:
            self._said.append(f"FLAKY {test}")
            return True
        self._said += [f"FAILED AGAIN {test}", done.stdout]
        return False

    def _options(self) -> list[str]:
        """Return this run's options without its paths, and what makes the second run one of its own."""
        options = [one for one in self._config.invocation_params.args if one not in self._config.args]
        options += ["--flaky=0", "-p", "no:cacheprovider"]
        if self._config.pluginmanager.hasplugin("xdist"):
            options.append("-n0")
        if self._config.getoption("xmlpath", default=None):
            options.append("--junitxml=")
        return options


def known() -> list[str]:
    """Return the tests that were flaky earlier in the same CI."""
    path = os.environ.get("ZEKE_FLAKY")
    if not path or not Path(path).exists():
        return []
    return Path(path).read_text(encoding="utf-8").splitlines()


def record(tests: list[str]) -> None:
    """Append flaky tests to the file of the CI, if there is one."""
    if path := os.environ.get("ZEKE_FLAKY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{test}\n" for test in tests)
