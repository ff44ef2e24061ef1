"""Geometry of charts: shapes are SVG, stretched to the available space, and labels are HTML.

Every chart is 600 by 120 units, with the first value at the left edge and the largest at the top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 600.0
HEIGHT: Final = 120.0
_GAP: Final = 0.22
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_LEAST: Final = 1.5


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: ``kind`` is the kind of value, ``says`` the description."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    says: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line in segments between missing values, each the ``d`` of a path. ``last`` is its last point."""

    kind: str
    pieces: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]


def ceiling(values: Sequence[float | None], least: float = 1.0) -> float:
    """Return a round number that no value exceeds, for the top of a chart.

    >>> [ceiling(values) for values in ([], [3], [12], [0.2, None, 47], [1001])]
    [1.0, 5.0, 20.0, 50.0, 2000.0]
    """
    top = max((value for value in values if value is not None), default=0.0)
    if top <= least:
        return least
    size = 10.0 ** math.floor(math.log10(top))
    return next(step * size for step in _STEPS if top <= step * size * (1 + 1e-9))


def bars(stacks: Sequence[Sequence[tuple[str, float]]], says: Sequence[str], top: float) -> tuple[Bar, ...]:
    """Draw stacked bars, the first part of each at the bottom.

    Args:
        stacks: the parts at each position, as kind and value.
        says: the description of each position.
        top: the value at the top of the chart.
    """
    if not stacks:
        return ()
    slot = WIDTH / len(stacks)
    drawn: list[Bar] = []
    for place, (parts, said) in enumerate(zip(stacks, says, strict=True)):
        floor = HEIGHT
        for kind, value in parts:
            if value <= 0:
                continue
            # A small value must be visible next to large ones.
            height = max(_LEAST, value / top * HEIGHT)
            floor -= height
            x = place * slot + slot * _GAP / 2
            drawn.append(Bar(_r(x), _r(floor), _r(slot * (1 - _GAP)), _r(height), kind, said))
    return tuple(drawn)


def line(kind: str, values: Sequence[float | None], top: float, places: int | None = None) -> Line:
    """Draw a line through values at equal distances, with gaps for missing ones.

    Args:
        kind: the kind of value.
        values: from left to right.
        top: the value at the top of the chart.
        places: the maximum number of values; the last value is at the right edge.
    """
    count = places or len(values)
    slot = WIDTH / max(1, count)
    begin = count - len(values)
    pieces: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values, begin):
        if value is None:
            pieces.append([])
            continue
        pieces[-1].append((_r((place + 0.5) * slot), _r(HEIGHT - min(1.0, value / top) * HEIGHT)))
    drawn = tuple("M" + " L".join(f"{x:g},{y:g}" for x, y in piece) for piece in pieces if len(piece) > 1)
    return Line(kind, drawn, tuple(piece[0] for piece in pieces if len(piece) == 1))


def _r(value: float) -> float:
    return round(value, 2)
