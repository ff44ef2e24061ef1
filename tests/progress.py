"""A progress bar, and a summary with the command that repeats each failed test; active with ``--bar``.

A terminal shows the bar, anything else a line at each tenth. The closing line of pytest stays.
"""

from __future__ import annotations

import shlex
import sys
import time
from typing import Final

import pytest

WIDTH: Final = 40
FAILED_MAX: Final = 10
"""Failed tests that the summary lists."""

COMMAND: Final = "python -m nox -R -s tests -- "


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bar", action="store_true", help="show a progress bar and a short summary")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--bar") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Bar(), "zeke-bar")


class Bar:
    """Counts the finished tests of a run, those of the processes of xdist included."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._all = 0
        self._done = 0
        self._failed: dict[str, None] = {}
        self._tenth = -1

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._all = len(session.items) or self._all

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._all = len(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> object:
        """Show no letter for a test that passes; it is counted as usual."""
        if report.passed and report.when == "call":
            return "passed", "", ""
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
        if report.when == "teardown":
            self._done += 1
            self._show()

    def _show(self) -> None:
        share = self._done / max(self._all, self._done)
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        failed = f", {len(self._failed)} failed" if self._failed else ""
        text = f"{self._done} of {self._all} tests{failed}, {minutes}:{seconds:02}"
        if sys.stdout.isatty():
            full = int(share * WIDTH)
            sys.stdout.write(f"\r[{'#' * full}{' ' * (WIDTH - full)}] {share:4.0%}  {text}\x1b[K")
            sys.stdout.flush()
        elif (tenth := int(share * 10)) > self._tenth:
            self._tenth = tenth
            sys.stdout.write(f"\n{share:4.0%}  {text}")
            sys.stdout.flush()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List failed tests, each as the command that repeats it."""
        if not self._failed:
            return
        terminalreporter.section("failed; each is repeated by")
        for test in list(self._failed)[:FAILED_MAX]:
            terminalreporter.write_line(COMMAND + shlex.quote(test))
        if (more := len(self._failed) - FAILED_MAX) > 0:
            terminalreporter.write_line(f"… and {more} more")
