"""Sends: rows match the requests, acknowledged jobs exist, and rolled-back jobs do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from zeke_sim.history.events import Answered, Change, Invoked
from zeke_sim.history.state import Broken, Place, ids_answered, place_of
from zeke_sim.properties.definition import holds, is_send
from zeke_sim.properties.settlements import normal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.model import NewJob
    from zeke_sim.history.events import Image
    from zeke_sim.history.state import Call, Request, RunState

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROUNDING: Final = timedelta(microseconds=2)
_OURS: Final = 7
"""The UUID version of ids from the library; others come from the application."""

_SOON: Final = 1.5
"""Seconds after a lost answer within which the library repeats a send."""

_REMEMBERED: Final = 8
"""Number of a node's latest sends that are compared; a repetition follows soon."""


@holds("a rolled-back send is never seen", Change, steps=is_send)
def a_rolled_back_send_is_never_seen(event: Change, state: RunState) -> None:
    """A job appears only after a send, and not before the send's transaction commits.

    A send that is known to have failed, or whose transaction never committed, leaves no job.
    """
    row = event.after
    if row is None:
        return
    sends = state.lives[row.id].sends
    if not sends:
        raise Broken("the row exists without a send", job=row.id)
    if not any(_may_be_seen(request, state) for request in sends):
        told = ", ".join(_call_text(request) for request in sends)
        raise Broken(f"the row exists, and its send is {told}", job=row.id, since=sends[0].call.invoked.at)


def _may_be_seen(request: Request, state: RunState) -> bool:
    if request.call.outcome == "failed":
        return False
    if request.call.invoked.transaction is None:
        return True
    last = state.transactions[request.call.invoked.transaction][-1]
    return last.invoked.verb == "commit" and last.outcome != "failed"


def _call_text(request: Request) -> str:
    if request.call.outcome == "failed":
        return f"call {request.call.invoked.call}, which failed"
    return f"transaction {request.call.invoked.transaction}, which was not committed"


@holds("a row is what was sent", Change, steps=is_send)
def a_row_is_what_was_sent(event: Change, state: RunState) -> None:
    """A new job's row has the values of its send, and is created, unclaimed, and due as requested.

    Its creation time is the storage's, and its delay and its slot are based on it.
    """
    row = event.after
    if row is None:
        return
    sends = state.lives[row.id].sends
    causes = state.causes(event)
    sends = [request for request in sends if request.call in causes] if causes else sends
    differences = [_difference(row, request.what, request.call, state) for request in sends]
    if differences and all(differences):
        raise Broken(differences[0] or "", job=row.id)


def _difference(row: Image, sent: NewJob, call: Call, state: RunState) -> str | None:
    """Describe how a row differs from what was sent; return None if it does not."""
    pairs = (
        ("name", row.name, sent.name),
        ("priority", row.priority, sent.priority),
        ("retry_limit", row.retry_limit, sent.retry_limit),
        ("retry_delay", row.retry_delay, sent.retry_delay),
        ("retry_backoff", row.retry_backoff, sent.retry_backoff),
        ("retry_delay_max", row.retry_delay_max, sent.retry_delay_max),
        ("singleton_key", row.singleton_key, sent.singleton_key),
        ("parent", row.parent, sent.parent),
        ("data", row.data, normal(sent.data)),
        ("attempt", row.attempt, 0),
        ("retry_count", row.retry_count, 0),
        ("singleton_on", row.singleton_on, _slot_of(sent, row.created_on)),
    )
    for field, is_now, asked in pairs:
        if is_now != asked:
            return f"{field} is {is_now!r}, and was sent as {asked!r}"
    if abs(row.expire_in - sent.expire_in) > 0.000_01:  # noqa: PLR2004 - rounding
        return f"expire_in is {row.expire_in}, and was sent as {sent.expire_in}"
    starts = _start_of(sent, row.created_on)
    if abs(row.start_after - starts) > _ROUNDING:
        return f"start_after is {row.start_after}, and should be {starts}"
    if not state.stamped(row.created_on, call.invoked.at):
        return f"created_on is {row.created_on}, and it was sent at {state.now}"
    return None


