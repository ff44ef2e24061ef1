"""Progress and log lines can be read as long as their job is kept, and reach its watchers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from zeke_queue.core.event_limits import ATTEMPTS_KEPT, of_each
from zeke_queue.model import STATUS_OF, RowState
from zeke_sim.history.events import Answered, Notified, Received, Wrote
from zeke_sim.history.rows import text_of
from zeke_sim.history.state import Broken
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import JobEvent
    from zeke_sim.history.state import RunState

    _Line = tuple[UUID, int, str, str]

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


class _Copies:
    """The state of this property, by job, attempt, kind and text of lines.

    Attributes:
        written: how often a handler wrote each line.
        texts: the line in each row that was read.
        read: the rows in which each line was read.
        rows: when each row was first read, by job.
        stored: when the first write of each line was answered, by job.
    """

    def __init__(self) -> None:
        self.written: Counter[_Line] = Counter()
        self.texts: dict[int, _Line] = {}
        self.read: defaultdict[_Line, set[int]] = defaultdict(set)
        self.rows: defaultdict[UUID, dict[int, float]] = defaultdict(dict)
        self.stored: defaultdict[UUID, dict[_Line, float]] = defaultdict(dict)


@holds("lines are read as often as written", Wrote, Answered, verbs=("append_events", "events"))
def lines_are_read_as_often_as_written(event: Wrote | Answered, state: RunState) -> None:
    """A line that a handler wrote once is read once, however often its write had no answer.

    Once its write was answered or it was read, it can be read until its job is purged, or has begun
    ``ATTEMPTS_KEPT`` more attempts. Exempt are jobs that were purged: a late write of their lines stores them
    again.
    """
    copies = state.of("copies of lines", _Copies)
    if isinstance(event, Wrote):
        copies.written[event.job, event.attempt, event.kind, event.text] += 1
    elif event.outcome != "ok":
        return
    elif event.verb == "append_events":
        for line in state.calls[event.call].invoked.args["events"]:
            copies.stored[line.job_id].setdefault(_line(line), event.at)
    else:
        for line in event.result:
            if line.seq not in copies.texts:
                _read(line, copies, state)
        _find(event, copies, state)


def _line(event: JobEvent) -> _Line:
    return event.job_id, event.attempt, event.kind, text_of(event.kind, json.loads(event.data))


def _read(event: JobEvent, copies: _Copies, state: RunState) -> None:
    line = copies.texts[event.seq] = _line(event)
    copies.read[line].add(event.seq)
    # The worker's own lines, and shortened ones, are not those that a handler wrote.
    if 0 < copies.written[line] < len(copies.read[line]) and not _is_purged(event.job_id, state):
        raise Broken(
            f"{event.kind} {line[-1]!r} of attempt {event.attempt} was written {copies.written[line]} times,"
            f" and is read in the rows {sorted(copies.read[line])}",
            job=event.job_id,
        )


def _find(event: Answered, copies: _Copies, state: RunState) -> None:
    """Check that reads of jobs' lines have those that had been read before, or whose writes were answered.

    A slow answer may lack lines of a faster one.
    """
    call = state.calls[event.call].invoked
    found: defaultdict[UUID, set[tuple[str, str]]] = defaultdict(set)
    for line in event.result:
        found[line.job_id].add(copies.texts[line.seq][2:])
    for job, after in call.args["after"].items():
        seqs = {line.seq for line in event.result if line.job_id == job}
        if len(seqs) >= of_each(len(call.args["after"])) or _is_purged(job, state):
            continue
        kept = max(state.lives[job].claims, default=0) - ATTEMPTS_KEPT
        for seq, at in copies.rows[job].items():
            if seq > after and at <= call.at and seq not in seqs and copies.texts[seq][1] > kept:
                raise Broken(f"line {seq} was read before, and is not there any more", job=job, since=call.at)
        if after:
            continue
        for line, at in copies.stored[job].items():
            # "late lines stay those of their attempt" reports a line that is read with another attempt.
            if at < call.at and line[2:] not in found[job] and line[1] > kept:
                raise Broken(
                    f"{line[2]} {line[-1]!r} of attempt {line[1]} was stored at {at:.3f} s, and is not read",
                    job=job,
                    since=at,
                )
    for line in event.result:
        copies.rows[line.job_id].setdefault(line.seq, event.at)


def _is_purged(job: UUID, state: RunState) -> bool:
    """Return whether a job was ever purged, so that another one may have its id."""
    return any(change.table == "archive" and change.after is None for change in state.lives[job].changes)


def _check(job: UUID, watches: _Watches, state: RunState) -> None:
    """Check that watches of an ended job have received all lines that are known to precede its end."""
    if _is_purged(job, state):
        return
    lines = watches.read.get(job, {})
    for watch, (attempt, end) in watches.ends.get(job, {}).items():
        received = watches.received.get(watch, ())
        for line in lines.values():
            stored = line.attempt == attempt and line.at is not None and line.at < end
            if stored and line.seq not in received:
                raise Broken(f"line {line.seq} precedes the end, and watch {watch} has missed it", job=job)
