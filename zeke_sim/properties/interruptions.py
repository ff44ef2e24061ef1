"""Interruptions of handlers: only for a reason, and promptly."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from zeke_queue.model import RowState
from zeke_sim.history.events import Answered, Ended, Lived, WorkerRow
from zeke_sim.history.state import MOMENT, Broken
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from zeke_sim.history.events import Event
    from zeke_sim.history.state import Request, RunState

PROMPT: Final = 0.1
"""Seconds within which a running worker must react."""

STILL: Final = frozenset({"pause", "freeze", "block"})
_SHORT: Final = MOMENT.total_seconds()


class _Heartbeat(NamedTuple):
    """An answered heartbeat: when it was sent, when it was answered, and the jobs in its answer.

    If idle time was skipped, the heartbeat before it counts as sent later by that time, and names no jobs.
    """

    asked: float
    answered: float
    holds: Mapping[UUID, int] | None


class _Known:
    """The state of these properties: each worker's heartbeats and skipped time, and the stopping nodes."""

    def __init__(self) -> None:
        self.latest: Event | None = None
        self.heartbeats: dict[UUID, list[_Heartbeat]] = {}
        self.asked: dict[UUID, float] = {}
        self.skipped: dict[UUID, list[tuple[float, float]]] = {}
        self.stops: dict[str, float] = {}

    def note(self, worker: UUID, heartbeat: _Heartbeat) -> None:
        """Record a worker's heartbeat, and when its latest one was sent."""
        self.heartbeats.setdefault(worker, []).append(heartbeat)
        self.asked[worker] = max(self.asked.get(worker, heartbeat.asked), heartbeat.asked)


def known_of(state: RunState) -> _Known:
    """Return the state that these properties share; ``remember`` updates it."""
    return state.of("interruptions", _Known)


@holds("no handler is interrupted without a reason", Answered, Lived, WorkerRow, Ended, verbs=("heartbeat",))
def no_handler_is_interrupted_without_a_reason(
    event: Answered | Lived | WorkerRow | Ended, state: RunState
) -> None:
    """A handler is interrupted only after its deadline, or after its worker lost the job or the right to run.

    A worker loses that right when its shutdown timeout is over, or after a lease without an answered
    heartbeat; but not if it could have renewed the lease, having reached the storage in time before its end.
    """
    if not isinstance(event, Ended):
        remember(event, state)
    elif event.how == "cancelled" and not any(_reasons(event, state)):
        raise Broken(
            f"its handler was interrupted at {event.at:.3f} s, and has time until"
            f" {deadline(event, state, 1.0):.3f} s; the job is still its worker's, which goes on",
            job=event.job,
            since=state.lives[event.job].began[event.attempt][-1].at,
        )


def remember(event: Answered | Lived | WorkerRow, state: RunState) -> None:
    """Record an event, on behalf of the first of these properties that is checked."""
    known = known_of(state)
    if known.latest is event:
        return
    known.latest = event
    if isinstance(event, WorkerRow):
        rows, heartbeats = state.heartbeats[event.worker], known.heartbeats.get(event.worker)
        if heartbeats and event.beat_on != event.now and (by := _shift(rows)) > 0:
            known.note(event.worker, _Heartbeat(known.asked[event.worker] + by, event.at, None))
            known.skipped.setdefault(event.worker, []).append((event.at, by))
    elif isinstance(event, Answered):
        if event.outcome == "ok":
            call = state.calls[event.call].invoked
            worker = call.args["worker"].id
            since = takewhile(lambda skip: skip[0] >= call.at, reversed(known.skipped.get(worker, ())))
            known.note(worker, _Heartbeat(call.at + sum(by for _, by in since), event.at, event.result))
    elif event.what == "stopping":
        known.stops.setdefault(event.node, event.at)
    elif event.what == "started":
        known.stops.pop(event.node, None)


def _shift(rows: Sequence[WorkerRow]) -> float:
    """Return the seconds between a worker's last two heartbeats."""
    times = [row.beat_on for row in rows[-2:] if row.beat_on is not None]
    return (times[1] - times[0]).total_seconds() if len(times) == len(("before", "after")) else 0.0


def _reasons(event: Ended, state: RunState) -> Iterator[bool]:
    """Yield for each possible reason whether it applies."""
    life, early = state.lives[event.job], 1 / (1 + state.rules.drift)
    began, at = life.began[event.attempt][-1].at, event.at + _SHORT
    yield at >= deadline(event, state, early)
    yield any(
        row is None or row.state is not RowState.ACTIVE or row.attempt != event.attempt
        for row in life.between(began, event.at)
    )
    stopped = known_of(state).stops.get(event.node)
    yield stopped is not None and at >= stopped + state.rules.shutdown_timeout * early
    over = lease_over(event, state, began, early)
    yield over is not None and at >= over and not _could_renew(event.node, over, state)


