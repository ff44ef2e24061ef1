"""How long a storage keeps workers, and which progress and log lines processes store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from zeke_queue.core import jsonb
from zeke_sim.history.events import Answered, Invoked, Lived, WorkerRow
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.model import JobEvent
    from zeke_sim.history.state import RunState

KEPT: Final = timedelta(days=1)
"""How long a worker is kept after its lease has ended, unless it left."""

RECOVERS: Final = 8.0
"""Seconds within which a worker repeats a failed call after the storage has recovered."""


@holds("a worker is registered until it leaves", WorkerRow, Invoked, Answered, verbs=("deregister",))
def a_worker_is_registered_until_it_leaves(event: WorkerRow | Invoked | Answered, state: RunState) -> None:
    """A worker is deleted when it leaves, or a day after its lease has ended."""
    left = state.of("left", set["UUID"])
    if isinstance(event, Invoked):
        left.add(event.args["worker"])
        return
    if isinstance(event, Answered):
        goodbye = state.calls[event.call].invoked
        worker, rows = goodbye.args["worker"], state.heartbeats.get(goodbye.args["worker"], [])
        # A heartbeat in transit may arrive afterwards.
        known = rows and rows[-1].at <= goodbye.at and not any(row.gone for row in rows)
        if event.outcome == "ok" and known:
            raise Broken(f"worker {worker} has left, and is still known", since=event.at)
        return
    if not event.gone or event.worker in left:
        return
    rows = state.heartbeats[event.worker]
    last = max((row.beat_on for row in rows if row.beat_on is not None and not row.gone), default=None)
    if last is not None and event.now < last + timedelta(seconds=event.lease) + KEPT - timedelta(minutes=1):
        raise Broken(
            f"worker {event.worker} is deleted, and sent a heartbeat at {last}; it has not left",
            since=event.at,
        )


class _Lines:
    """The state of these properties: lines that were sent, or must be sent again.

    Attributes:
        sent: each line, with its text as it is stored.
        dropped: when the storing of lines failed, by node.
    """

    def __init__(self) -> None:
        self.sent: set[tuple[UUID, int, str, str]] = set()
        self.dropped: dict[str, dict[tuple[UUID, int, str, str], float]] = {}


def _key(line: JobEvent) -> tuple[UUID, int, str, str]:
    return line.job_id, line.attempt, line.kind, line.data


@holds("unstored events are sent again", Invoked, Answered, Lived, End, verbs=("append_events", "heartbeat"))
def unstored_events_are_sent_again(event: Invoked | Answered | Lived | End, state: RunState) -> None:
    """Progress and log lines that could not be stored are sent again when the storage is reachable."""
    dropped = state.of("lines", _Lines).dropped
    if isinstance(event, End):
        for node, lines in dropped.items():
            _sent_again(node, lines, event.at, state)
    elif isinstance(event, Lived):
        if event.what not in {"partitioned", "reconnected", "paused", "resumed"}:
            dropped.pop(event.node, None)  # a process that ends may lose lines
    elif event.verb == "heartbeat":
        _sent_again(event.node, dropped.get(event.node, {}), event.at, state)
    elif isinstance(event, Invoked):
        lines = dropped.get(event.node)
        if lines:
            for line in event.args["events"]:
                lines.pop(_key(line), None)
    elif event.outcome != "ok" and state.nodes[event.node].state == "up":
        lines = dropped.setdefault(event.node, {})
        lines.update(dict.fromkeys(map(_key, state.calls[event.call].invoked.args["events"]), event.at))


def _sent_again(
    name: str, lines: dict[tuple[UUID, int, str, str], float], at: float, state: RunState
) -> None:
    well = state.nodes[name].well_since(at, state.rules.late) if lines else None
    if well is None:
        return
    for (job, attempt, kind, data), failed in lines.items():
        since = max(well, failed)
        if at > since + RECOVERS:
            raise Broken(
                f"{name} could not keep {kind} {data} of attempt {attempt} at {failed:.3f} s, and has not"
                " tried again",
                job=job,
                since=failed,
            )


@holds("late lines stay those of their attempt", Invoked, Answered, verbs=("append_events", "events"))
def late_lines_stay_those_of_their_attempt(event: Invoked | Answered, state: RunState) -> None:
    """A process stores lines only of attempts that it has run, however late, and readers see that attempt."""
    sent = state.of("lines", _Lines).sent
    if isinstance(event, Answered):
        if event.verb == "events" and event.outcome == "ok":
            for line in event.result:
                if _key(line) not in sent:
                    raise Broken(
                        f"{line.kind} of attempt {line.attempt} is read, but was not sent: {line.data}",
                        job=line.job_id,
                    )
        return
    if event.verb != "append_events":
        return
    for line in event.args["events"]:
        sent.add((line.job_id, line.attempt, line.kind, jsonb.normalise(line.data)))
        runs = state.lives[line.job_id].began.get(line.attempt, ())
        if not any(run.node == event.node for run in runs) and not _was_purged(line.job_id, state):
            raise Broken(
                f"{event.node} stores {line.kind} of attempt {line.attempt}, which it has not run",
                job=line.job_id,
            )


def _was_purged(job: UUID, state: RunState) -> bool:
    """Return whether a job, and with it its lines, was ever purged."""
    return any(change.table == "archive" and change.after is None for change in state.lives[job].changes)
