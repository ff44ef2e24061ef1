"""Progress and log lines reach the watchers of their job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.model import STATUS_OF, RowState
from zeke_sim.history.events import Answered, Notified, Received
from zeke_sim.history.state import Broken
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import JobEvent
    from zeke_sim.history.state import RunState


_WAITED: Final = frozenset({RowState.COMPLETED, RowState.FAILED})


class _Watches:
    """The state of this property.

    Attributes:
        received: the lines that each watch has received, in order.
        read: the lines of each job that were read, by whichever process.
        ends: for each job, the watches that have received its end, with the attempt and time of that.
    """

    def __init__(self) -> None:
        self.received: dict[int, list[int]] = {}
        self.read: dict[UUID, dict[int, JobEvent]] = {}
        self.ends: dict[UUID, dict[int, tuple[int, datetime]]] = {}


@holds("watchers receive each line once", Received, Notified, Answered, verbs=("events",))
def watchers_receive_each_line_once(event: Received | Notified | Answered, state: RunState) -> None:
    """A watcher of a job receives its progress and log lines in order, once each.

    Those of an attempt that were stored before it completed or failed precede this status. What else ends an
    attempt does not wait for lines that are being stored.
    """
    watches = state.of("watches of lines", _Watches)
    if isinstance(event, Received):
        received = watches.received.setdefault(event.watch, [])
        if received and event.seq <= received[-1]:
            raise Broken(f"line {event.seq} came after line {received[-1]}", job=event.job)
        received.append(event.seq)
    elif isinstance(event, Notified):
        for change in state.lives[event.job].changes:
            row = change.after
            if row is None or row.state not in _WAITED or row.completed_on is None:
                continue
            if (row.attempt, STATUS_OF[row.state]) == (event.attempt, event.status):
                watches.ends.setdefault(event.job, {})[event.watch] = (row.attempt, row.completed_on)
        _check(event.job, watches, state)
    elif event.outcome == "ok":
        for line in event.result:
            watches.read.setdefault(line.job_id, {})[line.seq] = line
        for job in {line.job_id for line in event.result}:
            _check(job, watches, state)


def _check(job: UUID, watches: _Watches, state: RunState) -> None:
    """Check that watches of an ended job have received all lines that are known to precede its end."""
    if any(change.table == "archive" and change.after is None for change in state.lives[job].changes):
        return  # it was purged, and another job may have its id
    lines = watches.read.get(job, {})
    for watch, (attempt, end) in watches.ends.get(job, {}).items():
        received = watches.received.get(watch, ())
        for line in lines.values():
            stored = line.attempt == attempt and line.at is not None and line.at < end
            if stored and line.seq not in received:
                raise Broken(f"line {line.seq} precedes the end, and watch {watch} has missed it", job=job)
