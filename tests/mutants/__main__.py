"""Plant bugs, each in a copy of the project, and run what has to find it; exit with 1 if one is not found.

A finder is a scenario of the simulator, or tests as arguments of pytest. A test that fails without the bug
proves nothing, so in the end those that failed are run in a copy without one.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import psutil

from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parents[2]
BUGS: Final = Path(__file__).with_name("bugs")
SECONDS: Final = 900.0
"""Seconds after which a finder is ended."""

_LEFT_OUT: Final = shutil.ignore_patterns(".*", "node_modules", "*-pytest-*.pyc")
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
_MISSING: Final = re.compile(r"^SKIPPED .*?(\S+) is not here", re.MULTILINE)
_RUNNING: Final[set[psutil.Popen]] = set()


@dataclass(frozen=True, slots=True)
class Bug:
    """A text that replaces another in one file; CONTRIBUTING.md describes the fields."""

    name: str
    file: str
    old: str
    new: str
    finder: str
    breaks: str = ""
    property: str = ""
    faults: Sequence[str] = ()
    seeds: int = 500

    def is_tested(self) -> bool:
        """Return whether tests find it."""
        return ".py" in self.finder

    def applied(self, text: str) -> str:
        """Return a file's text with the bug."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"the text that it replaces stands {count} times in {self.file}")
        return text.replace(self.old, self.new)


class Verdict(NamedTuple):
    """What came of a bug: ``found``, ``SURVIVED`` or ``NOT TRIED``, and what found it or why it was not."""

    bug: Bug
    word: str
    text: str = ""
    seconds: float = 0.0


def load(folder: Path = BUGS) -> list[Bug]:
    """Return the bugs of a folder."""
    files = sorted(folder.glob("*.toml"))
    return [Bug(**one) for file in files for one in tomllib.loads(file.read_text(encoding="utf-8"))["bug"]]


@contextmanager
def copied(bug: Bug | None) -> Iterator[Path]:
    """Yield the folder of a copy of the project, with a bug; all files but the broken one are shared."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copy2(source, target)

    with tempfile.TemporaryDirectory(prefix="zeke-mutant-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "project")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=_LEFT_OUT, copy_function=link)
        if bug is not None:
            broken = copy / bug.file
            text = bug.applied(broken.read_text(encoding="utf-8"))
            for file in (broken, *broken.parent.glob(f"__pycache__/{broken.stem}.*")):
                file.unlink()
            broken.write_text(text, encoding="utf-8")
        yield copy


def run(copy: Path, dsn: str, *arguments: str) -> tuple[int, str]:
    """Run a module of a copy; return its exit code and output. What it has started ends with it."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "ZEKE_TEST_DSN": dsn}  # noqa: TID251 - handed on
    command, log = [sys.executable, "-m", *arguments], copy.parent / "output"
    with log.open("wb") as file:
        streams = {"stdout": file, "stderr": file, "start_new_session": True}
        process = psutil.Popen(command, cwd=copy, env=environment, **streams)
        _RUNNING.add(process)
        try:
            code = process.wait(SECONDS)
        finally:
            _RUNNING.discard(process)
            _kill(process)
    return code, log.read_text(encoding="utf-8", errors="replace")


