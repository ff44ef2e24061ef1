"""How the command line shows things: tables and colours for people, JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zeke_queue.model import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zeke_queue.model import Job

COLOURS = {
    JobState.CREATED: "cyan",
    JobState.RETRY: "yellow",
    JobState.ACTIVE: "blue",
    JobState.COMPLETED: "green",
    JobState.EXPIRED: "magenta",
    JobState.CANCELLED: "bright_black",
    JobState.FAILED: "red",
}


def console() -> Console:
    """Return a console on standard output."""
    return Console(soft_wrap=True)


def plain(value: Any) -> Any:
    """Turn our values into what JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(part) for name, part in asdict(value).items()}
    if isinstance(value, dict):
        return {str(plain(key)): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if isinstance(value, Enum):
        return value.value
    return (
        value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value
    )


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))  # noqa: T201 - the command's output


def job_value(job: Job) -> dict[str, Any]:
    """Return a job as ``--json`` prints it: its fields, and the status that clients are told."""
    return {**plain(job), "status": job.status.value}


def state_text(state: JobState) -> Text:
    """Return a state in its colour."""
    return Text(state.value, style=COLOURS[state])


def moment(instant: datetime | None) -> str:
    """Show an instant in UTC to the second."""
    return instant.strftime("%Y-%m-%d %H:%M:%S") if instant else "–"


def cut(value: Any, width: int) -> str:
    """Show a value as one line of JSON, at most ``width`` characters."""
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else text[: width - 1] + "…"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """Make a table; columns whose name begins with ``#`` are numbers and stand to the right."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        number = column.startswith("#")
        made.add_column(column.lstrip("#"), justify="right" if number else "left", no_wrap=number)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
    return made