def _could_renew(node: str, over: float, state: RunState) -> bool:
    """Return whether a process has been undisturbed since long enough before the end of a lease."""
    rules = state.rules
    well = state.nodes[node].well_since(state.at, rules.late)
    return well is not None and well + (rules.reconnect + rules.slack) * (1 + rules.drift) < over


@holds("expired and lost handlers are interrupted", Answered, WorkerRow, Ended, verbs=("heartbeat",))
def expired_and_lost_handlers_are_interrupted(event: Answered | WorkerRow | Ended, state: RunState) -> None:
    """A handler is interrupted at its deadline, when its worker's lease ends, and when the job is lost.

    The worker learns of a lost job with the next heartbeat. The handler's script determines how long it takes
    to end. A process that was paused meanwhile is exempt.
    """
    if not isinstance(event, Ended):
        remember(event, state)
        return
    life = state.lives[event.job]
    row, claim = life.row, life.claims.get(event.attempt)
    if row is None or claim is None or event.attempt not in life.began:
        return
    delay = interruption_delay(row.data, event.attempt)
    if delay is None or was_paused(event.node, claim.at, state):
        return
    why, at = min(_due_interruptions(event, state), key=lambda told: told[1])
    if event.at > at + delay + PROMPT:
        raise Broken(
            f"its handler ran until {event.at:.3f} s, and should have ended at {at + delay:.3f} s, because of"
            f" {why}",
            job=event.job,
            since=at,
        )


def _due_interruptions(event: Ended, state: RunState) -> Iterator[tuple[str, float]]:
    """Yield when a handler had to be interrupted, and why."""
    late, began = 1 + state.rules.drift, state.lives[event.job].began[event.attempt][-1].at
    yield "its deadline", deadline(event, state, late)
    if (over := lease_over(event, state, began, late)) is not None:
        yield "the end of the lease", over
    for one in _heartbeats(event, state):
        if one.holds is not None and one.asked > began and one.holds.get(event.job) != event.attempt:
            yield "the heartbeat that did not name it", one.answered
            return


def was_paused(node: str, since: float, state: RunState) -> bool:
    """Return whether a process was paused at some moment from ``since`` on."""
    return any(
        fault.node == node and fault.kind in STILL and (fault.until is None or fault.until >= since)
        for fault in state.faults
    )


@lru_cache(maxsize=4096)
def interruption_delay(data: str | None, attempt: int) -> float | None:
    """Return the maximum seconds until a scripted attempt ends after an interruption; None for others."""
    payload: Any = None if data is None else json.loads(data)
    if not isinstance(payload, dict) or "steps" not in payload:
        return None
    steps = cast("list[dict[str, Any]]", payload["steps"])
    if attempt > len(steps):
        return 0.0
    step = steps[attempt - 1]
    return float(step.get("swallow") or step.get("cleanup") or 0.0)


def deadline(event: Ended, state: RunState, pace: float) -> float:
    """Return an attempt's deadline on its worker's clock, whose second lasts ``pace`` seconds."""
    life = state.lives[event.job]
    claim = life.claims.get(event.attempt)
    call = state.calls.get(claim.call) if claim is not None and claim.call is not None else None
    if claim is None or call is None or claim.after is None:
        return event.at
    due = call.invoked.at + claim.after.expire_in * pace
    for extension in life.extensions.get(event.attempt, ()):
        due = _moved(due, extension, pace)
    return due


def _moved(due: float, extension: Request, pace: float) -> float:
    """Return a deadline after an extension, which counts from its request and takes effect when answered."""
    asked: Any = extension.what
    moved, answered = extension.call.invoked.at + asked.seconds * pace, extension.call.answered
    if extension.call.outcome == "ok" and answered is not None and answered.result:
        if pace > 1:
            return max(moved, answered.at)
        # An answer at or after the old deadline may come too late.
        return moved if answered.at + _SHORT < due else min(due, moved)
    return max(due, moved) if pace > 1 else min(due, moved)


def _heartbeats(event: Ended, state: RunState) -> list[_Heartbeat]:
    claim = state.lives[event.job].claims.get(event.attempt)
    worker = None if claim is None or claim.after is None else claim.after.worker
    return [] if worker is None else known_of(state).heartbeats.get(worker, [])


def lease_over(event: Ended, state: RunState, began: float, pace: float) -> float | None:
    """Return when the worker's lease first ended since the handler began; None if it did not.

    A second of the worker's clock lasts ``pace`` seconds, or its inverse when the start is compared.
    """
    lease = state.rules.lease
    asked: float | None = None
    for heartbeat in [*_heartbeats(event, state), _Heartbeat(event.at, event.at, None)]:
        if asked is not None and asked + lease * pace < heartbeat.answered and asked + lease / pace >= began:
            return asked + lease * pace
        asked = heartbeat.asked if asked is None else max(asked, heartbeat.asked)
    return None
