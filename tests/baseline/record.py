"""Records what a tree is made of, so that before and after can be compared; README.md says what and how.

``python -m tests.baseline.record --tree ../base --out tests/baseline --junit junit.xml`` writes the files.
``--collected FILE`` takes the output of ``pytest --collect-only -q`` instead of collecting.
``python -m tests.baseline.record --compare OTHER`` prints the counts of two folders side by side.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import iterparse

import grimp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

HERE: Final = Path(__file__).parent
PACKAGES: Final = ("zeke_queue", "zeke_tasks", "zeke_sim")
SOME: Final = 16
"""Rooms in a circle of which the fewest upward imports can be counted."""


def items(tree: Path, collected: Path | None) -> list[str]:
    """Return the ids of all tests that pytest collects."""
    if collected is None:
        command = [_python(tree), "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
        said = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True).stdout
    else:
        said = collected.read_text(encoding="utf-8")
    return sorted(line for line in said.splitlines() if line.startswith("tests/") and "::" in line)


def _python(tree: Path) -> str:
    own = tree / ".venv/bin/python"
    return str(own) if own.exists() else sys.executable


def durations(junit: Path) -> dict[str, float]:
    """Return the seconds of each test of a JUnit file, by class name and name as that file has them."""
    seconds = defaultdict[str, float](float)
    for _, element in iterparse(junit):  # noqa: S314 - pytest has written it
        if element.tag == "testcase":
            seconds[f"{element.get('classname')}.{element.get('name')}"] += float(element.get("time", 0))
    return {test: round(taken, 3) for test, taken in sorted(seconds.items())}


def public_names(tree: Path) -> dict[str, dict[str, list[str]]]:
    """Return, for each module, its ``__all__`` and the public names that it defines."""
    found: dict[str, dict[str, list[str]]] = {}
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            defined, listed = _names(ast.parse(path.read_text(encoding="utf-8")))
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[module] = {"__all__": listed, "defines": sorted(n for n in defined if n[0] != "_")}
    return found


def _names(module: ast.Module) -> tuple[set[str], list[str]]:
    defined, listed = set[str](), list[str]()
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        defined.update(names)
        if names == ["__all__"] and isinstance(value := getattr(node, "value", None), ast.List | ast.Tuple):
            listed = sorted(str(one.value) for one in value.elts if isinstance(one, ast.Constant))
    return defined, listed


def imports(tree: Path) -> dict[str, Any]:
    """Return the imports between first-level rooms, those for type checking included, and their counts."""
    sys.path.insert(0, str(tree))
    found: dict[str, Any] = {}
    for package in PACKAGES:
        if not (tree / package).exists():
            continue
        graph = grimp.build_graph(package, exclude_type_checking_imports=False, cache_dir=None)
        edges: Counter[tuple[str, str]] = Counter()
        for module in graph.modules:
            for imported in graph.find_modules_directly_imported_by(module):
                room, other = (f"{name}.__init__".split(".")[1] for name in (module, imported))
                edges[room, other] += room != other
        edges = +edges
        # The package's own namespace hands on names of every room, so its imports are no circles.
        pairs = {edge for edge in edges if "__init__" not in edge}
        rooms = sorted(
            {path.stem for path in (tree / package).iterdir() if path.suffix == ".py" or _is_package(path)}
        )
        found[package] = {
            "rooms": [room for room in rooms if room != "__init__"],
            "loose modules": sum((tree / package / f"{room}.py").exists() for room in rooms) - 1,
            "imports between rooms": len(edges),
            "import statements between rooms": sum(edges.values()),
            "cycles": len(list(_cycles(pairs))),
            "upward imports": sum(_upward(circle, pairs) for circle in _circles(pairs)),
            "floors": _floors(pairs),
            "circles": [sorted(circle) for circle in _circles(pairs)],
            "edges": {f"{room} -> {other}": n for (room, other), n in sorted(edges.items())},
        }
    return found


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").exists()


def _reached(start: str, pairs: AbstractSet[tuple[str, str]]) -> set[str]:
    seen, left = set[str](), [start]
    while left:
        room = left.pop()
        new = {other for one, other in pairs if one == room} - seen
        seen |= new
        left += new
    return seen


def _circles(pairs: AbstractSet[tuple[str, str]]) -> list[frozenset[str]]:
    """Return the sets of rooms that all reach one another."""
    reached = {room: _reached(room, pairs) for pair in pairs for room in pair}
    circles = {
        frozenset(r for r in reached if r in reached[one] and one in reached[r])
        for one in reached
        if one in reached[one]
    }
    return sorted(circles, key=sorted)


def _cycles(pairs: AbstractSet[tuple[str, str]]) -> Iterator[list[str]]:
    """Yield every way round through rooms of which none comes twice, from its first by name."""
    for circle in _circles(pairs):
        inside = {pair for pair in pairs if circle.issuperset(pair)}
        left = [[room] for room in sorted(circle)]
        while left:
            way = left.pop()
            for _, other in [pair for pair in inside if pair[0] == way[-1]]:
                if other == way[0]:
                    yield way
                elif other > way[0] and other not in way:
                    left.append([*way, other])


def _upward(circle: frozenset[str], pairs: AbstractSet[tuple[str, str]]) -> int | float:
    """Return how many imports go upward at least, however the rooms of a circle are put above one another."""
    if len(circle) > SOME:
        return float("nan")
    rooms = sorted(circle)
    above = {
        room: {rooms.index(one) for one, other in pairs if other == room and one in circle} for room in rooms
    }

    @cache
    def fewest(below: int) -> int:
        """Of orders in which these rooms, as bits, are the lowest; the last one is the highest of them."""
        return min(
            (
                fewest(below & ~(1 << place))
                # A lower room that imports this one does so upward.
                + sum(below >> one & 1 for one in above[room])
                for place, room in enumerate(rooms)
                if below >> place & 1
            ),
            default=0,
        )

    return fewest((1 << len(rooms)) - 1)


def _floors(pairs: AbstractSet[tuple[str, str]]) -> int:
    """Return the height of the house, each circle being one floor."""
    floor = {room: frozenset([room]) for pair in pairs for room in pair}
    floor |= {room: circle for circle in _circles(pairs) for room in circle}
    below = {(floor[one], floor[other]) for one, other in pairs if floor[one] != floor[other]}

    @cache
    def height(rooms: frozenset[str]) -> int:
        return 1 + max((height(other) for one, other in below if one == rooms), default=0)

    return max(map(height, floor.values()), default=0)


def counts(tree: Path, collected: Sequence[str], graph: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of the table of before and after."""
    numbers: dict[str, Any] = {"commit": _git(tree, "rev-parse", "--short", "HEAD").strip()}
    files = [tree / name for name in _git(tree, "ls-files", "-z").split("\0") if (tree / name).is_file()]
    for package in (*PACKAGES, "tests"):
        for suffix in (".py", ".sql"):
            chosen = [f for f in files if f.suffix == suffix and f.relative_to(tree).parts[0] == package]
            numbers[f"{package} lines of {suffix}"] = sum(f.read_bytes().count(b"\n") for f in chosen)
    for package, rooms in graph.items():
        numbers |= {f"{package} {name}": n for name, n in rooms.items() if isinstance(n, int | float)}
        numbers[f"{package} first-level rooms"] = len(rooms["rooms"])
    tests = [file for file in files if file.name.startswith("test_") and (tree / "tests") in file.parents]
    numbers["test functions"] = sum(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for file in tests
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    )
    numbers["test items"] = len(collected)
    by_layer = Counter(item.partition("::")[0].split("/")[1] for item in collected)
    return numbers | {f"test items of {layer}": n for layer, n in sorted(by_layer.items())}


