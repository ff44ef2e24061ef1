"""Shutdown: processes that were asked to stop start nothing more, and end in time."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from zeke_sim.history.events import Answered, Began, Invoked, Lived
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds
from zeke_sim.properties.interruptions import STILL
from zeke_sim.properties.liveness import found_locked

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_sim.history.state import RunState

PROMPT: Final = 0.1
"""Seconds within which a running worker must react."""

PATIENCE: Final = 5.0
"""Minimum seconds for which a stopping worker repeats calls that the storage does not answer."""

DUTIES: Final = ("lock_due_schedules", "lock_expired", "resume_waiting", "archive", "purge")
"""The storage methods that schedulers and maintenance are meant to call."""

_HOLDING: Final = ("claim", "settle", "settle_unlocked", "suspend", "heartbeat", "deregister")

FINAL_SETTLE_TIMEOUT: Final = 18.0
"""Seconds beyond the timeout: two for interrupted handlers, five each for a claim in progress, for the last
settlements, and for calls that hang; and one to spare.
"""


def _stops(state: RunState) -> dict[str, float]:
    return state.of("asked to stop", dict[str, float])


@holds("a stopping process starts nothing", Lived, Began, Invoked, verbs=DUTIES)
def a_stopping_process_starts_nothing(event: Lived | Began | Invoked, state: RunState) -> None:
    """A process that was asked to stop starts no handler, and performs its duty at most once more.

    A worker has its duties until its handlers have ended. After a failed call, a process may repeat the call
    in parts.
    """
    stops, known = _stops(state), state.of("done at the end", set[tuple[str, str]])
    if isinstance(event, Began):
        _begins(event, stops)
    elif isinstance(event, Invoked):
        since, done = stops.get(event.node), (event.node, event.verb)
        node = state.nodes[event.node]
        if since is None or node.hampered >= since or node.running:
            return
        if done in known:
            raise Broken(
                f"{event.node} was asked to stop at {since:.3f} s, and asks for {event.verb} again",
                since=since,
            )
        known.add(done)
    elif event.what == "stopping":
        stops.setdefault(event.node, event.at)
    elif event.what in {"started", "killed"}:
        stops.pop(event.node, None)
        known.difference_update([done for done in known if done[0] == event.node])
    elif event.what == "resumed" and event.node in stops:
        stops[event.node] = max(stops[event.node], event.at)  # it receives the request only now


def _begins(event: Began, stops: dict[str, float]) -> None:
    since = stops.get(event.node)
    if since is not None and event.at > since + PROMPT:
        raise Broken(
            f"{event.node} was asked to stop at {since:.3f} s, and began attempt {event.attempt} at"
            f" {event.at:.3f} s",
            job=event.job,
            since=since,
        )


@holds("a stopping process ends in time", Lived, End)
def a_stopping_process_ends_in_time(event: Lived | End, state: RunState) -> None:
    """A stopping worker ends soon after the shutdown timeout, regardless of its handlers and the database.

    The time during which the process is paused is added.
    """
    known = state.of("ending", dict[str, float])
    if isinstance(event, Lived):
        _ends(event, known, state)
    else:
        for node, due in known.items():
            if due < event.at and not state.nodes[node].paused:
                raise Broken(f"{node} was to end at {due:.3f} s, and has not at {event.at:.3f} s", since=due)


def _ends(event: Lived, known: dict[str, float], state: RunState) -> None:
    node = state.nodes[event.node]
    if event.what == "stopping" and node.workers:
        allowed = (state.rules.shutdown_timeout + FINAL_SETTLE_TIMEOUT) * (1 + state.rules.drift)
        known.setdefault(event.node, event.at + allowed)
    elif event.what == "resumed" and event.node in known:
        allowed = (state.rules.shutdown_timeout + FINAL_SETTLE_TIMEOUT) * (1 + state.rules.drift)
        known[event.node] = event.at + allowed
    elif event.what in {"started", "killed"}:
        known.pop(event.node, None)
    elif event.what == "stopped":
        due = known.pop(event.node, event.at)
        if event.at > due:
            raise Broken(f"{event.node} was to end at {due:.3f} s, and ended at {event.at:.3f} s", since=due)


@holds("no process ends without a request", Lived)
def no_process_ends_without_a_request(event: Lived, state: RunState) -> None:
    """A worker, scheduler or maintenance process ends only on request, and survives all external faults."""
    asked = state.of("asked to end", set[str])
    if event.what == "stopping":
        asked.add(event.node)
    elif event.what == "started":
        asked.discard(event.node)
    elif event.what == "stopped" and event.node not in asked:
        node = state.nodes[event.node]
        if node.workers or node.duties or event.node in state.rules.duties:
            raise Broken(f"{event.node} ended without a request to stop")


@holds("a worker that leaves holds nothing", Answered, Invoked, verbs=_HOLDING)
def a_worker_that_leaves_holds_nothing(event: Answered | Invoked, state: RunState) -> None:
    """A worker that leaves has settled or released all jobs that it held.

    Exempt is a worker whose calls were not answered for ``PATIENCE`` seconds during its shutdown, or whose
    lease ended meanwhile, so that it could no longer settle its jobs. So are jobs that its last settlements
    found locked by another transaction, and jobs of a claim that the server finished shortly before, after
    the worker had given up on it: heartbeats find them only a while later.
    """
    failing = state.of("failing", dict[str, float])
    locked = found_locked(event, state)
    if isinstance(event, Answered):
        _heartbeat_answered(event, state)
        if event.outcome != "ok":
            failing.setdefault(event.node, state.calls[event.call].invoked.at)
        elif event.verb != "claim":
            failing.pop(event.node, None)
        return
    node = state.nodes[event.node]
    if event.verb != "deregister":
        return
    held = [
        job
        for job in state.activity[event.args["worker"]].holds
        if not _came_late(job, event, state) and locked.get(job, -inf) < event.at - PATIENCE
    ]
    since = min([failing.get(event.node, event.at), *node.open.values()])
    was_paused = any(
        fault.node == event.node and fault.kind in STILL and fault.at > event.at - FINAL_SETTLE_TIMEOUT
        for fault in state.faults
    )
    late = 1 + state.rules.drift
    if _lapsed(event, state) > event.at - (FINAL_SETTLE_TIMEOUT + state.rules.shutdown_timeout) * late:
        return
    if held and event.at - since < PATIENCE / late and not was_paused:
        raise Broken(
            f"{event.node} leaves, and still holds {len(held)}; the storage was not unavailable for long",
            job=min(held),
            since=since,
        )


def _came_late(job: UUID, event: Invoked, state: RunState) -> bool:
    """Return whether a claim took effect within the last lease, after its client had given up on it."""
    row = state.lives[job].row
    claim = None if row is None else state.lives[job].claims.get(row.attempt)
    call = None if claim is None or claim.call is None else state.calls.get(claim.call)
    if claim is None or call is None or call.answered is None or claim.at < event.at - state.rules.lease:
        return False
    return call.outcome != "ok" and call.answered.at <= claim.at


def _heartbeat_answered(event: Answered, state: RunState) -> None:
    """Record each worker's last answered heartbeat, and heartbeats that came after the end of a lease."""
    if event.verb != "heartbeat" or event.outcome != "ok":
        return
    call = state.calls[event.call].invoked
    asked, lapsed = state.of("asked and lapsed", _leases)
    worker = call.args["worker"].id
    if event.at - asked.get(worker, call.at) > state.rules.lease / (1 + state.rules.drift):
        lapsed[worker] = event.at
    asked[worker] = max(asked.get(worker, 0.0), call.at)


def _lapsed(event: Invoked, state: RunState) -> float:
    """Return when a worker's lease was last found to have ended, which may be now; -inf if never."""
    asked, lapsed = state.of("asked and lapsed", _leases)
    worker = event.args["worker"]
    over = asked.get(worker, event.at) + state.rules.lease / (1 + state.rules.drift)
    return event.at if event.at > over else lapsed.get(worker, -inf)


def _leases() -> tuple[dict[UUID, float], dict[UUID, float]]:
    return {}, {}
