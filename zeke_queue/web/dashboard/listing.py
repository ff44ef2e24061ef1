"""What a list of jobs is asked for: its filters, as they stand in an address, and its columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.model import JobFilter, RunStatus
from zeke_queue.web import shapes
from zeke_queue.web.errors import ApiError
from zeke_queue.web.presenter import STATES_OF
from zeke_queue.web.rest.ids import cursor_after, parse_cursor

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
"""Columns that can be chosen; the id, the task and the status are always there."""

_CARRIED: Final = {"data": "payload", "output": "output"}
"""The columns in which what jobs carry is shown."""

USUAL_COLUMNS: Final = ("created", "took", "attempt", "payload")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list of jobs is asked for.

    Attributes:
        task: the queue; empty for all.
        since, until: instants in UTC as a browser's field writes them, for people; ``which`` has them read.
        size: how many jobs a page has.
        wrong: what of it can't be read, by field; that part is left out of ``which``.
    """

    task: str = ""
    statuses: tuple[RunStatus, ...] = ()
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
        """Whether it leaves out any jobs."""
        return bool(self.task or self.statuses or self.text or self.since or self.until)

    def query(self, **other: Any) -> dict[str, Any]:
        """Return the parameters of the address of this list, some replaced; without its place in it."""
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
        """Return the cursor of the page behind a job."""
        return cursor_after(job_id, self._filters())

    def which(self, limit: int | None = None) -> JobFilter:
        """Return the filter.

        Raises:
            ApiError: 422: the cursor is none of this list.
        """
        return JobFilter(
            names=(self.task,) if self.task else (),
            states=tuple(state for status in self.statuses for state in STATES_OF[status]),
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

    def whole(self) -> Asked:
        """Return the same list from its begin."""
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


def read(one: Callable[[str], str], several: Callable[[str], Sequence[str]]) -> Asked:
    """Read what a list is asked for from an address or a form.

    Args:
        one: returns a parameter by its name, empty if it is absent.
        several: returns all of one name.
    """
    wrong: dict[str, str] = {}
    text, task = one("text").strip(), one("task")
    if len(text) > TEXT_MAX:
        wrong["text"] = f"At most {TEXT_MAX} characters can be looked for; these are the first ones"
        text = text[:TEXT_MAX]
    if "\0" in text or not _is_kept(text):
        wrong["text"] = "No job can contain that"
        text = ""
    if len(task) > TASK_MAX or not _is_kept(task):
        wrong["task"] = "No queue is called that"
        task = ""
    instants = {name: one(name).strip() for name in ("from", "to")}
    for name, given in instants.items():
        if given and _read(given) is None:
            wrong[name] = "This is no point in time; write it as 2026-01-31T12:00"
            instants[name] = ""
    known = {status.value: status for status in RunStatus}
    chosen = several("column")
    size = one("size")
    return Asked(
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
    """Return an instant that a field says, in UTC where it names no zone; None if it is none."""
    try:
        read = datetime.fromisoformat(text)
        read = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        shapes.iso(read)
    except (ValueError, OverflowError):
        return None
    return read


def _is_kept(text: str) -> bool:
    return "\0" not in text and all(not 0xD800 <= ord(letter) < 0xE000 for letter in text)  # noqa: PLR2004 - halves of pairs


def no_such_page() -> ApiError:
    """Return the error for a place in a list that is gone."""
    return ApiError(404, "The job behind which this page began is gone; begin at the first page")
