"""Processes: dead ones do nothing, each attempt runs once, and watchers see statuses in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.model import STATUS_OF, RowState
from zeke_sim.history.events import Began, Effect, Ended, Invoked, Lived, Notified, Received
from zeke_sim.history.state import Broken
from zeke_sim.properties.definition import holds
from zeke_sim.properties.interruptions import STILL

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.model import JobStatus
    from zeke_sim.history.state import RunState


@holds("a dead process does nothing", Effect, Invoked, Began, Ended, Notified, Received)
def a_dead_process_does_nothing(
    event: Effect | Invoked | Began | Ended | Notified | Received, state: RunState
) -> None:
    """A dead or paused process does nothing: no effect, no call, no handler.

    While only its event loop is blocked, another thread sends heartbeats.
    """
    node = state.nodes.get(event.node)
    if isinstance(event, Effect) and not event.alive:
        raise Broken(f"{event.node} is dead, and had the effect {event.key!r}", job=event.job)
    if isinstance(event, Effect) and event.called:
        return  # the request was sent before
    if node is None or (node.state not in {"killed", "stopped"} and not node.paused):
        return
    if (
        node.paused
        and isinstance(event, Invoked)
        and event.verb == "heartbeat"
        and is_blocked(event.node, state)
    ):
        return
    how = "is suspended" if node.paused else f"was {node.state}"
    what = event.verb if isinstance(event, Invoked) else type(event).__name__.lower()
    job = None if isinstance(event, Invoked) else event.job
    raise Broken(
        f"{event.node} {how} since {node.changed:.3f} s, and did {what}", job=job, since=node.changed
    )


def is_blocked(name: str, state: RunState) -> bool:
    """Return whether a process is suspended because its event loop is blocked."""
    still = [fault.kind for fault in state.faults if fault.node == name and fault.kind in STILL]
    return state.nodes[name].paused and still[-1:] == ["block"]


@holds("a blocked event loop stops no heartbeats", Lived, Invoked, verbs=("heartbeat",))
def a_blocked_event_loop_stops_no_heartbeats(event: Lived | Invoked, state: RunState) -> None:
    """A worker sends heartbeats while its event loop is blocked, so that its lease does not end."""
    sent, blocked = state.of("heartbeats and blocks", _heartbeats_and_blocks)
    if isinstance(event, Invoked):
        sent[event.node] = event.at
    elif event.what == "paused":
        if is_blocked(event.node, state):
            blocked[event.node] = event.at
    else:
        node, began = state.nodes[event.node], blocked.pop(event.node, None)
        if began is None or event.what != "resumed" or node.state != "up" or not node.workers:
            return
        since = max(began, sent.get(event.node, 0.0))
        if event.at > since + state.rules.lease:
            raise Broken(
                f"the event loop of {event.node} was blocked from {began:.3f} to {event.at:.3f} s, and since"
                f" {since:.3f} s no heartbeat was sent",
                since=since,
            )


def _heartbeats_and_blocks() -> tuple[dict[str, float], dict[str, float]]:
    return {}, {}


@holds("each attempt runs once", Began)
def each_attempt_runs_once(event: Began, state: RunState) -> None:
    """A handler runs once for a claimed attempt, in the process that claimed it."""
    life = state.lives[event.job]
    claim = life.claims.get(event.attempt)
    if claim is None:
        raise Broken(f"its handler began attempt {event.attempt}, which was not claimed", job=event.job)
    if len(life.began[event.attempt]) > 1:
        first = life.began[event.attempt][0]
        raise Broken(
            f"attempt {event.attempt} began on {event.node}, and on {first.node} at {first.at:.3f} s",
            job=event.job,
            since=first.at,
        )
    call = state.calls.get(claim.call) if claim.call is not None else None
    if call is not None and call.invoked.node != event.node:
        raise Broken(
            f"attempt {event.attempt} began on {event.node}, and {call.invoked.node} claimed it",
            job=event.job,
        )


@holds("statuses never go back", Notified)
def statuses_never_go_back(event: Notified, state: RunState) -> None:
    """A watcher of a job receives its statuses in order, once each, and none that the job never had.

    It receives nothing after a final status.
    """
    last = state.of("told", dict[int, tuple[int, int, "JobStatus"]])
    stage = event.attempt, _rank(event.status)
    before = last.get(event.watch)
    if before is not None:
        was, status = before[:2], before[2]
        if stage < was or was[1] == _FINAL or status is event.status:
            raise Broken(
                f"told {event.status} of attempt {event.attempt} after {status} of attempt {was[0]}",
                job=event.job,
            )
    last[event.watch] = (*stage, event.status)
    if not _had(event.job, event.status, event.attempt, state):
        raise Broken(f"told {event.status} of attempt {event.attempt}, which it never was", job=event.job)


_FINAL = 2


def _rank(status: JobStatus) -> int:
    """Return the position of a status within an attempt: running, waiting for the next one, ended."""
    if status is STATUS_OF[RowState.ACTIVE]:
        return 0
    return 1 if status is STATUS_OF[RowState.CREATED] else _FINAL


def _had(job: UUID, status: JobStatus, attempt: int, state: RunState) -> bool:
    return any(
        change.after is not None
        and change.after.attempt == attempt
        and STATUS_OF[change.after.state] is status
        for change in state.lives[job].changes
    )
