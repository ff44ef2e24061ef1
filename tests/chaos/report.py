"""The table: a line for each workload under each fault; and the file from which a page shows it later."""

from __future__ import annotations

import json
import os
from collections import Counter
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.checker import Verdict
from tests.chaos.experiment import Result
from tests.chaos.speeds import Speeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

HEAD: Final = (
    "fault",
    "workload",
    "sent",
    "once",
    "again",
    "lost",
    "stuck",
    "unexplained",
    "recovery",
    "after/before",
)
_TEXT: Final = (0, 1)
"""Columns that are aligned to the left."""


def table(results: Mapping[str, Result]) -> str:
    """Return the results of faults, by name, as a table in Markdown."""
    lines: list[list[str]] = [list(HEAD)]
    for fault, result in results.items():
        shown = fault
        speed = result.speeds
        recovery = "never" if speed.recovery is None else f"{speed.recovery:.1f} s"
        ratio = "–" if speed.ratio is None else f"{speed.ratio:.2f}"
        if len(result.ratios) > 1:
            ratio += f" ({result.ratios[0]:.2f}–{result.ratios[-1]:.2f})"
        for name, verdict in result.verdicts.items():
            again, unexplained = verdict.again.total(), verdict.unexplained.total()
            numbers = (verdict.sent, verdict.once, again, verdict.lost, verdict.stuck, unexplained)
            lines.append([shown, name, *(f"{number}" for number in numbers), recovery, ratio])
            shown = recovery = ratio = ""
    below = [
        *_mean(results),
        *(line for fault, result in results.items() for line in _reasons(fault, result)),
    ]
    return "\n".join([*_aligned(lines), *(["", *below] if below else [])])


def complaints(results: Mapping[str, Result]) -> list[str]:
    """Return what makes the results bad, with examples."""
    return [
        f"{fault}: {text}"
        for fault, result in results.items()
        for text in (
            *result.complaints,
            *(f"{name}: {one}" for name, verdict in result.verdicts.items() for one in verdict.examples),
        )
    ]


def conditions(table: str, *, jobs: int | None, load: int, minutes: float, date: datetime) -> dict[str, Any]:
    """Return what is to be known of a run; ``table`` is its name on the page."""
    day = f"{date.day} {date:%B %Y}"
    return {
        "table": table,
        "jobs": jobs,
        "load": load,
        "cores": os.cpu_count(),
        "minutes": round(minutes),
        "date": day,
    }


def as_json(results: Mapping[str, Result], about: Mapping[str, Any]) -> str:
    """Return results as a file, with what is to be known of the run."""
    faults = {
        fault: {
            "speeds": result.speeds._asdict(),
            "complaints": result.complaints,
            "ratios": result.ratios,
            "workloads": {name: vars(verdict) for name, verdict in result.verdicts.items()},
        }
        for fault, result in results.items()
    }
    return json.dumps({"about": about, "faults": faults}, indent=1) + "\n"


def from_json(text: str) -> tuple[dict[str, Result], Mapping[str, Any]]:
    """Return the results in a file, and what is to be known of the run."""
    content = json.loads(text)
    results: dict[str, Result] = {}
    for fault, found in content["faults"].items():
        verdicts = {name: Verdict(**counts) for name, counts in found["workloads"].items()}
        for verdict in verdicts.values():
            verdict.again, verdict.unexplained = Counter(verdict.again), Counter(verdict.unexplained)
        results[fault] = Result(
            verdicts, Speeds(**found["speeds"]), found["complaints"], found.get("ratios", [])
        )
    return results, content["about"]


def _mean(results: Mapping[str, Result]) -> Iterator[str]:
    """Yield a line about the speeds of all runs with a fault, if one has several."""
    ratios = [ratio for name, result in results.items() if name != "none" for ratio in result.ratios]
    recovered = [ratio for ratio in ratios if ratio > 0]
    if recovered and any(len(result.ratios) > 1 for result in results.values()):
        mean = geometric_mean(recovered)
        runs = f"{len(recovered)} of {len(ratios)} runs with a fault"
        yield f"- after/before in {runs}: {mean:.2f} (geometric mean)"


def _reasons(fault: str, result: Result) -> Iterator[str]:
    """Yield a line for each reason of repetitions, with how many jobs of each workload it had."""
    yield from (f"- {fault}: {text}" for text in result.complaints)
    for what, column in (("", "again"), ("UNEXPLAINED: ", "unexplained")):
        counts: dict[str, list[str]] = {}
        for name, verdict in result.verdicts.items():
            for reason, count in getattr(verdict, column).items():
                counts.setdefault(reason, []).append(f"{count} of {name}")
        yield from (f"- {fault}: {what}{reason}: {'; '.join(of)}" for reason, of in counts.items())


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if k in _TEXT else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
    return [
        "| "
        + " | ".join(
            cell.ljust(width) if k in _TEXT else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    ]
