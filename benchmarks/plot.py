"""The ratios of a run as a picture: every run a dot, the median a bar, the target a line."""

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
    """Write the picture; the ending of ``path`` says in which format."""
    ratios = [figure for figure in figures if figure.unit == "x"]
    picture = Picture(figsize=(8, 1.2 + 0.7 * max(1, len(ratios))), layout="constrained")
    axes = picture.subplots()
    for row, figure in enumerate(reversed(ratios)):
        colour = {None: _PLAIN, True: _REACHED, False: _MISSED}[figure.reached]
        axes.barh(row, figure.median, height=0.5, color=colour, alpha=0.55)
        axes.plot(figure.runs, [row] * len(figure.runs), "o", color=colour, markersize=4)
        if figure.target is not None:
            axes.plot([figure.target] * 2, [row - 0.36, row + 0.36], color="black", linewidth=2)
        axes.annotate(
            f"{figure.median:.2f}", (0, row), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(ratios)), [_label(figure) for figure in reversed(ratios)])
    axes.set_xlim(left=0)
    axes.set_xlabel("ratio to a limit of the same run (line: target; dots: runs)")
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
