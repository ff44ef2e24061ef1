"""The kill matrix: for each mutant the first test of each layer that kills it, and the layers that do not.

``python -m tests.mutants.matrix coverage --coverage PATH [FOLDER…]`` runs the tests once and keeps which test
touches which line; ``record --coverage PATH`` runs, for each mutant, the tests that touch what it changes;
``check`` runs the recorded killers again, and searches a layer anew that has lost its own, if it is given
``--coverage`` of the tree as it is; ``show`` counts. The same command goes on with a part that was ended, as
by ``--minutes 60``. ``--tree`` names another checkout, whose tests and product this tool then tries.

A layer of tests is a folder of ``tests/``. A mutant lives in a copy of the tree, so that processes that tests
start have it too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time  # noqa: TID251 - parts last real minutes
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251 - drawn by a seed
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.mutants.touches import Mutant, Touches, ordered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
KILLS: Final = Path(__file__).with_name("kills.json")
INSIDE: Final = Path(__file__).with_name("inside.py")
LEFT_OUT: Final = (".git", ".venv", "__pycache__", ".hypothesis", "node_modules", ".ruff_cache", "*.pyc")

BUDGET: Final = 40.0
"""Seconds of processor time for one mutant, imports included."""

ROUNDS: Final = (15, 75, 315, 1_000_000)
"""How many tests of each layer are tried after each round; a round is a process, which imports only what its
tests need."""

HANG: Final = 30.0
"""Seconds beyond three times the usual after which a test hangs, which kills a mutant."""

QUICK: Final = 1.0
"""Seconds of processor time that a test may take which is not left for the last round."""

DEATHS: Final = 4
"""Processes that a mutant may kill before its time limit."""

CHUNK: Final = 8
"""Test files that one process runs for the map."""


@dataclass(slots=True)
class Entry:
    """The results of a mutant: its killer in each layer, the layers without one, and those not finished."""

    killers: dict[str, str] = field(default_factory=dict[str, str])
    survives: list[str] = field(default_factory=list[str])
    not_tried: list[str] = field(default_factory=list[str])

    def __or__(self, other: Entry) -> Entry:
        """Return both, which are of different layers."""
        killers = dict(sorted({**self.killers, **other.killers}.items()))
        not_tried = sorted(self.not_tried + other.not_tried)
        return Entry(killers, sorted(self.survives + other.survives), not_tried)

    def layers(self) -> set[str]:
        """Return the layers of which something is known."""
        return {*self.killers, *self.survives, *self.not_tried}

    def summary(self) -> str:
        """Return it in one line."""
        parts = (
            ("killed by", list(self.killers)),
            ("survives", self.survives),
            ("not tried", self.not_tried),
        )
        return (
            "; ".join(f"{word} {', '.join(layers)}" for word, layers in parts if layers)
            or "no test touches it"
        )


class DoesNotApplyError(Exception):
    """A mutant's text does not occur exactly once, so the mutant must be adapted."""


