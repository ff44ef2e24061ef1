"""What may be claimed: when, by whom, in which order, and how much at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.model import JobState
from zeke_sim.history import Change
from zeke_sim.past import Broken
from zeke_sim.properties.holding import holds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zeke_sim.history import Image
    from zeke_sim.past import Call, Past

_ACTIVE = JobState.ACTIVE


def claimed(event: Change) -> Image | None:
    """Return the row that a change made active, if it did."""
    before, after = event.before, event.after
    if after is None or after.state is not _ACTIVE or event.table != "job":
        return None
    return after if before is None or before.state is not _ACTIVE else None


@holds("active jobs within the limit", Change, number=8)
def active_within_the_limit(event: Change, past: Past) -> None:
    """At every commit as many jobs of a queue run as its concurrency limit allows, at most.

    A limit that is lowered binds new claims; claims that were under way when it was keep to the one before.
    """
    row = claimed(event)
    if row is None:
        return
    count, limit = len(past.active[row.name]), _limit(row.name, event, past)
    if limit is not None and count > limit:
        raise Broken(f"{count} jobs of {row.name!r} are active, and the limit is {limit}", job=row.id)


def _limit(name: str, event: Change, past: Past) -> int | None:
    """Return the highest limit that a claim may have gone by; None is any number."""
    queue = past.queues.get(name)
    if queue is None:
        return past.rules.limits.get(name)
    changed, earlier = past.limited.get(name, (0.0, queue.concurrency_limit))
    call = past.calls.get(event.call) if event.call is not None else None
    began = event.at - past.rules.slack if call is None else call.invoked.at
    if queue.concurrency_limit is None or changed <= began:
        return queue.concurrency_limit
    return None if earlier is None else max(earlier, queue.concurrency_limit)


@holds("nothing starts before its time", Change, number=10)
def nothing_starts_before_its_time(event: Change, _past: Past) -> None:
    """A job is claimed at its start_after at the earliest, by the storage's clock."""
    row = claimed(event)
    if row is None or event.before is None or row.started_on is None:
        return
    if event.before.start_after > row.started_on:
        raise Broken(
            f"claimed at {row.started_on}, and start_after is {event.before.start_after}", job=row.id
        )


@holds("a claim begins the attempt's time", Change, number=7)
def a_claim_begins_the_time(event: Change, past: Past) -> None:
    """What a claim writes is of that very claim: its worker, and the time at which it was made."""
    row = claimed(event)
    if row is None or row.started_on is None:
        return
    call = past.calls.get(event.call) if event.call is not None else None
    since = event.at - past.rules.slack if call is None else call.invoked.at
    if not past.stamped(row.started_on, since):
        raise Broken(f"claimed at {past.now}, and started_on is {row.started_on}", job=row.id, since=since)
    if event.before is not None and row.expire_in != event.before.expire_in:
        raise Broken(f"expire_in was {event.before.expire_in}, and is {row.expire_in}", job=row.id)
    if call is not None:
        if call.invoked.verb != "claim":
            raise Broken(f"{call.invoked.verb} made the job active", job=row.id, since=since)
        if row.worker != call.invoked.args["worker"]:
            raise Broken(f"worker {call.invoked.args['worker']} claimed it for {row.worker}", job=row.id)


@holds("claims go in order", Change, number=9)
def claims_go_in_order(event: Change, past: Past) -> None:
    """A claim takes what is due in the order of priority (highest first), start_after, and id.

    Over all the queues that it wants, and where nothing is passed over, as rows that are locked may be.
    """
    row = claimed(event)
    if row is None or not past.rules.strict_order or event.call is None:
        return
    call = past.calls.get(event.call)
    if call is None or event.before is None or row.started_on is None:
        return
    mine = _order(event.before)
    taken: dict[str, int] = {}
    for change in call.did:
        if change.after is not None:
            taken[change.after.name] = taken.get(change.after.name, 0) + 1
    for want in call.invoked.args["wants"]:
        if taken.get(want.name, 0) >= want.free or not _has_room(want.name, past):
            continue
        for other in past.waiting[want.name].values():
            if other.start_after <= row.started_on and _order(other) < mine and not _locked(other, past):
                theirs = f"job {other.id} of priority {other.priority}, start_after {other.start_after}"
                own = f"priority {row.priority}, start_after {row.start_after}"
                raise Broken(f"claimed, with {own}, before {theirs}", job=row.id)


def _order(row: Image) -> tuple[int, object, int]:
    return -row.priority, row.start_after, row.id.int


def _has_room(name: str, past: Past) -> bool:
    queue = past.queues.get(name)
    if queue is None:
        return True
    limit = queue.concurrency_limit
    return queue.paused_on is None and (limit is None or len(past.active[name]) < limit)


def _locked(row: Image, past: Past) -> bool:
    """Tell whether an open transaction may hold the row: it cancels it, and has not ended."""
    return any(row.id in call.invoked.args["ids"] for call in _open_cancellations(past))


def _open_cancellations(past: Past) -> Iterator[Call]:
    for calls in past.transactions.values():
        if calls[-1].outcome is None or calls[-1].invoked.verb != "commit":
            yield from (call for call in calls if call.invoked.verb == "cancel")
