"""Figures, their targets, and how they are shown and stored."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
WHOLE = 100
"""Numbers from here on are shown without decimals."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity over several runs; the median is what counts.

    Attributes:
        target: the bound that the median should keep, if there is one, on the side that ``better`` names.
    """

    bench: str
    name: str
    unit: str
    runs: tuple[float, ...]
    target: float | None = None
    better: Literal["more", "less"] = "more"

    @property
    def median(self) -> float:
        """The median of the runs."""
        return statistics.median(self.runs)

    @property
    def reached(self) -> bool | None:
        """Whether the median keeps its target; None without one."""
        if self.target is None:
            return None
        return self.median >= self.target if self.better == "more" else self.median <= self.target


def ratio(
    bench: str,
    name: str,
    above: Figure,
    below: Figure,
    *,
    target: float | None = None,
    better: Literal["more", "less"] = "more",
) -> Figure:
    """Make the figure of two others' ratio, run by run: a slow minute of the machine is in both."""
    pairs = zip(above.runs, below.runs, strict=True)
    return Figure(bench, name, "x", tuple(a / b for a, b in pairs), target, better)


def in_turn(names: list[str], run: int) -> list[str]:
    """Return the names in the order of a run: each begins with another, so that none is always first."""
    first = run % len(names)
    return names[first:] + names[:first]


def machine() -> dict[str, str | int | None]:
    """Return a description of the machine."""
    return {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}


def show(figures: list[Figure], server: str) -> None:
    """Print a table of medians, with the range of the runs and the targets."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{server}; {machine()}", title_justify="left")
    for column in ("bench", "figure"):
        table.add_column(column)
    for column in ("median", "least", "most", "runs", "target"):
        table.add_column(column, justify="right")
    table.add_column("")
    for figure in figures:
        sign = "≥" if figure.better == "more" else "≤"
        said = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[figure.reached]
        table.add_row(
            figure.bench,
            figure.name,
            f"{_number(figure.median)} {figure.unit}",
            _number(min(figure.runs)),
            _number(max(figure.runs)),
            str(len(figure.runs)),
            "" if figure.target is None else f"{sign} {figure.target:g}",
            said,
        )
    Console(width=140).print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= WHOLE else f"{value:.3g}"


def keep(figures: list[Figure], server: str, path: Path) -> None:
    """Write the figures as JSON, every run of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(figure), "median": figure.median, "reached": figure.reached} for figure in figures]
    document = {"machine": machine(), "server": server, "figures": rows}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