class Matrix:
    """The file of kills."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = json.loads(path.read_text()) if path.exists() else {"mutants": {}}
        self.entries = {name: Entry(**entry) for name, entry in known["mutants"].items()}

    def save(self) -> None:
        """Write it, sorted by names."""
        self.entries = dict(sorted(self.entries.items()))
        mutants = {name: asdict(entry) for name, entry in self.entries.items()}
        text = json.dumps({"survivors": survivors(self.entries), "mutants": mutants}, indent=1)
        part = self._path.with_suffix(".part")
        part.write_text(text + "\n")
        part.replace(self._path)


def survivors(entries: Mapping[str, Entry]) -> list[str]:
    """Return the names of mutants that no layer kills, although some may not have been tried."""
    return [name for name, entry in entries.items() if not entry.killers]


def layer_of(test: str) -> str:
    """Return the layer of a test: the folder of ``tests/`` that it lies in."""
    parts = test.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 else "tests"


class Copy:
    """A copy of a tree, in which one file at a time may be broken."""

    def __init__(self, tree: Path, folder: Path, python: str, dsn: str | None, hang: float = HANG) -> None:
        self.path = folder / "tree"
        self.hang = hang
        self._server: subprocess.Popen[str] | None = None
        self._python = python
        self._environment = {**os.environ, "PYTHONPATH": str(self.path), "PYTHONHASHSEED": "0"}  # noqa: TID251 - handed on
        if dsn is not None:
            self._environment["ZEKE_TEST_DSN"] = dsn
        shutil.copytree(tree, self.path, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)

    def run(self, mode: str, **order: Any) -> list[dict[str, Any]]:
        """Run ``inside.py`` and return the events of its journal."""
        shutil.rmtree(self.path / ".hypothesis", ignore_errors=True)
        paths = {name: self.path.parent / name for name in ("order", "journal", "output")}
        paths["journal"].write_text("")
        files = {"journal": str(paths["journal"]), "output": str(paths["output"])}
        paths["order"].write_text(json.dumps({"mode": mode, **files, **order}))
        done = self._served(paths["order"])
        events = [json.loads(line) for line in paths["journal"].read_text().splitlines()]
        said = paths["output"].read_text(errors="replace")
        if done["code"] and not events and "loading conftest" not in said:
            raise RuntimeError(f"{mode} ended with {done['code']}:\n{said[-2000:]}")
        return [*events, {"event": "late"}] if done["late"] else events

    def _served(self, order: Path) -> dict[str, Any]:
        """Send the server an order; the first one starts it."""
        if self._server is None:
            self._server = subprocess.Popen(
                [self._python, "-P", str(INSIDE)],
                cwd=self.path,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{order}\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        """End the server and its children."""
        if self._server is not None:
            self._server.terminate()
            self._server.communicate()

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """Apply a mutant to the copy."""
        file = self.path / mutant.file
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if text.count(mutant.old) != 1:
            raise DoesNotApplyError(
                f"{mutant.name}: its text stands {text.count(mutant.old)} times in {mutant.file}"
            )
        self._write(file, text.replace(mutant.old, mutant.new))
        try:
            yield
        finally:
            self._write(file, text)

    @staticmethod
    def _write(file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        # What was compiled within the same second would pass for this text's.
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            compiled.unlink()


class Ran(NamedTuple):
    """The results of a process: first failures by layer, passed tests, and those not to repeat."""

    killed: dict[str, str]
    passed: set[str]
    tried: set[str]
    seconds: float


def run_tests(
    copy: Copy, tests: Mapping[str, str], spent: Mapping[str, Sequence[float]], seconds: float
) -> Ran:
    """Run tests, each under the name of its layer, until each layer has failed once or the time limit."""
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    files = [file for file in files if (copy.path / file).exists()]
    if not files:
        return Ran({}, set(), set(), 0.0)
    events = copy.run(
        "run",
        tests=dict(tests),
        files=files,
        seconds=seconds,
        hangs=copy.hang,
        usual={test: spent[test][0] for test in tests if test in spent},
        wall={test: spent[test][1] for test in tests if test in spent},
        longest=120 + 10 * seconds,
    )
    killed = {event["layer"]: event["test"] for event in events if event["event"] == "kill"}
    passed = {event["test"] for event in events if event["event"] == "pass"}
    last: dict[str, Any] = events[-1] if events else {"event": "no conftest"}
    if last["event"] == "begin":
        # This test killed the process, and with it the tests after it.
        died = {last["layer"]: last["test"]}
        return Ran(killed | died, passed, passed | {last["test"]}, seconds / DEATHS)
    if last["event"] == "no conftest":
        killed = {layer: test for test, layer in reversed(list(tests.items()))}
    return Ran(killed, passed, set(tests), last.get("seconds", seconds))


def search(copy: Copy, mutant: Mutant, touches: Touches, budget: float, only: Iterable[str]) -> Entry:
    """Try the tests that touch a mutant, in some layers."""
    wanted = {"sim"}.intersection(only) if mutant.table == "simulator" else set(only)
    layers: dict[str, list[str]] = {name: [] for name in sorted(wanted)}
    for test in touches.of(mutant, copy.path):
        layers.get(layer_of(test), []).append(test)
    layers = {name: ordered(tests, touches.spent) for name, tests in layers.items() if tests}
    killers, passed, tried, left = dict[str, str](), set[str](), set[str](), budget
    with copy.broken(mutant):
        for upto in ROUNDS:
            while left > 0:
                tests = {
                    test: name
                    for name, chosen in layers.items()
                    if name not in killers
                    for test in chosen[:upto]
                    if test not in tried
                    and (upto == ROUNDS[-1] or touches.spent.get(test, [0.0])[0] <= QUICK)
                }
                ran = run_tests(copy, tests, touches.spent, left)
                if not ran.tried:
                    break
                killers, passed, tried = killers | ran.killed, passed | ran.passed, tried | ran.tried
                left -= ran.seconds
    alive = layers.keys() - killers
    cut = {name for name in alive if not passed.issuperset(layers[name])}
    return Entry(dict(sorted(killers.items())), sorted(alive - cut), sorted(cut))


@contextmanager
def copied(given: argparse.Namespace) -> Iterator[tuple[Copy, list[Mutant]]]:
    """Yield a copy of the tree, with a server for its tests, and its mutants of the tables asked for."""
    tree = Path(given.tree).absolute()
    own = tree / ".venv/bin/python"
    python = given.python or (str(own) if own.exists() else sys.executable)
    with ExitStack() as stack:
        dsn = None
        if (tree / "tests/database.py").exists():
            from tests.database import EMBEDDED, server  # noqa: PLC0415 - a tree without it needs none

            dsn = stack.enter_context(server(EMBEDDED, f"matrix{os.getpid()}"))
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="zeke-matrix-", ignore_cleanup_errors=True)
        )
        copy = Copy(tree, Path(folder), python, dsn, given.hang)
        stack.callback(copy.close)
        (event,) = copy.run("list")
        mutants = [Mutant.read(one) for one in event["mutants"] if one["table"] in given.tables.split(",")]
        yield copy, mutants


def cover(given: argparse.Namespace) -> int:
    """Run tests once, some files a process, and keep which touches which line of the files with mutants."""
    folder = Path(given.coverage)
    folder.mkdir(parents=True, exist_ok=True)
    with copied(given) as (copy, mutants):
        traced = {mutant.file for mutant in mutants if mutant.file.endswith(".py")} | {
            "zeke_queue/storage/postgres/*.py"
        }
        for name, files in _chunks(copy.path, given.which or ["tests"]):
            if (folder / f"{name}.json").exists():
                continue
            if _time_is_up(given):
                return 0
            data = folder / f"{name}.coverage"
            data.unlink(missing_ok=True)
            events = copy.run("coverage", files=files, data=str(data), include=sorted(traced))
            if not events or events[-1]["event"] != "end":
                say(f"{name}: not finished, {len(events)} tests ran")
                continue
            (folder / f"{name}.json").write_text(json.dumps([one for one in events if one["event"] == "ran"]))
            say(f"{name}: {len(events) - 1} tests, {events[-1]['seconds']:.0f} s of processor time")
    return 0


def _chunks(tree: Path, folders: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield names and files of the chunks below some folders, or of single files."""
    for asked in folders:
        paths = [tree / asked] if asked.endswith(".py") else sorted((tree / asked).rglob("test_*.py"))
        by_folder = defaultdict[str, list[str]](list)
        for path in paths:
            if "browser" not in path.parts:
                relative = path.relative_to(tree)
                by_folder[".".join(relative.parent.parts)].append(str(relative))
        for name, files in sorted(by_folder.items()):
            for first in range(0, len(files), CHUNK):
                yield f"{name}.{Path(files[first]).stem}", files[first : first + CHUNK]


