"""Plant bugs, each in a copy of the project, and run what has to find it; exit with 1 if one is not found.

A test that fails without the bug proves nothing, so in the end those that failed are run without one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from tests.database import choose, new_run, server
from zeke_queue.system.clock import SystemClock
from zeke_sim.experiment import run as simulation
from zeke_sim.experiment import scenario as scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parents[2]
TIMEOUT: Final = 900.0
PYTEST: Final = ("pytest", "-qrfEs", "-m=", "-n=0", "-pno:cacheprovider", "--hypothesis-profile=unshrunk")
LEFT_OUT: Final = shutil.ignore_patterns(".*", "node_modules", "*-pytest-*.pyc")
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
MISSING: Final = re.compile(r"^SKIPPED .*?(\S+ is not here)", re.MULTILINE)
RUNNING: Final[set[psutil.Popen]] = set()


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug of the list: see the docstring of the package."""

    name: str
    file: str
    old: str
    new: str
    finder: str
    breaks: str = ""
    property: str = ""
    faults: Sequence[str] = ()
    seeds: int = 500

    def applied(self, text: str) -> str:
        """Return a file's text with the bug."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"the text that it replaces stands {count} times in {self.file}")
        return text.replace(self.old, self.new)


def load() -> list[Bug]:
    """Return the bugs of the list."""
    lists = [
        tomllib.loads(file.read_text(encoding="utf-8"))
        for file in sorted(ROOT.glob("tests/mutants/bugs/*.toml"))
    ]
    return [Bug(**one) for each in lists for one in each["bug"]]


@contextmanager
def copied(bug: Bug | None) -> Iterator[Path]:
    """Yield the folder of a copy of the project, with a bug."""
    with tempfile.TemporaryDirectory(prefix="zeke-mutant-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "project")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)
        if bug is not None:
            text = bug.applied((copy / bug.file).read_text(encoding="utf-8"))
            (copy / bug.file).write_text(text, encoding="utf-8")
        yield copy


def run(copy: Path, dsn: str, *arguments: str) -> tuple[int, str]:
    """Run a module of a copy; return its exit code and output. What it has started ends with it."""
    env = {**os.environ, "PYTHONPATH": str(copy), "ZEKE_TEST_DSN": dsn}  # noqa: TID251 - handed on
    with (copy.parent / "output").open("wb") as log:
        options: dict[str, Any] = {"stdout": log, "stderr": log, "start_new_session": True}
        process = psutil.Popen([sys.executable, "-m", *arguments], cwd=copy, env=env, **options)
        RUNNING.add(process)
        try:
            code = process.wait(TIMEOUT)
        finally:
            RUNNING.discard(process)
            kill(process)
        return code, Path(log.name).read_text(encoding="utf-8", errors="replace")


def kill(process: psutil.Popen) -> None:
    """Kill a process and those that it has started."""
    with suppress(psutil.NoSuchProcess):
        for other in process.children(recursive=True):
            other.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def attempt(bug: Bug, dsn: str) -> tuple[str, str]:
    """Run a bug's finder over it; print and return the verdict in words, and by what or why."""
    begun, (word, text) = SystemClock().monotonic(), _attempt(bug, dsn)
    time = f" {SystemClock().monotonic() - begun:5.1f} s " if word == "found" else ""
    print(f"{word}{time} {bug.name}{': ' if text else ''}{text}", flush=True)  # noqa: T201 - a line a bug
    return word, text


def _attempt(bug: Bug, dsn: str) -> tuple[str, str]:
    tests = (*PYTEST, "-x", *shlex.split(bug.finder))
    finder = tests if ".py" in bug.finder else ("tests.mutants", "--search", json.dumps(asdict(bug)))
    try:
        with copied(bug) as copy:
            code, said = run(copy, dsn, *finder)
    except (OSError, ValueError, psutil.TimeoutExpired) as error:
        return "NOT TRIED", str(error)
    if code == 1 and (found := FAILED.search(said)):
        return "found", found[1]
    if missing := MISSING.search(said):
        return "NOT TRIED", missing[1]
    return ("NOT TRIED", f"exit code {code}: {said[-2000:]}") if code else ("SURVIVED", "")


def search(bug: Bug) -> int:
    """Search for the bug that this copy has; return 1 if it is found."""
    scenario = scenarios.load(bug.finder)
    properties = [one for one in scenario.properties if bug.property in ("", one.name)]
    scenario = replace(scenario, properties=properties, kinds=tuple(bug.faults) or scenario.kinds)
    for seed in range(1, bug.seeds + 1):
        broken = simulation.run(scenario, scenario.plan(seed)).violation
        # Some scenarios check rules of their own beside the properties.
        if broken is not None and bug.property in ("", broken.rule):
            sys.stdout.write(f"FAILED {broken.rule} in {bug.finder}, seed {seed}\n")
            return 1
    return 0


def failing(tests: Sequence[str], dsn: str) -> list[str]:
    """Return which tests fail without a bug."""
    with copied(None) as copy, suppress(psutil.TimeoutExpired):
        code, said = run(copy, dsn, *PYTEST, *tests)
        return FAILED.findall(said) if code in (0, 1) else [*tests]
    return [*tests]


def try_all(bugs: Sequence[Bug], dsn: str, jobs: int) -> list[tuple[str, str]]:
    """Return what came of each bug, as ``attempt`` does."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(attempt, bug, dsn) for bug in bugs]
        try:
            verdicts = [future.result() for future in futures]
            found = sorted({text for word, text in verdicts if word == "found" and ".py" in text})
            again = [pool.submit(failing, found[n::8], dsn) for n in range(min(8, len(found)))]
            unsound = {test for future in again for test in future.result()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while RUNNING or any(future.running() for future in futures):
                for process in tuple(RUNNING):
                    kill(process)
                wait(futures, timeout=0.1)
            raise
    return [
        ("NOT TRIED", f"{t} fails without it, too") if t in unsound else (word, t) for word, t in verdicts
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try bugs, all or those named; return 1 if one is not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", default=[""], help="parts of the names or files of those to try")
    parser.add_argument("--jobs", type=int, default=2, help="bugs at a time")
    parser.add_argument("--allow-missing", action="append", default=[], help="a program that may be absent")
    parser.add_argument("--search", metavar="BUG", help="search for the bug that this copy has, as JSON")
    given = parser.parse_args(arguments)
    if given.search:
        return search(Bug(**json.loads(given.search)))
    bugs = [bug for bug in load() if any(name in bug.name or name in bug.file for name in given.names)]
    with server(choose(None), new_run()) as dsn:
        verdicts = dict(zip((bug.name for bug in bugs), try_all(bugs, dsn, given.jobs), strict=True))
    survived = [name for name, (word, _) in verdicts.items() if word == "SURVIVED"]
    untried = {name: text for name, (word, text) in verdicts.items() if word == "NOT TRIED"}
    said = f"{len(bugs) - len(survived) - len(untried)} of {len(bugs)} found"
    for names, why in ((survived, "survived"), (untried, "not tried")):
        said += f", {len(names)} {why}: {', '.join(names)}" if names else ""
    print(said)  # noqa: T201
    left = set(untried.values()) - {f"{program} is not here" for program in given.allow_missing}
    return 1 if survived or left or not bugs else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