def _slot_of(sent: NewJob, created_on: datetime) -> datetime | None:
    """Return the start of a job's slot: slots are multiples of their length since 1970."""
    if sent.slot_seconds is None:
        return None
    seconds = int((created_on - _EPOCH).total_seconds() // 1) + sent.slot_offset
    return (_EPOCH + timedelta(seconds=seconds - seconds % sent.slot_seconds)).replace(tzinfo=None)


def _start_of(sent: NewJob, created_on: datetime) -> datetime:
    starts = sent.start_at or created_on + timedelta(seconds=sent.delay)
    slot = _slot_of(sent, created_on)
    if slot is None or sent.slot_offset <= 0:
        return starts
    return max(starts, slot.replace(tzinfo=UTC))


@holds("a job is sent once", Change, steps=is_send)
def a_job_is_sent_once(event: Change, state: RunState) -> None:
    """A send with the id of an existing job, live or archived, creates no second job."""
    row = event.after
    if row is None:
        return
    changes = state.lives[row.id].changes
    if len(changes) > 1 and (before := changes[-2]).after is not None:
        raise Broken(f"it was sent again, and was {before.after.state} in {before.table}", job=row.id)


@holds("a repeated send is the same job", Invoked, verbs=("insert",))
def a_repeated_send_is_the_same_job(event: Invoked, state: RunState) -> None:
    """A send that is repeated after a lost answer has the same id, so it creates only one job."""
    tried = state.of("sends that were tried", dict[str, list[Invoked]]).setdefault(event.node, [])
    for job in event.args["jobs"]:
        if (
            job.fresh
            or job.id.version != _OURS
            or (job.id in state.lives and len(state.lives[job.id].sends) > 1)
        ):
            continue
        for earlier in tried:
            call = state.calls[earlier.call]
            if call.outcome not in {"failed", "unknown"} or call.answered is None:
                continue
            if event.at > call.answered.at + _SOON:
                continue  # an application may send an equal job again, as another send
            for sent in earlier.args["jobs"]:
                if sent.fresh and sent.id != job.id and replace(sent, id=job.id, fresh=False) == job:
                    raise Broken(f"it is sent again as {job.id}, and was sent as {sent.id}", job=job.id)
    tried.append(event)
    del tried[:-_REMEMBERED]


@holds("one job per key and slot", Change)
def one_job_per_key_and_slot(event: Change, state: RunState) -> None:
    """At most one job per singleton key waits or runs, and at most one job per slot has not failed."""
    row = event.after
    if row is None or event.table != "job" or (place := place_of(row)) is None:
        return
    for other in state.places[place]:
        if other != row.id:
            raise Broken(f"it has {_named(place)}, and so has job {other}", job=row.id)


def _named(place: Place) -> str:
    parts = [f"key {place.key!r}"] if place.key is not None else []
    parts += [f"the slot of {place.slot}"] if place.slot is not None else []
    return f"{' in '.join(parts)} of {place.queue!r}" if parts else "its id"


@holds("an acknowledged send is stored", Answered, verbs=("insert", "insert_child", "commit"))
def an_acknowledged_send_is_stored(event: Answered, state: RunState) -> None:
    """When a send is acknowledged, its job is visible, live or archived.

    It may have been purged between the send's start and its answer.
    """
    if event.outcome != "ok":
        return
    call = state.calls[event.call]
    transaction = call.invoked.transaction
    inserts = [call]
    if event.verb == "commit" and transaction is not None:
        inserts = [one for one in state.transactions[transaction] if one.invoked.verb == "insert"]
    elif transaction is not None:
        return
    for insert in inserts:
        if insert.outcome != "ok" or insert.answered is None:
            continue
        for sent, answered in zip(_sent(insert), ids_answered(insert), strict=True):
            _is_there(sent.id, answered, insert.invoked.at, state)


def _sent(call: Call) -> Sequence[NewJob]:
    args = call.invoked.args
    return (args["child"],) if call.invoked.verb == "insert_child" else args["jobs"]


def _is_there(sent: UUID, answered: UUID | None, since: float, state: RunState) -> None:
    if answered is None:
        return
    if answered != sent:
        raise Broken(f"sent as {sent}, and acknowledged as {answered}", job=sent)
    if state.lives[sent].row is None and not any(state.lives[sent].between(since, state.at)):
        raise Broken("its send was acknowledged, and the row does not exist", job=sent, since=since)


@holds("a refusal has a reason", Answered, verbs=("insert", "insert_child"))
def a_refusal_has_a_reason(event: Answered, state: RunState) -> None:
    """A send is refused only if another job had its key or slot, or its own was purged, during the call."""
    if event.outcome != "ok":
        return
    call = state.calls[event.call]
    if call.invoked.transaction is not None or event.issued is None:
        return
    for sent, answered in zip(_sent(call), ids_answered(call), strict=True):
        if answered is not None:
            continue
        # Near a slot's boundary, the send may belong to either of two slots.
        slots = {_slot_of(sent, event.issued + timedelta(seconds=s)) for s in (0.0, state.rules.slack)}
        places = [Place(sent.name, slot, sent.singleton_key) for slot in slots]
        rows = state.lives[sent.id].between(call.invoked.at, event.at)
        purged = any(row is None and earlier is not None for row, earlier in pairwise(rows))
        taken = any(state.occupied(place, call.invoked.at, but=sent.id) for place in places)
        if not (taken or purged):
            raise Broken(f"refused, and no job has {_named(places[0])}", job=sent.id, since=call.invoked.at)


@holds("reads tell the truth", Answered, verbs=("get",))
def reads_tell_the_truth(event: Answered, state: RunState) -> None:
    """A read returns a job's row as it was at some time between the call and its answer."""
    if event.outcome != "ok":
        return
    call = state.calls[event.call]
    since = call.invoked.at
    for job_id in call.invoked.args["ids"]:
        told = event.result.get(job_id)
        rows = list(state.lives[job_id].between(since, event.at))
        if told is None:
            if None not in rows:
                raise Broken("it is there, and was not found", job=job_id, since=since)
            continue
        seen = (told.row_state, told.attempt, told.retry_count, told.started_on, told.completed_on)
        if not any(
            row is not None
            and seen == (row.state, row.attempt, row.retry_count, row.started_on, row.completed_on)
            for row in rows
        ):
            stood = "no row" if rows[0] is None else f"{rows[0].state}, attempt {rows[0].attempt}"
            raise Broken(
                f"told is {told.row_state}, attempt {told.attempt}; it is {stood}", job=job_id, since=since
            )