def record(given: argparse.Namespace) -> int:
    """Search the layers that the map has whole and the matrix has not yet; writes after each mutant."""
    matrix = Matrix(Path(given.kills))
    touches = Touches(Path(given.coverage))
    with copied(given) as (copy, mutants):
        layers = set(given.layers.split(",")) if given.layers else _mapped(copy.path, Path(given.coverage))
        say(f"layers: {', '.join(sorted(layers))}")
        for mutant in _sampled(mutants, given):
            entry, begun = matrix.entries.get(mutant.name, Entry()), time.monotonic()
            if _time_is_up(given):
                break
            try:
                found = search(copy, mutant, touches, given.budget, layers - entry.layers())
            except DoesNotApplyError as error:
                say(str(error))
                continue
            matrix.entries[mutant.name] = entry | found
            matrix.save()
            if found.layers():
                say(f"{mutant.name}: {found.summary()}; {time.monotonic() - begun:.0f} s")
        for name in _unsound(copy, matrix, touches):
            del matrix.entries[name]
            say(f"{name}: a killer fails without it too, so it is recorded anew by the next part")
        matrix.save()
    return 0


def _mapped(tree: Path, folder: Path) -> set[str]:
    """Return the layers all of whose tests are in the map."""
    chunks = [(name, layer_of(files[0])) for name, files in _chunks(tree, ["tests"])]
    missing = {layer for name, layer in chunks if not (folder / f"{name}.json").exists()}
    return {layer for _, layer in chunks} - missing


def _unsound(copy: Copy, matrix: Matrix, touches: Touches) -> list[str]:
    """Run new killers on the unchanged tree; return the mutants with one that fails there too."""
    new = sorted(
        {test for entry in matrix.entries.values() for test in entry.killers.values()} - touches.passed
    )
    ran = run_tests(copy, {test: test for test in new}, touches.spent, 3600)
    touches.keep(ran.passed, ran.killed)
    bad = touches.failed
    return [name for name, entry in matrix.entries.items() if bad.intersection(entry.killers.values())]


def check(given: argparse.Namespace) -> int:
    """Run the recorded killers again, and search again a layer that lost its own; return 1 for a loss.

    A new killer is recorded. A lost one is reported each time, until it is recorded again.
    """
    matrix, state = Matrix(Path(given.kills)), Path(f"{given.kills}.checked")
    lost: dict[str, list[str]] = json.loads(state.read_text()) if state.exists() else {}
    touches = Touches(Path(given.coverage) if given.coverage else None)
    with copied(given) as (copy, mutants):
        for mutant in _sampled(mutants, given):
            entry = matrix.entries.get(mutant.name)
            if entry is None or mutant.name in lost:
                continue
            if _time_is_up(given):
                say(f"{len(lost)} checked; the next part goes on from here")
                return 1
            lost[mutant.name] = _lost(copy, mutant, entry, touches, given.budget)
            matrix.save()
            state.write_text(json.dumps(lost))
        unrecorded = [mutant.name for mutant in mutants if mutant.name not in matrix.entries]
    state.unlink(missing_ok=True)
    return _report(matrix, lost, unrecorded)


