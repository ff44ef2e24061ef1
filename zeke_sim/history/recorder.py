"""Records the history; rows are observed from outside the store, since a faulty store would hide errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from zeke_queue.model import RowState
from zeke_sim.history.events import Change, Image, QueueRow, ScheduleRow, Violation, WorkerRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import QueueSettings, WorkerInfo
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.store import MemoryStorage
    from zeke_queue.storage.memory.tables import Plan
    from zeke_queue.system.clock import Clock
    from zeke_sim.history.events import Event

K = TypeVar("K")
V = TypeVar("V")

_PLACE: Final = re.compile(r" at 0x[0-9a-f]+")
"""A memory address in the default ``repr`` of an object."""

_COLUMNS: Final = attrgetter(
    *("history" if name == "failures" else name for name in Image._fields if name != "superseded")
)
_EXPIRE_IN: Final = Image._fields.index("expire_in")
_HISTORY: Final = Image._fields.index("superseded")


class Recorder:
    """Records the history of a run.

    Args:
        time: returns the true time, in seconds since the run began.
        see: checks each event; an exception that it raises ends the run.
        stop: called to end the run after a violation.

    Attributes:
        violation: the violated property; None until then.
        call: the number of the call that is being applied; None between calls.
        commit: the number of the step that is being applied.
    """

    def __init__(
        self, time: Callable[[], float], see: Callable[[Event], None], stop: Callable[[], None]
    ) -> None:
        self._time = time
        self._see = see
        self._stop = stop
        self.events: list[Event] = []
        self.violation: Violation | None = None
        self.call: int | None = None
        self.commit = 0
        self.closed = False
        self._rows: tuple[Rows, ...] = ()
        self._now: Callable[[], datetime]

    def compare(self) -> None:
        """Record rows that were modified in place, which a correct store never does."""
        for rows in self._rows:
            rows.compare()

    def add(self, event: Event) -> None:
        """Record an event and check it."""
        if self.closed:
            return
        self.events.append(event)
        try:
            self._see(event)
        except Violation as violation:
            self.fail(violation)

    def fail(self, violation: Violation) -> None:
        """Record a violation and end the run."""
        if self.closed:
            return
        self.violation = violation
        self.closed = True
        self._stop()

    def watch(self, store: MemoryStorage, clock: Clock) -> None:
        """Observe every row of a store from now on."""
        tables, self._now = store.tables, clock.now
        tables.jobs = jobs = Rows(self, "job")
        tables.archive = archive = Rows(self, "archive")
        self._rows = (jobs, archive)
        tables.workers = Watched(self._worker_row)
        tables.queues = Watched(self._queue_row)
        tables.plans = Watched(self._plan_row)

    def _worker_row(self, key: UUID, before: WorkerInfo | None, after: WorkerInfo | None) -> None:
        row = after or before
        if row is not None:
            self.add(WorkerRow(self._time(), self._now(), key, row.beat_on, row.lease, after is None))

    def _queue_row(self, key: str, before: QueueSettings | None, after: QueueSettings | None) -> None:
        if after is not None and after != before:
            limit, paused_on, shared = after.concurrency_limit, after.paused_on, after.limited_with
            self.add(QueueRow(self._time(), self._now(), key, limit, paused_on, shared))

    def _plan_row(self, key: str, before: Plan | None, after: Plan | None) -> None:
        was, is_now = before and before.schedule, after and after.schedule
        declared, declared_before = after and after.declared, before and before.declared
        self.add(ScheduleRow(self._time(), self._now(), key, was, is_now, declared, declared_before))

    def row(self, table: Literal["job", "archive"], before: Image | None, row: Row | None) -> Image | None:
        """Record the change of a job's row, if any, and return the row's current image."""
        after = None if row is None else image(row)
        if before != after:
            self.add(Change(self._time(), self._now(), table, before, after, self.call, self.commit))
        return after


def image(row: Row) -> Image:
    """Return an image of a row's current values."""
    columns = _COLUMNS(row)
    return Image._make(
        (
            *columns[:_EXPIRE_IN],
            columns[_EXPIRE_IN].total_seconds(),
            *columns[_EXPIRE_IN + 1 : _HISTORY],
            row.state is RowState.FAILED and row.output is not None and '"superseded_by"' in row.output,
            len(columns[_HISTORY]),
            *columns[_HISTORY + 1 :],
        )
    )


class Rows(dict[Any, Any]):
    """A table of jobs by id that records every insertion and deletion."""

    def __init__(self, recorder: Recorder, table: Literal["job", "archive"]) -> None:
        super().__init__()
        self._recorder = recorder
        self._table: Literal["job", "archive"] = table
        self._images: dict[UUID, Image | None] = {}

    def __setitem__(self, key: UUID, row: Row) -> None:
        super().__setitem__(key, row)
        self._images[key] = self._recorder.row(self._table, self._images.get(key), row)

    def __delitem__(self, key: UUID) -> None:
        super().__delitem__(key)
        self._recorder.row(self._table, self._images.pop(key, None), None)

    def pop(self, key: UUID, *default: Any) -> Any:
        """Take a row out."""
        if key in self:
            self._recorder.row(self._table, self._images.pop(key, None), None)
        return super().pop(key, *default)

    def compare(self) -> None:
        """Record rows that were modified in place, which a correct store never does."""
        for key, row in list(self.items()):
            self._images[key] = self._recorder.row(self._table, self._images.get(key), row)


class Watched(dict[K, V]):
    """A table of immutable rows that reports every insertion and deletion."""

    def __init__(self, record: Callable[[K, V | None, V | None], None]) -> None:
        super().__init__()
        self._record = record

    def __setitem__(self, key: K, value: V) -> None:
        before = self.get(key)
        super().__setitem__(key, value)
        self._record(key, before, value)

    def __delitem__(self, key: K) -> None:
        before = self[key]
        super().__delitem__(key)
        self._record(key, before, None)

    def pop(self, key: K, *default: Any) -> Any:
        """Take a row out."""
        before = self.get(key)
        value = super().pop(key, *default)
        if before is not None:
            self._record(key, before, None)
        return value


def lines(events: Iterable[Event]) -> Iterable[str]:
    """Format a history as text, one line per event, to compare runs across Python versions."""
    for event in events:
        line = f"{type(event).__name__}{tuple(event)!r}"
        if "traceback" in line:  # tracebacks differ between Python versions
            line = f"{type(event).__name__}{_untraced(tuple(event))!r}"
        yield _PLACE.sub(" at 0x…", line) if " at 0x" in line else line


def _untraced(value: Any) -> Any:
    """Return a value without its tracebacks, for comparison."""
    if isinstance(value, str) and value.startswith("{") and '"traceback"' in value:
        return _untraced(json.loads(value))
    if isinstance(value, Mapping):
        members = cast("Mapping[Any, Any]", value)
        return {key: "…" if key == "traceback" else _untraced(one) for key, one in members.items()}
    if isinstance(value, tuple | list):
        return [_untraced(one) for one in cast("Iterable[Any]", value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _untraced(getattr(value, one.name)) for one in fields(value)}
    return value
