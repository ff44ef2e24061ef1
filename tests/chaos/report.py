"""The table: a line for each workload under each fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping, Sequence

    from tests.chaos.experiment import Result

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
    reasons: list[str] = []
    for fault, result in results.items():
        shown = fault
        speed = result.speeds
        recovery = "never" if speed.recovery is None else f"{speed.recovery:.1f} s"
        ratio = "–" if speed.ratio is None else f"{speed.ratio:.2f}"
        for name, verdict in result.verdicts.items():
            again, unexplained = verdict.again.total(), verdict.unexplained.total()
            numbers = (verdict.sent, verdict.once, again, verdict.lost, verdict.stuck, unexplained)
            lines.append([shown, name, *(f"{number}" for number in numbers), recovery, ratio])
            shown = recovery = ratio = ""
            reasons += _reasons(f"{fault}, {name}, again", verdict.again)
            reasons += _reasons(f"{fault}, {name}, UNEXPLAINED", verdict.unexplained)
    return "\n".join([*_aligned(lines), *(["", *reasons] if reasons else [])])


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


def _reasons(about: str, counts: Counter[str]) -> Iterable[str]:
    return (f"- {about}: {count} times: {reason}" for reason, count in counts.most_common())


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