def _kill(process: psutil.Popen) -> None:
    with suppress(psutil.NoSuchProcess):
        for other in process.children(recursive=True):
            other.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run_tests(copy: Path, dsn: str, *tests: str) -> tuple[int, str]:
    """Run tests, slow ones too; nobody reads how they fail, so Hypothesis need not shrink it."""
    options = ("-q", "-m", "", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk")
    return run(copy, dsn, "pytest", *options, *tests)


def attempt(bug: Bug, dsn: str, folder: Path) -> Verdict:
    """Run a bug's finder over it."""
    clock = SystemClock()
    begun = clock.monotonic()
    try:
        with copied(bug) as copy:
            if bug.is_tested():
                code, said = run_tests(copy, dsn, "-x", *shlex.split(bug.finder))
            else:
                code, said = run(copy, dsn, "tests.mutants", "--search", bug.name, "--bugs", str(folder))
    except (OSError, ValueError, psutil.TimeoutExpired) as error:
        return Verdict(bug, "NOT TRIED", str(error))
    if code == 1 and (found := _FAILED.search(said)):
        return Verdict(bug, "found", found[1], clock.monotonic() - begun)
    if missing := _MISSING.search(said):
        return Verdict(bug, "NOT TRIED", f"{missing[1]} is not here")
    text = f"exit code {code} of {bug.finder}: {said[-2000:]}"
    return Verdict(bug, "NOT TRIED", text) if code else Verdict(bug, "SURVIVED")


def search(bug: Bug) -> int:
    """Search for the bug that this copy has; return 1 if it is found."""
    from zeke_sim.experiment import run as simulation  # noqa: PLC0415 - only a search needs it
    from zeke_sim.experiment.scenario import load as load_scenario  # noqa: PLC0415

    scenario = load_scenario(bug.finder)
    properties = [one for one in scenario.properties if bug.property in ("", one.name)]
    scenario = replace(scenario, properties=properties, kinds=tuple(bug.faults) or scenario.kinds)
    for seed in range(1, bug.seeds + 1):
        broken = simulation.run(scenario, scenario.plan(seed)).violation
        # Some scenarios check rules of their own beside the properties.
        if broken is not None and bug.property in ("", broken.rule):
            sys.stdout.write(f"FAILED {broken.rule} in {bug.finder}, seed {seed}\n")
            return 1
    return 0


def try_all(bugs: Sequence[Bug], dsn: str, folder: Path, jobs: int) -> list[Verdict]:
    """Try bugs, print a line for each, and return those that were not found, or by a test that always fails."""
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(attempt, bug, dsn, folder) for bug in bugs]
        try:
            for future in as_completed(futures):
                verdicts.append(one := future.result())
                _say(f"found {one.seconds:5.1f} s " if one.word == "found" else one.word, one)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while any(future.running() for future in futures):
                for process in tuple(_RUNNING):
                    _kill(process)
                wait(futures, timeout=0.1)
            raise
    tests, failing = (
        sorted({one.text for one in verdicts if one.word == "found" and one.bug.is_tested()}),
        set[str](),
    )
    if tests:
        with copied(None) as copy:
            code, said = run_tests(copy, dsn, *tests)
        failing = {*_FAILED.findall(said)} if code == 1 else {*tests} if code else set()
    unsound = [
        Verdict(one.bug, "NOT TRIED", f"{one.text} fails without it, too")
        for one in verdicts
        if one.text in failing
    ]
    for one in unsound:
        _say(one.word, one)
    return [*(one for one in verdicts if one.word != "found"), *unsound]


def _say(word: str, one: Verdict) -> None:
    sys.stdout.write(f"{word} {one.bug.name}{': ' if one.text else ''}{one.text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Try bugs, all or those named; return 1 if one is not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", default=[""], help="parts of the names or files of those to try")
    parser.add_argument("--jobs", type=int, default=2, help="bugs at a time")
    parser.add_argument("--bugs", type=Path, default=BUGS, help="the folder of the list")
    parser.add_argument("--allow-missing", action="append", default=[], help="a program that may be absent")
    parser.add_argument("--search", metavar="NAME", help="run the scenario of the bug that this copy has")
    given = parser.parse_args(arguments)
    bugs = load(given.bugs)
    if given.search:
        return search(next(bug for bug in bugs if bug.name == given.search))
    bugs = [bug for bug in bugs if any(name in bug.name or name in bug.file for name in given.names)]
    is_tested = any(bug.is_tested() for bug in bugs)
    from tests.database import choose, new_run, server  # noqa: PLC0415 - slow to import for a search

    with server(choose(None), new_run()) if is_tested else nullcontext("") as dsn:
        lost = try_all(bugs, dsn, given.bugs.absolute(), given.jobs)
    survived = [one.bug.name for one in lost if one.word == "SURVIVED"]
    untried = [one.bug.name for one in lost if one.word != "SURVIVED"]
    said = f"{len(bugs) - len(lost)} of {len(bugs)} found"
    said += f", {len(survived)} survived: {', '.join(survived)}" if survived else ""
    said += f", {len(untried)} not tried: {', '.join(untried)}" if untried else ""
    sys.stdout.write(f"{said}\n")
    allowed = {f"{program} is not here" for program in given.allow_missing}
    return 0 if bugs and all(one.text in allowed for one in lost) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