def _git(tree: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", tree, *arguments], capture_output=True, text=True, check=True).stdout


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=None if path.suffix == ".gz" else 1, separators=None) + "\n"
    # Without a time and a name in its head, equal contents are equal files.
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def _compare(before: Path, after: Path) -> None:
    one, other = (json.loads((folder / "counts.json").read_text()) for folder in (before, after))
    for name in sorted({**one, **other}):
        sys.stdout.write(f"{name:<50}{one.get(name, '-')!s:>10}{other.get(name, '-')!s:>10}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.baseline.record", description=__doc__)
    parser.add_argument("--tree", type=Path, default=HERE.parents[1])
    parser.add_argument("--out", type=Path, help="a folder for the files")
    parser.add_argument("--junit", type=Path, help="what --junitxml wrote; without it no durations")
    parser.add_argument("--collected", type=Path, help="what --collect-only -q wrote")
    parser.add_argument("--compare", type=Path, help="a folder to compare with the baseline")
    given = parser.parse_args(arguments)
    if given.compare is not None:
        _compare(HERE, given.compare)
        return 0
    tree, out = given.tree.resolve(), given.out
    if out is None:
        parser.error("--out: must be a folder, got nothing; or use --compare")
    out.mkdir(parents=True, exist_ok=True)
    ids, graph = items(tree, given.collected), imports(tree)
    _write(out / "items.json.gz", ids)
    _write(out / "public_names.json", public_names(tree))
    _write(out / "imports.json", graph)
    _write(out / "counts.json", counts(tree, ids, graph))
    if given.junit is not None:
        _write(out / "durations.json.gz", durations(given.junit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
