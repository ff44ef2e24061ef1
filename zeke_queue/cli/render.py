"""Output of the command line: lines and tables for users, JSON for programs.

On a terminal, long values are cut to its width. In a pipe nothing is cut or wrapped, so that each line stays
whole for grep and awk. Nothing that others wrote can control the terminal (``zeke_queue.system.terminal``).
"""

from __future__ import annotations

import json
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from zeke_queue.core.status import output_of
from zeke_queue.model import JobStatus
from zeke_queue.system.terminal import LINES, escaped, harmless

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from rich.console import ConsoleOptions, RenderableType
    from rich.table import Column

    from zeke_queue.model import Job

COLOURS: Final[Mapping[JobStatus, str]] = {
    JobStatus.QUEUED: "cyan",
    JobStatus.EXECUTING: "blue",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "bright_black",
}

NOTHING: Final = "–"
_GAP: Final = 2
_PIPE_WIDTH: Final = 10_000
_LEAST_READABLE: Final = 8
_FRAMES: Final = 100_000
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class SafeConsole(Console):
    """A console that prints no control characters but its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, each made harmless."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(harmless(part.text, LINES), part.style)


def console() -> Console:
    """Return a console on standard output, without a limit on its width if that is not a terminal."""
    made = SafeConsole(highlight=False)
    return made if made.is_terminal else SafeConsole(highlight=False, width=_PIPE_WIDTH)


def echo(text: str, *, err: bool = False, fg: str | None = None) -> None:
    """Print lines on standard output, or with ``err`` on standard error, without control characters."""
    typer.secho(harmless(text, LINES), err=err, fg=fg)  # noqa: TID251 - this is where they are removed


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
        return escaped(json.dumps(value, default=plain, indent=indent, ensure_ascii=False))


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
    """Return a job as ``--json`` prints it: its status, and its fields."""
    fields = plain(replace(job, output=output_of(job)))
    return {"id": fields.pop("id"), "name": fields.pop("name"), "status": job.status.value, **fields}


def status_text(status: JobStatus) -> Text:
    """Return a status in its colour."""
    return Text(status.value, style=COLOURS[status])


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


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table, a line for each row.

    Args:
        columns: on a narrow terminal those with a minimum width are cut, down to that; the others stay whole.
        rows: the cells of each row, as text or values.
    """
    out = console()
    cells = [[cell if isinstance(cell, Text) else Text(harmless(str(cell))) for cell in row] for row in rows]
    _fit(columns, cells, out.width)
    table = Table(*columns, box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for row in cells:
        table.add_row(*row)
    for parts in Segment.split_lines(out.render(table)):
        line = Text.assemble(*((part.text, part.style or "") for part in parts))
        line.rstrip()
        out.print(line, no_wrap=True, overflow="ignore", crop=False)


def _fit(columns: Sequence[Column], cells: Sequence[Sequence[Text]], room: int) -> None:
    """Make each column as wide as its longest cell, and on a narrow terminal cut from the last to the first.

    Rich's own fitting narrows the widest columns first, even below their minimum, and then widens them.
    """
    longest = [
        max([cell_len(str(column.header)), *(row[at].cell_len for row in cells)])
        for at, column in enumerate(columns)
    ]
    excess = max(0, sum(longest) + _GAP * (len(columns) - 1) - room)
    for column, width in reversed(list(zip(columns, longest, strict=True))):
        least = width if column.min_width is None else min(column.min_width, width)
        fitted = max(width - excess, least)
        excess -= width - fitted
        column.min_width = column.max_width = fitted
        column.no_wrap = True


def paragraph(text: str, first: str, rest: str, width: int) -> Iterator[str]:
    """Yield text as lines of a width, the first one after ``first``, the others after ``rest``."""
    lines = textwrap.wrap(
        text, max(width - len(first), _LEAST_READABLE), break_long_words=False, break_on_hyphens=False
    ) or [""]
    yield first + lines[0]
    yield from (rest + line for line in lines[1:])


def named_lines(named: Mapping[str, Any]) -> Iterable[str]:
    """Return named values, one per line; those that are None are left out."""
    width = max(map(len, named), default=0)
    return [
        f"  {name:<{width}}  {harmless(str(value))}" for name, value in named.items() if value is not None
    ]
