"""Queries of a list of jobs: its filters as URL parameters, and its columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.api_client import model as answers
from zeke_queue.core import jsonb
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.web.ids import cursor_after, parse_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

TEXT_MAX: Final = 200
TASK_MAX: Final = 512
SIZES: Final = (25, 50, 100)

COLUMNS: Final[Mapping[str, str]] = {
    "created": "Created",
    "started": "Started",
    "ended": "Ended",
    "took": "Took",
    "attempt": "Attempt",
    "priority": "Priority",
    "key": "Singleton key",
    "payload": "Payload",
    "output": "Output",
}
"""Optional columns; the id, the task and the status are always shown."""

_CARRIED: Final = {"data": "payload", "output": "output"}
"""The columns that show payloads and outputs."""

USUAL_COLUMNS: Final = ("created", "took", "attempt", "payload")


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query of a list of jobs.

    Attributes:
        task: the queue; empty for all.
        since, until: instants in UTC in the format of a browser's input field; ``which`` parses them.
        size: number of jobs per page.
        wrong: the errors of invalid fields, which ``which`` ignores.
    """

    task: str = ""
    statuses: tuple[JobStatus, ...] = ()
    text: str = ""
    since: str = ""
    until: str = ""
    archived: bool = False
    columns: tuple[str, ...] = USUAL_COLUMNS
    size: int = SIZES[0]
    cursor: str = ""
    wrong: Mapping[str, str] | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether the query has filters."""
        return bool(self.task or self.statuses or self.text or self.since or self.until)

    def query(self, **other: Any) -> dict[str, Any]:
        """Return the URL parameters of this list, with replacements and without the cursor."""
        said: dict[str, Any] = {
            "task": self.task,
            "status": [status.value for status in self.statuses],
            "text": self.text,
            "from": self.since,
            "to": self.until,
            "archived": self.archived,
            "column": None if self.columns == USUAL_COLUMNS else list(self.columns) or "none",
            "size": None if self.size == SIZES[0] else self.size,
        }
        return said | other

    def cursor_after(self, job_id: UUID) -> str:
        """Return the cursor of the page after a job."""
        return cursor_after(job_id, self._filters())

    def job_query(self, limit: int | None = None) -> JobQuery:
        """Return the filter for the storage.

        Raises:
            ApiError: 422 if the cursor is not of this list.
        """
        return JobQuery(
            names=(self.task,) if self.task else (),
            status=self.statuses,
            archived=self.archived,
            before=parse_cursor(self.cursor, self._filters()) if self.cursor else None,
            created_from=_read(self.since),
            created_to=_read(self.until),
            text=self.text or None,
            without=(
                "meta",
                "history",
                *(part for part, name in _CARRIED.items() if name not in self.columns),
            ),
            limit=limit or self.size,
        )

    def whole(self) -> ListQuery:
        """Return the same query without the cursor."""
        return replace(self, cursor="")

    def _filters(self) -> dict[str, object]:
        return {
            "task": self.task,
            "status": sorted(self.statuses),
            "text": self.text,
            "from": self.since,
            "to": self.until,
            "archived": self.archived,
        }


def read(one: Callable[[str], str], several: Callable[[str], Sequence[str]]) -> ListQuery:
    """Parse a query from a URL or a form.

    Args:
        one: returns a parameter by name; empty if it is absent.
        several: returns all values of a name.
    """
    wrong: dict[str, str] = {}
    text, task = one("text").strip(), one("task")
    if len(text) > TEXT_MAX:
        wrong["text"] = f"Must be at most {TEXT_MAX} characters; the rest is ignored"
        text = text[:TEXT_MAX]
    if not jsonb.is_kept(text):
        wrong["text"] = "Must not contain characters that no job can contain"
        text = ""
    if len(task) > TASK_MAX or not jsonb.is_kept(task):
        wrong["task"] = "Must be the name of a queue"
        task = ""
    instants = {name: one(name).strip() for name in ("from", "to")}
    for name, given in instants.items():
        if given and _read(given) is None:
            wrong[name] = "Must be a point in time, such as 2026-01-31T12:00"
            instants[name] = ""
    known = {status.value: status for status in JobStatus}
    chosen = several("column")
    size = one("size")
    return ListQuery(
        task=task,
        statuses=tuple(known[name] for name in dict.fromkeys(several("status")) if name in known),
        text=text,
        since=instants["from"],
        until=instants["to"],
        archived=one("archived") == "1",
        columns=tuple(name for name in COLUMNS if name in chosen) if chosen else USUAL_COLUMNS,
        size=int(size) if size in map(str, SIZES) else SIZES[0],
        cursor=one("cursor")[:64],
        wrong=wrong,
    )


def _read(text: str) -> datetime | None:
    """Parse the instant of a field, in UTC if it has no zone; return None if it is invalid."""
    try:
        read = datetime.fromisoformat(text)
        read = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        answers.iso(read)
    except (ValueError, OverflowError):
        return None
    return read
