"""Calls have their requested effects, and their answers match these."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.model import Released, RowState, Settled, Suspensions
from zeke_sim.history.events import Answered, Change, Invoked
from zeke_sim.history.state import Broken, is_moved, is_of_waiting
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from zeke_sim.history.events import Image
    from zeke_sim.history.state import Call, RunState

_CREATED, _RETRY, _ACTIVE = RowState.CREATED, RowState.RETRY, RowState.ACTIVE


@holds("nothing changes without a request", Change)
def nothing_changes_without_a_request(event: Change, state: RunState) -> None:
    """A job is changed only by a call whose purpose is such a change, and which names the job."""
    row = event.after or event.before
    causes = state.causes(event)
    if row is None or not causes:
        return
    verbs = _verbs(event)
    for call in causes:
        if call.invoked.verb in verbs and _names(call, event, row.id, state):
            break
    else:
        before = "no row" if event.before is None else event.before.state
        after = "no row" if event.after is None else event.after.state
        made = ", ".join(call.invoked.verb for call in causes)
        does = " or ".join(verbs)
        raise Broken(f"{before} became {after} in {event.table} by {made}, and {does} does that", job=row.id)


def _verbs(event: Change) -> tuple[str, ...]:
    """Return the storage methods that make such a change."""
    before, after = event.before, event.after
    if event.table == "archive" or after is None:
        moved = "purge" if event.table == "archive" and before is not None else "archive"
        return (moved, "delete_jobs") if after is None else (moved,)
    if before is None:
        return ("cancel",) if after.state is RowState.CANCELLED else ("insert", "insert_child")
    if is_of_waiting(event):
        return _MARKS if before.awaited is not after.awaited else _WAKES
    if is_moved(event) or after.state is RowState.CANCELLED:
        return ("move_jobs" if is_moved(event) else "cancel",)
    if after.state is _ACTIVE:
        return ("extend" if before.state is _ACTIVE else "claim",)
    return _BACK.get(before.state, _SETTLE if after.state is _RETRY else (*_SETTLE, "suspend"))


_BACK: Final = {RowState.CANCELLED: ("resume",), RowState.FAILED: ("retry",), RowState.EXPIRED: ("retry",)}

_SETTLE: Final = ("settle", "settle_unlocked")

_MARKS: Final = ("insert_child", "suspend")
"""Storage methods that mark a job as awaited by another."""

_WAKES: Final = (*_SETTLE, "suspend", "cancel", "resume_waiting")
"""Storage methods that resume a waiting job: those that end the awaited job, and the maintenance sweep."""


def _names(call: Call, event: Change, job: UUID, state: RunState) -> bool:
    """Return whether a call names a job; a call that selects jobs itself names all.

    A call that names a job also names the jobs that wait for it; a cancellation or a resumption also names
    the children for which it waits.
    """
    args, before = call.invoked.args, event.before
    if before is not None and before.waits_for is not None and _verbs(event) == _WAKES:
        job = before.waits_for
    ids = args.get("ids")
    if ids is not None:
        row = state.lives[job].row
        taken_along = call.invoked.verb in {"cancel", "resume"} and row is not None and row.awaited
        return job in ids or (taken_along and not state.ancestors(job).isdisjoint(ids))
    named = _named(args)
    if named is None:
        return True
    return any(job in {one.id, getattr(one, "child", one.id)} for one in named)


def _named(args: Any) -> list[Any] | None:
    """Return the requests of a call by job, or None if it selects jobs itself."""
    if "completed" in args or "failed" in args or "released" in args:
        return [*args.get("completed", ()), *args.get("failed", ()), *args.get("released", ())]
    if "child" in args:
        return [args["child"]]
    return args.get("jobs", args.get("extended", args.get("waiting")))


_NAMING: Final = (*_SETTLE, "suspend", "extend", "cancel", "resume", "retry")


_WRITING: Final = (*_SETTLE, "suspend", "insert")


@holds("a full notification queue fails no write", Answered, verbs=_WRITING)
def a_full_notification_queue_fails_no_write(event: Answered, state: RunState) -> None:
    """While the notification queue is full, sends and settlements are stored without notifications.

    Those that arrive fail only because of another transaction, or with their own.
    """
    if event.outcome != "failed" or event.issued is None or "transaction" in str(event.result):
        return
    if any(fault.kind == "notify_full" and (fault.until or 0.0) >= event.at for fault in state.faults):
        raise Broken(f"{event.verb} of {event.node} failed: {event.result}")


@holds("answers match what was done", Answered, verbs=_NAMING)
def answers_match_what_was_done(event: Answered, state: RunState) -> None:
    """A call's answer names exactly the jobs that it changed, and it had to skip all others.

    A repeated settlement may also name jobs that an earlier attempt changed. The answer does not name jobs
    that were waiting for an ended job and were resumed.
    """
    if event.outcome != "ok" or not state.attributed:
        return
    call = state.calls[event.call]
    if call.invoked.transaction is not None:
        return
    args = call.invoked.args
    did = {change.after.id for change in call.did if change.after is not None and not is_of_waiting(change)}
    result = event.result
    reported: set[UUID] = result.changed if isinstance(result, Settled | Suspensions) else result
    kept: set[UUID] = set(result.locked) if isinstance(result, Settled | Suspensions) else set()
    if isinstance(result, Suspensions):
        kept.update(result.refused)
    for job in did - reported:
        raise Broken(f"{event.verb} changed it, and its answer does not say so", job=job)
    for job in reported - did:
        if not _was_done(job, event, state):
            raise Broken(f"{event.verb} says that it changed it, and nothing changed", job=job)
    if event.verb in {*_SETTLE, "suspend", "extend", "cancel"}:
        for job, attempt in _requested(args):
            if job not in reported and job not in kept and _could(event.verb, job, attempt, event, state):
                raise Broken(f"{event.verb} left attempt {attempt} alone, which was current", job=job)


@holds("a repeated settlement is marked as repeated", Invoked, verbs=(*_SETTLE, "suspend"))
def a_repeated_settlement_is_marked_as_repeated(event: Invoked, state: RunState) -> None:
    """A process that does not know whether it has settled a job marks the next settlement as repeated.

    Otherwise the storage does not name the job, and the process would take its outcome for lost. Exempt are
    jobs that a process has claimed without knowing it, since each heartbeat releases them.
    """
    if event.transaction is not None or event.args.get("repeated"):
        return
    for one in _named(event.args) or ():
        life = state.lives[one.id]
        claim = life.claims.get(one.attempt)
        for request in life.outcomes.get(one.attempt, ()):
            earlier = request.call
            if claim is not None and earlier.invoked.at < claim.at:
                continue  # it was of a job with this id that was purged
            known = (
                earlier.invoked is event or earlier.outcome != "unknown" or earlier.invoked.node != event.node
            )
            if not known and request.what == one and not isinstance(one, Released):
                raise Broken(
                    f"{event.node} had no answer to the same {earlier.invoked.verb} at"
                    f" {earlier.invoked.at:.3f} s, and does not mark this one as repeated",
                    job=one.id,
                    since=earlier.invoked.at,
                )


@holds("a repeated settlement names settled jobs", Answered, verbs=(*_SETTLE, "suspend"))
def a_repeated_settlement_names_settled_jobs(event: Answered, state: RunState) -> None:
    """A repeated settlement names the jobs that an earlier one with the same outcome changed.

    Exempt are jobs that have changed since.
    """
    call = state.calls[event.call]
    if event.outcome != "ok" or call.invoked.transaction is not None or not call.invoked.args.get("repeated"):
        return
    result = event.result
    reported = result.changed if isinstance(result, Settled | Suspensions) else result
    for one in _named(call.invoked.args) or ():
        life = state.lives[one.id]
        if one.id in reported:
            continue
        earlier = [request.call for request in life.outcomes.get(one.attempt, ()) if request.what == one]
        left = [change.after for made in earlier for change in made.did if change.after is not None]
        rows = list(life.between(call.invoked.at, event.at))
        if any(image.id == one.id and all(row == image for row in rows) for image in left):
            raise Broken(
                f"an earlier {event.verb} changed it, and the repeated one does not name it", job=one.id
            )


def _requested(args: Any) -> Iterator[tuple[UUID, int | None]]:
    if "ids" in args:
        yield from ((job, None) for job in args["ids"])
    else:
        yield from ((one.id, one.attempt) for one in _named(args) or ())


def _was_done(job: UUID, event: Answered, state: RunState) -> bool:
    """Return whether a job was already as requested: ended by an earlier call, or with that deadline."""
    call = state.calls[event.call].invoked
    rows = state.lives[job].between(call.at, event.at)
    if event.verb == "extend":
        return any(row is not None and _has_time(row, call, state) for row in rows)
    attempt = dict(_requested(call.args)).get(job)
    return bool(call.args.get("repeated")) and any(
        row is not None and row.attempt == attempt and row.state is not _ACTIVE for row in rows
    )


def _has_time(row: Image, call: Invoked, state: RunState) -> bool:
    """Return whether a running job has the requested seconds left, counted from a moment since the call."""
    return any(
        (row.id, row.attempt, row.state) == (one.id, one.attempt, _ACTIVE)
        and row.started_on is not None
        and state.stamped(row.started_on + timedelta(seconds=row.expire_in - one.seconds), call.at)
        for one in call.args["extended"]
    )


def _could(verb: str, job: UUID, attempt: int | None, event: Answered, state: RunState) -> bool:
    """Return whether a call could have changed a job at every moment from its start to its answer."""
    since = state.calls[event.call].invoked.at
    for row in state.lives[job].between(since, event.at):
        if row is None or row.state not in {_CREATED, _RETRY, _ACTIVE}:
            return False
        if verb != "cancel" and (row.state is not _ACTIVE or row.attempt != attempt):
            return False
    return True
