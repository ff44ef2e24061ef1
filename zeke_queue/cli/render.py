"""Output of the command line: lines and tables for users, JSON for programs.

On a terminal, long values are cut to its width, and the least important ones are left out. In a pipe nothing
is cut or wrapped, so that each line stays whole for grep and awk.
"""

from __future__ import annotations

import json
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from zeke_queue.model import JobState

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from zeke_queue.model import Job

COLOURS: Final[Mapping[JobState, str]] = {
    JobState.CREATED: "cyan",
    JobState.RETRY: "yellow",
    JobState.ACTIVE: "blue",
    JobState.COMPLETED: "green",
    JobState.EXPIRED: "magenta",
    JobState.CANCELLED: "bright_black",
    JobState.FAILED: "red",
}

NOTHING: Final = "–"
_GAP: Final = "  "
_PIPE_WIDTH: Final = 10_000
_LEAST_READABLE: Final = 8
_FRAMES: Final = 100_000
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: the heading.
        right: whether it is aligned to the right, as numbers are.
        least: characters to which it may be cut on a narrow terminal; 0 if it may be left out, None if it
            must stay whole.
    """

    title: str
    right: bool = False
    least: int | None = None


def console() -> Console:
    """Return a console on standard output, without a limit on its width if that is not a terminal."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def plain(value: Any) -> Any:
    """Return a value of this package in JSON's types; nested values are not converted.

    Raises:
        TypeError: its type has no JSON form here.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, set | frozenset):
        return list(cast("Iterable[Any]", value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a value of this package as complete JSON text, for any row."""
    with _any_size():
        return json.dumps(value, default=plain, indent=indent, ensure_ascii=False)


@contextmanager
def _any_size() -> Generator[None]:
    """Lift Python's limits on the length of integers and the depth of nesting, since rows have none."""
    digits, levels = sys.get_int_max_str_digits(), sys.getrecursionlimit()
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(_FRAMES)
    try:
        yield
    finally:
        sys.setrecursionlimit(levels)
        sys.set_int_max_str_digits(digits)


def job_value(job: Job) -> dict[str, Any]:
    """Return a job as ``--json`` prints it: its fields, and the status for clients."""
    return {**plain(job), "status": job.status.value}


def state_text(state: JobState) -> Text:
    """Return a state in its colour."""
    return Text(state.value, style=COLOURS[state])


def moment(instant: datetime | None) -> str:
    """Return an instant as text, in UTC to the second."""
    return instant.strftime("%Y-%m-%d %H:%M:%S") if instant else NOTHING


def length(seconds: float) -> str:
    """Return a duration as text in its largest unit: ``3 min``."""
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    return f"{max(0, int(seconds // size))} {unit}"


def ago(instant: datetime | None, now: datetime) -> str:
    """Return the age of an instant as text."""
    return length((now - instant).total_seconds()) if instant else NOTHING


def cut(value: Any, width: int) -> str:
    """Return a value as one line of JSON, at most ``width`` characters."""
    if value is None:
        return NOTHING
    text = harmless(value if isinstance(value, str) else json_text(value))
    return text if len(text) <= width else text[: width - 1] + "…"


def harmless(text: str) -> str:
    """Replace line breaks and control characters for terminals, since a job's texts are untrusted."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "·" for char in text)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table that is at most as wide as the terminal."""
    out = console()
    cells = [[cell if isinstance(cell, Text) else Text(harmless(str(cell))) for cell in row] for row in rows]
    widths = [
        max([cell_len(column.title), *(cell_len(row[at].plain) for row in cells)])
        for at, column in enumerate(columns)
    ]
    _fit(widths, columns, out.width)
    heading = [Text(column.title, style="bold") for column in columns]
    for row in [heading, *cells]:
        parts = [
            _sized(cell, width, right=column.right)
            for cell, width, column in zip(row, widths, columns, strict=True)
            if width
        ]
        line = Text(_GAP).join(parts)
        line.rstrip()
        out.print(line, no_wrap=True, overflow="ignore", crop=False)


def _fit(widths: list[int], columns: Sequence[Column], room: int) -> None:
    """Narrow a table in place, from its last column to its first, as far as needed or possible."""

    def excess() -> int:
        shown = [width for width in widths if width]
        return sum(shown) + len(_GAP) * (len(shown) - 1) - room

    for at in reversed(range(len(columns))):
        least = columns[at].least
        if (over := excess()) > 0 and least is not None:
            left = max(widths[at] - over, least)
            widths[at] = left if left >= max(least, _LEAST_READABLE) or left == least else least


def _sized(cell: Text, width: int, *, right: bool) -> Text:
    missing = width - cell_len(cell.plain)
    if missing < 0:
        return Text(set_cell_size(cell.plain, width - 1) + "…", style=cell.style)
    return Text(" " * missing) + cell if right else cell + Text(" " * missing)


def paragraph(text: str, first: str, rest: str, width: int) -> Iterator[str]:
    """Yield text as lines of a width, the first one after ``first``, the others after ``rest``."""
    lines = textwrap.wrap(
        text, max(width - len(first), _LEAST_READABLE), break_long_words=False, break_on_hyphens=False
    ) or [""]
    yield first + lines[0]
    yield from (rest + line for line in lines[1:])


def facts_lines(facts: Mapping[str, Any]) -> Iterable[str]:
    """Return named values, one per line; those that are None are left out."""
    width = max(map(len, facts), default=0)
    return [
        f"  {name:<{width}}  {harmless(str(value))}" for name, value in facts.items() if value is not None
    ]
