"""What has a target as a picture: every run a dot, the median a bar, the target a line.

Ratios are drawn unchanged, other figures as multiples of their targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure as Picture

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.report import Figure

_REACHED: Final = "#2f7d5b"
_MISSED: Final = "#b3452c"
_PLAIN: Final = "#5b6b7d"


def draw(figures: list[Figure], server: str, path: Path) -> None:
    """Write the picture in the format of the suffix of ``path``."""
    shown = [figure for figure in figures if figure.unit == "x" or figure.target is not None]
    picture = Picture(figsize=(8, 1.2 + 0.7 * max(1, len(shown))), layout="constrained")
    axes = picture.subplots()
    for row, figure in enumerate(reversed(shown)):
        colour = {None: _PLAIN, True: _REACHED, False: _MISSED}[figure.reached]
        one = 1.0 if figure.unit == "x" else figure.target or 1.0
        axes.barh(row, figure.median / one, height=0.5, color=colour, alpha=0.55)
        axes.plot(
            [run / one for run in figure.runs], [row] * len(figure.runs), "o", color=colour, markersize=4
        )
        if figure.target is not None:
            axes.plot([figure.target / one] * 2, [row - 0.36, row + 0.36], color="black", linewidth=2)
        said = f"{figure.median:.2f}" if figure.unit == "x" else f"{figure.median:.3g} {figure.unit}"
        axes.annotate(said, (0, row), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(shown)), [_label(figure) for figure in reversed(shown)])
    axes.set_xlim(left=0)
    limit = "ratio to a limit of the same run"
    if any(figure.unit != "x" for figure in shown):
        limit += ", or to the target"
    axes.set_xlabel(f"{limit} (line: target; dots: runs)")
    axes.set_title(server, loc="left", fontsize="medium")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _label(figure: Figure) -> str:
    if figure.target is None:
        return f"{figure.bench}: {figure.name}"
    sign = "≥" if figure.better == "more" else "≤"
    return f"{figure.bench}: {figure.name}\n{sign} {figure.target:g}"
