"""The source of handlers as HTML, with the faults of all runs beside each line."""

from __future__ import annotations

import linecache
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

from zeke_sim.experiment.fault_coverage import noun
from zeke_sim.world.lines import file_of, lines_of_function

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zeke_sim.experiment.fault_coverage import FaultCoverage
    from zeke_sim.history.events import Line

FUNCTIONS_MAX: Final = 40
"""Maximum number of functions that are shown, those with the most faults first."""


def section(coverage: FaultCoverage) -> str:
    """Return the functions that handlers passed, each as a table; empty if their source is unknown."""
    faults: Counter[Line] = Counter()
    marks: dict[Line, Counter[str]] = {}
    for (_, line, group), number in coverage.lines.items():
        faults[line] += number
        marks.setdefault(line, Counter())[group] += number
    passed = {line for lines in coverage.passed.values() for line in lines}
    functions: dict[tuple[str, str], int] = {}
    for line in sorted(passed):
        place = line.file, line.owner
        functions[place] = functions.get(place, 0) + faults[line]
    if not functions:
        return ""
    shown = sorted(functions, key=lambda place: -functions[place])[:FUNCTIONS_MAX]
    left = len(functions) - len(shown)
    tables = "\n".join(_function(file, owner, passed, marks) for file, owner in sorted(shown))
    more = f"<p>{left} other functions are not shown.</p>" if left else ""
    return (
        '<section class="source" aria-label="Faults beside the source">\n'
        "<p>The number of faults, in all runs, that hit an attempt at the line. "
        "<b>no fault</b>: the line was reached, but not hit; <b>not reached</b>: no run reached the line."
        f"</p>\n{tables}\n{more}</section>"
    )


def _function(file: str, owner: str, passed: set[Line], marks: dict[Line, Counter[str]]) -> str:
    """Return a function as a table of its source lines with their marks."""
    # What ran in another process alone is not known here: its lines that were reached are.
    lines = lines_of_function(file, owner) or sorted(
        line for line in passed if (line.file, line.owner) == (file, owner)
    )
    at: dict[int, list[Line]] = {}
    for line in lines:
        at.setdefault(line.number, []).append(line)
    rows = "\n".join(
        f'<tr class="{kind}"><td>{number}</td><td>{escape(mark)}</td>'
        f"<td><code>{escape(text)}</code></td></tr>"
        for number, text in _text(file, lines)
        for kind, mark in [_mark(at.get(number, ()), passed, marks)]
    )
    return f"<h3>{escape(owner)} <small>{escape(file)}</small></h3>\n<table>\n{rows}\n</table>"


def _text(file: str, lines: list[Line]) -> Iterator[tuple[int, str]]:
    """Yield the numbered source lines of a function, from its first statement to its last."""
    known = {line.number: line.text for line in lines}
    path = file_of(file)
    for number in range(min(known), max(known) + 1):
        text = linecache.getline(path, number).rstrip("\n") if path is not None else ""
        yield number, text or known.get(number, "")


def _mark(lines: Iterable[Line], passed: set[Line], marks: dict[Line, Counter[str]]) -> tuple[str, str]:
    """Return the class and the text of a line's mark."""
    lines = list(lines)
    if not lines:
        return "plain", ""
    if not any(line in passed for line in lines):
        return "unreached", "not reached"
    total: Counter[str] = Counter()
    for line in lines:
        total += marks.get(line, Counter())
    if not total:
        return "spared", "no fault"
    return "affected", ", ".join(f"{number} {noun(group, number)}" for group, number in total.most_common())