def _lost(copy: Copy, mutant: Mutant, entry: Entry, touches: Touches, budget: float) -> list[str]:
    """Return the layers that no longer kill a mutant."""
    killers = {test: layer for layer, test in entry.killers.items()}
    try:
        with copy.broken(mutant):
            found = run_tests(copy, killers, touches.spent, 3 * budget).killed
        missing = [layer for layer in entry.killers if layer not in found]
        again = search(copy, mutant, touches, budget, missing) if missing else Entry()
    except DoesNotApplyError as error:
        say(str(error))
        return list(entry.killers)
    for layer, test in again.killers.items():
        say(f"{mutant.name}: {layer} kills by {test} now, not by {entry.killers[layer]}")
    entry.killers |= again.killers
    return [layer for layer in missing if layer not in again.killers]


def _report(matrix: Matrix, lost: dict[str, list[str]], unrecorded: list[str]) -> int:
    by_layer = defaultdict[str, list[str]](list)
    for name, layers in lost.items():
        for layer in layers:
            by_layer[layer].append(name)
    for layer, names in sorted(by_layer.items()):
        say(f"{layer} kills {len(names)} no longer: {', '.join(names)}")
    surviving = [
        name for name, layers in lost.items() if layers and len(layers) == len(matrix.entries[name].killers)
    ]
    say(f"{len(lost)} mutants checked; newly surviving: {', '.join(surviving) or 'none'}")
    if unrecorded:
        say(f"not recorded: {len(unrecorded)}")
    return 1 if by_layer else 0


def show(given: argparse.Namespace) -> int:
    """Count, by layer, the mutants that it kills, that survive it, and that were not finished."""
    entries = Matrix(Path(given.kills)).entries
    killed = Counter(layer for entry in entries.values() for layer in entry.killers)
    survived = Counter(layer for entry in entries.values() for layer in entry.survives)
    cut = Counter(layer for entry in entries.values() for layer in entry.not_tried)
    say(f"{'layer':<14}{'kills':>7}{'survive':>9}{'not tried':>11}")
    for layer in sorted(killed | survived | cut):
        say(f"{layer:<14}{killed[layer]:>7}{survived[layer]:>9}{cut[layer]:>11}")
    say(f"{len(entries)} mutants; no layer kills: {', '.join(survivors(entries)) or 'none'}")
    return 0


def _sampled(mutants: Sequence[Mutant], given: argparse.Namespace) -> list[Mutant]:
    """Return the mutants that are named, or drawn, or all."""
    wanted = [mutant for mutant in mutants if not given.which or mutant.name in given.which]
    if given.sample is None:
        return wanted
    part, _, whole = given.sample.partition("/")
    drawn = Random(given.seed).sample(sorted(m.name for m in wanted), len(wanted) * int(part) // int(whole))  # noqa: S311
    return [mutant for mutant in wanted if mutant.name in drawn]


def _time_is_up(given: argparse.Namespace) -> bool:
    return given.minutes is not None and time.monotonic() > given.begun + 60 * given.minutes


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.matrix", description=__doc__)
    parser.add_argument("command", choices=("coverage", "record", "check", "show"))
    parser.add_argument("which", nargs="*", help="folders of tests for the map, or mutants; all by default")
    parser.add_argument("--tree", default=str(ROOT), help="the checkout to try")
    parser.add_argument("--python", help="what runs its tests; the one of its .venv by default")
    parser.add_argument("--coverage", help="where the map lies")
    parser.add_argument("--kills", default=str(KILLS), help="the file of the matrix")
    parser.add_argument("--tables", default="runtime,sql", help="of mutants: runtime, sql, simulator")
    parser.add_argument("--layers", help="the layers to record; by default those that the map has whole")
    parser.add_argument("--hang", type=float, default=HANG, help="seconds after which a quick test hangs")
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of processor time for a mutant")
    parser.add_argument("--sample", help="record a part, as 1/3, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_intermixed_args(arguments)
    if given.command in {"coverage", "record"} and given.coverage is None:
        parser.error("--coverage: must be a folder, got nothing; give one that is kept outside of the tree")
    given.begun = time.monotonic()
    return {"coverage": cover, "record": record, "check": check, "show": show}[given.command](given)


if __name__ == "__main__":
    # So that its children end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    sys.exit(main())
