"""Which tests touch what a mutant changes, and in which order they are tried."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from coverage import CoverageData

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

STEPS: Final = (0.05, 0.2, 1.0, 5.0)
"""Seconds of processor time between which tests count as equally quick."""

_SQL_HOME: Final = "zeke_queue/storage/postgres"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A text that replaces another in one file.

    Attributes:
        table: ``runtime``, ``sql`` or ``simulator``.
        judges: tests chosen by hand, as arguments of pytest.
        statements: the names under which Python executes the file, if it is one of SQL.
    """

    table: str
    name: str
    file: str
    old: str
    new: str
    judges: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Mutant:
        """Return it from what JSON keeps of it."""
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


class Touches:
    """Which tests touch which lines, and how long each takes: two files for each chunk of test files."""

    def __init__(self, folder: Path | None) -> None:
        self._confirmed = folder / "confirmed" if folder else None
        known = (
            json.loads(self._confirmed.read_text()) if self._confirmed and self._confirmed.exists() else {}
        )
        self.passed: set[str] = set(known.get("passed", ()))
        self.failed: set[str] = set(known.get("failed", ()))
        self.spent: dict[str, list[float]] = {}
        for part in sorted(folder.glob("*.json")) if folder else ():
            for event in json.loads(part.read_text()):
                self.spent[event["test"]] = event["spent"]
                self.failed |= {event["test"]} if event["failed"] else set()
        self._data = sorted(folder.glob("*.coverage")) if folder else []
        self.lines = cache(self._lines)

    def keep(self, passed: Iterable[str], failed: Iterable[str]) -> None:
        """Remember which tests pass or fail alone on the unchanged tree."""
        self.passed.update(passed)
        self.failed.update(failed)
        if self._confirmed:
            self._confirmed.write_text(
                json.dumps({"passed": sorted(self.passed), "failed": sorted(self.failed)})
            )

    def _lines(self, file: str) -> dict[int, set[str]]:
        """Return the tests that touch each line of a file."""
        found: dict[int, set[str]] = defaultdict(set)
        for path in self._data:
            for line, contexts in _read(path).contexts_by_lineno(file).items():
                found[line] |= set(contexts)
        for tests in found.values():
            tests.discard("")
        return found

    def of(self, mutant: Mutant, tree: Path) -> set[str]:
        """Return the tests that touch what a mutant changes, or else use its module, and its judges.

        Those of the mutants themselves are left out: they notice any changed text.
        """
        places = [(mutant.file, _statements_of(tree / mutant.file, mutant.old))]
        if mutant.statements:
            places = [
                (f"{_SQL_HOME}/{path.name}", _statements_with(path, mutant.statements))
                for path in sorted((tree / _SQL_HOME).glob("*.py"))
            ]
        tests = {
            test
            for file, lines in places
            for line, touching in self.lines(file).items()
            if line in lines
            for test in touching
        }
        if not tests:
            # It runs at import only, as a table does, so any user of the module may use it.
            files = [mutant.file, *self._users(mutant.file, tree)]
            tests = {test for file in files for touching in self.lines(file).values() for test in touching}
        tests |= {test for one in mutant.judges for test in self._judged(one)}
        return {test for test in tests - self.failed if "mutants" not in test.partition("::")[0]}

    def _users(self, file: str, tree: Path) -> Iterator[str]:
        """Return the files of the map that import a module."""
        module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        package, _, name = (re.escape(part) for part in module.rpartition("."))
        imported = re.compile(rf"from {package}\.{name} import|from {package} import [^\n]*\b{name}\b")
        known = {name for path in self._data for name in _read(path).measured_files()}
        return (one for one in sorted(known) if imported.search((tree / one).read_text(encoding="utf-8")))

    def _judged(self, judge: str) -> Iterator[str]:
        path, _, keyword = judge.partition(" -k ")
        return (test for test in self.spent if test.startswith(path) and keyword.lower() in test.lower())


def _read(path: Path) -> CoverageData:
    data = CoverageData(str(path))
    data.read()
    return data


def _statements_of(file: Path, text: str) -> set[int]:
    """Return the lines of the statements in which a text begins, lies and ends; of blocks only the head."""
    source = file.read_text(encoding="utf-8") if file.exists() and file.suffix == ".py" else ""
    if source.count(text) != 1:
        return set()
    first = source.count("\n", 0, source.index(text)) + 1
    last = first + text.rstrip("\n").count("\n")
    lines = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            body: list[ast.stmt] | None = getattr(node, "body", None)
            end = max(body[0].lineno - 1, node.lineno) if body else node.end_lineno or node.lineno
            if node.lineno <= last and end >= first:
                lines |= set(range(node.lineno, end + 1))
    return lines


def _statements_with(file: Path, names: Iterable[str]) -> set[int]:
    """Return the lines of the statements that contain one of these names as a string."""
    source = file.read_text(encoding="utf-8")
    found = re.finditer("|".join(rf'"{re.escape(name)}"' for name in names), source)
    lines = set[int]()
    for number in {source.count("\n", 0, match.start()) for match in found}:
        line = source.splitlines()[number]
        lines |= _statements_of(file, line) if source.count(line) == 1 else {number + 1}
    return lines


def ordered(tests: Iterable[str], spent: Mapping[str, Sequence[float]]) -> list[str]:
    """Return tests in the order in which they are tried.

    The quick ones go first; among those first one case of each function, and first those of the file that
    touches the mutant most, so that few files are imported.
    """
    sorted_ = sorted(tests)
    files = Counter(test.partition("::")[0] for test in sorted_)
    seen = Counter[str]()
    keys: dict[str, tuple[Any, ...]] = {}
    for test in sorted_:
        function, file = test.partition("[")[0], test.partition("::")[0]
        step = sum(spent.get(test, [0.0])[0] > limit for limit in STEPS)
        keys[test] = (step, seen[function], -files[file], file, test)
        seen[function] += 1
    return sorted(sorted_, key=keys.__getitem__)
