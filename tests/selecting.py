"""Which tests run where, by markers in their files.

``nightly``: slow, so ``nox -s tests`` leaves it out. ``needs("pgbouncer")``: uses a program that Python's
packages do not bring; it is nightly too, and skipped with the way to get the program where that is absent.
``--no-skips`` fails skipped tests, except those that need a program named by ``--allow-missing``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

SYSTEM: Final = "/usr/sbin:/usr/local/sbin"
"""Folders of servers, which are often not on an ordinary user's PATH."""

PROGRAMS: Final = {
    "pgbouncer": "install PgBouncer (on Debian: apt-get install pgbouncer)",
    "curl": "install curl (on Debian: apt-get install curl)",
    "ZEKE_TEST_DATA": "set it to a folder with feeds and pages of the web, which belong to their publishers",
}
"""The programs that tests may need, and how to get them; and one folder."""

DATA: Final = Path(os.environ.get("ZEKE_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
"""Feeds and pages of the web: the folder that ``ZEKE_TEST_DATA`` names, or one beside the project."""


def found(program: str) -> str | None:
    """Return the path of a program, or of the data; None if this machine does not have it."""
    if program == "ZEKE_TEST_DATA":
        return str(DATA) if (DATA / "feeds").is_dir() and (DATA / "pages").is_dir() else None
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM}")


def is_random(config: pytest.Config) -> bool:
    """Return whether the run draws other examples than the last one, as nightly does."""
    return config.getoption("hypothesis_profile", default=None) == "random"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail tests that are skipped")
    parser.addoption(
        "--allow-missing",
        action="append",
        default=[],
        metavar="PROGRAM",
        help="with --no-skips: skip the tests that need this program if it is not here",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nightly: slow; left out by nox -s tests, run by nox -s nightly")
    config.addinivalue_line("markers", "needs(program): nightly, and skipped where the program is not here")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make tests that need a program nightly, before ``-m`` selects by markers."""
    for item in items:
        if item.get_closest_marker("needs"):
            item.add_marker("nightly")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        (program,) = marker.args
        if found(program) is None:
            pytest.skip(f"{program} is not here: {PROGRAMS[program]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Turn skips into failures where the run asks for all of its tests."""
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        allowed: list[str] = item.config.getoption("--allow-missing") or []
        if not any(f"{program} is not here" in reason for program in allowed):
            report.outcome, report.longrepr = "failed", f"{reason}; or pass --allow-missing with its name"
    return report
