"""Deadlines and leases: when an attempt has expired or is lost."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core.leases import outage_gap
from zeke_queue.model import Failed, RowState
from zeke_sim.history.events import Answered, Change, Ended
from zeke_sim.history.state import MOMENT, Broken, is_moved
from zeke_sim.properties.definition import holds, is_end, is_extension
from zeke_sim.properties.interruptions import deadline
from zeke_sim.properties.settlements import error_of, outcomes, settled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from zeke_queue.model import ExpiredJob
    from zeke_sim.history.state import Request, RunState

_CENTURY: Final = 36_500 * 86_400.0

_OUTAGES: Final = frozenset({"restart", "partition", "partition_out", "partition_in"})
"""Faults that keep the storage's answers from a process."""

_MOVES: Final = frozenset({"expire_in", "attempt", "worker", "started_on", "awaited"})
"""Columns that may change while a job is active; a new worker, attempt or start means another lease."""


@holds("nothing expires before its time", Answered, verbs=("lock_expired",))
def nothing_expires_before_its_time(event: Answered, state: RunState) -> None:
    """The storage reports an attempt as overdue only after its deadline, or if its worker is gone or silent.

    All times are by the storage's clock. The deadline is expire_in after the claim, unless it was extended.
    """
    if event.outcome != "ok" or event.issued is None:
        return
    since = state.calls[event.call].invoked.at
    for job in event.result:
        if job.reason == "deadline":
            deadlines = list(_deadlines(job, since, state))
            if not deadlines:
                raise Broken(f"attempt {job.attempt} is called overdue, and does not run", job=job.id)
            if min(deadlines) >= event.issued:
                raise Broken(
                    f"overdue at {event.issued}, and its deadline is {min(deadlines)}",
                    job=job.id,
                    since=since,
                )
        elif (until := _alive_until(job, since, state)) is not None and until >= event.issued:
            raise Broken(
                f"worker {job.worker} counts as dead at {event.issued}, and its lease ends at {until}",
                job=job.id,
                since=since,
            )


@holds("no lease ends right after an outage", Answered, verbs=("lock_expired",))
def no_lease_ends_right_after_an_outage(event: Answered, state: RunState) -> None:
    """A registered worker counts as dead only after as long a time without an outage as its lease.

    The outage is that of the database, or of the process that asks; shorter ones end no lease.
    """
    if event.outcome != "ok":
        return
    called, rules = state.calls[event.call].invoked.at, state.rules
    noticed = max(rules.lease, outage_gap(rules.sweep) * (1 + rules.drift) + rules.slack)
    healed = state.since.get("quiet", inf)
    for job in event.result:
        if job.reason != "lease" or job.worker is None or _alive_until(job, called, state) is None:
            continue
        lease = state.heartbeats[job.worker][-1].lease / (1 + rules.drift)
        for fault in reversed(state.faults):
            if fault.kind not in _OUTAGES or fault.node not in {"db", event.node} or fault.until is None:
                continue
            until = min(fault.until, healed)
            if until - fault.at > noticed and called - lease < until <= called:
                raise Broken(
                    f"worker {job.worker} counts as dead less than its lease after the outage that ended at"
                    f" {until:.3f} s",
                    job=job.id,
                    since=until,
                )


def _deadlines(job: ExpiredJob, since: float, state: RunState) -> Iterator[datetime]:
    """Yield all deadlines of an attempt from ``since`` on."""
    for row in state.lives[job.id].between(since, state.at):
        if row is not None and row.attempt == job.attempt and row.started_on is not None:
            yield row.started_on + timedelta(seconds=min(row.expire_in, _CENTURY))


def _alive_until(job: ExpiredJob, since: float, state: RunState) -> datetime | None:
    """Return when a worker's lease ended at the time of the query; None if the worker was unknown.

    If several heartbeats are possible, the one whose lease ends first counts.
    """
    ends: list[datetime] = []
    for heartbeat in reversed(state.heartbeats.get(job.worker, ()) if job.worker is not None else ()):
        if heartbeat.gone or heartbeat.beat_on is None:
            return None
        ends.append(heartbeat.beat_on + timedelta(seconds=heartbeat.lease))
        if heartbeat.at < since:
            return min(ends)
    return None


@holds("no attempt is cut short", Change, steps=is_end)
def no_attempt_is_cut_short(event: Change, state: RunState) -> None:
    """An attempt ends as lost or expired only if the storage reported it as overdue for that reason.

    It may also end as expired if its worker's monotonic clock has passed the deadline.
    """
    rows = settled(event)
    if rows is None:
        return
    before, _ = rows
    for request in outcomes(event, state):
        if not isinstance(request.what, Failed):
            continue
        kind = error_of(request.what.output).get("type")
        if kind not in {"Expired", "WorkerLost"} and request.what.final is not RowState.EXPIRED:
            continue
        ruled = state.ruled_overdue.get((before.id, before.attempt), set())
        if kind == "WorkerLost":
            if "lease" not in ruled:
                raise Broken(f"attempt {before.attempt} is called lost, and was not overdue", job=before.id)
        elif "deadline" not in ruled:
            _check_deadline(request, event, state)


def _check_deadline(request: Request, event: Change, state: RunState) -> None:
    """Check that an attempt's deadline had passed on its worker's clock when the worker reported it."""
    row = event.before
    claim = None if row is None else state.lives[row.id].claims.get(row.attempt)
    if row is None or claim is None:
        return
    at = request.call.invoked.at
    now = Ended(at, request.call.invoked.node, "", row.id, row.attempt, "cancelled", None)
    due = deadline(now, state, 1 / (1 + state.rules.drift))
    if at < due - MOMENT.total_seconds():
        raise Broken(
            f"attempt {row.attempt} is called expired at {at:.3f} s, and has time until {due:.3f} s",
            job=row.id,
            since=claim.at,
        )


def _seconds(extension: Request) -> float:
    what: Any = extension.what
    return what.seconds


@holds("an extension counts from now", Change, steps=is_extension)
def an_extension_counts_from_now(event: Change, state: RunState) -> None:
    """An extension sets the deadline to its seconds after the request, and changes nothing else."""
    before, after = event.before, event.after
    if before is None or after is None or after.started_on is None:
        return
    if before.state is not RowState.ACTIVE or after.state is not RowState.ACTIVE:
        return
    if is_moved(event):
        return
    changed = [column for column in after._fields if getattr(before, column) != getattr(after, column)]
    others = [column for column in changed if column not in _MOVES]
    if others:
        values = f"{getattr(before, others[0])!r} became {getattr(after, others[0])!r}"
        raise Broken(f"while it ran {others[0]} {values}", job=after.id)
    causes = state.causes(event)
    requests = [
        request
        for request in state.lives[after.id].extensions.get(after.attempt, ())
        if request.call in causes
    ]
    for request in requests:
        asked_on = after.started_on + timedelta(seconds=after.expire_in - _seconds(request))
        if state.stamped(asked_on, request.call.invoked.at):
            return
    if requests:
        ends = after.started_on + timedelta(seconds=after.expire_in)
        raise Broken(
            f"extended by {_seconds(requests[0])} s at {state.now}, and its deadline is {ends}", job=after.id
        )
