"""Runs tests on mutants of the Postgres storage: on a copy of the project with one text replaced."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.database import EMBEDDED, server
from tests.mutants.changes import add_options, select
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.changes import Changes

ROOT: Final = Path(__file__).parents[2]
STORE: Final = Path("zeke_queue/storage/postgres")
COPIED: Final = ("zeke_queue", "zeke_tasks", "zeke_sim", "tests", "docs", "pyproject.toml")
"""What the tests need: one that fails without its files would find every mutant."""

SECONDS: Final = 900
"""Seconds of one test after which it counts as not finding the mutant."""


class Mutant(NamedTuple):
    """One way to break the storage.

    Attributes:
        file: below ``zeke_queue/storage/postgres``.
        old: a text that occurs in it once, and ``new`` its replacement.
        tests: pytest's arguments, in the order of attempts.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class Found(NamedTuple):
    """The verdict on a mutant: the name of the failed test, or None, and the seconds that it took."""

    test: str | None
    seconds: float


def applied(mutant: Mutant, text: str) -> str:
    """Return a file's text with the mutant's replacement."""
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}"
        )
    return text.replace(mutant.old, mutant.new)


def run_test(mutant: Mutant, arguments: str, dsn: str) -> Found:
    """Run a test over a mutant, on a server with a role that may create databases."""
    clock = SystemClock()
    begun = clock.monotonic()
    with tempfile.TemporaryDirectory(prefix="zeke-mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        broken = copy / STORE / mutant.file
        broken.write_text(applied(mutant, broken.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        # The failures are not read, so they need not be small.
        command += ["--flaky=0", "--hypothesis-profile=unshrunk"]
        environment = {**_environment(), "ZEKE_TEST_DSN": dsn, "PYTHONPATH": folder}
        try:
            ran = subprocess.run(
                [*command, *arguments.split()],
                cwd=copy,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Found(None, clock.monotonic() - begun)
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if ran.returncode not in (0, 1) or (ran.returncode == 1) != bool(failed):
        raise RuntimeError(f"{mutant.name}: pytest ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    test = failed[0].split(" ", 1)[1].partition(" - ")[0] if failed else None
    return Found(test, clock.monotonic() - begun)


def _environment() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 - handed on to another process


def main(mutants: Sequence[Mutant], description: str | None, arguments: Sequence[str]) -> int:
    """Try mutants, all or those named; return 1 if one is not found."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", help="parts of the names of those to try")
    parser.add_argument("--all", action="store_true", help="ask every test, not only the first that finds it")
    parser.add_argument("--whole", action="store_true", help="try all of a test's cases, not the likely ones")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    add_options(parser)
    asked = parser.parse_args(arguments)
    named = [m for m in mutants if not asked.names or any(part in m.name for part in asked.names)]
    tried = select(named, asked, _touch)
    with server(EMBEDDED, f"mutants{os.getpid()}") as dsn, ThreadPoolExecutor(asked.jobs) as pool:
        found = pool.map(lambda mutant: _report(mutant, dsn, every=asked.all, whole=asked.whole), tried)
        lost = [mutant.name for mutant, was_found in zip(tried, found, strict=True) if not was_found]
    sys.stdout.write(f"{len(tried) - len(lost)} of {len(tried)} were found\n")
    return 1 if lost else 0


def _touch(changes: Changes, mutant: Mutant) -> bool:
    """Return whether a mutant is new, or the text that it replaces or one of its tests has changed."""
    path = os.path.normpath(STORE / mutant.file)
    return changes.touch_text(mutant.name, path, mutant.old) or any(
        changes.touch_tests(test.split()) for test in mutant.tests
    )


def _report(mutant: Mutant, dsn: str, *, every: bool, whole: bool) -> bool:
    """Try one and print a line for each test; return whether a test found it."""
    found = False
    for test in mutant.tests:
        try:
            result = run_test(mutant, test.partition(" -k ")[0] if whole else test, dsn)
        except RuntimeError as error:
            # The others are tried all the same, and this one counts as not found.
            sys.stdout.write(f"NOT TRIED: {error}\n")
            continue
        sys.stdout.write(f"{result.seconds:6.1f} s  {mutant.name}: {result.test or 'NOT FOUND'}\n")
        sys.stdout.flush()
        found = found or result.test is not None
        if found and not every:
            break
    return found
