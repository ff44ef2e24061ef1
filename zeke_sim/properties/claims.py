"""Rules of claims: when a job may be claimed, by which worker, in which order, and how many concurrently."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from zeke_sim.history.events import Answered, Change, Invoked
from zeke_sim.history.state import ENDS, LOST_FOR, Broken, Call, ending
from zeke_sim.properties.definition import holds, is_claim

if TYPE_CHECKING:
    from zeke_sim.history.events import Image, QueueRow
    from zeke_sim.history.state import RunState


@holds("active jobs within the limit", Change, steps=is_claim)
def active_within_the_limit(event: Change, state: RunState) -> None:
    """At every commit, queues that share a limit, and other ones alone, have at most so many active jobs.

    A lowered limit applies to new claims; claims that were in progress when it changed may use the old one.
    """
    row = event.after
    if row is None:
        return
    count, limit = _active(row.name, state), _limit(row.name, event, state)
    if limit is not None and count > limit:
        raise Broken(f"{count} jobs of {row.name!r} are active, and the limit is {limit}", job=row.id)


def _sharing(name: str, state: RunState) -> set[str]:
    """Return the queues whose active jobs count for a queue's limit."""
    queue = state.queues.get(name)
    return {name} if queue is None else {name, *queue.limited_with}


def _active(name: str, state: RunState) -> int:
    return sum(len(state.active[one]) for one in _sharing(name, state))


def _limit(name: str, event: Change, state: RunState) -> int | None:
    """Return the highest limit that a claim may have used; None for no limit."""
    queue = state.queues.get(name)
    if queue is None:
        return state.rules.limits.get(name)
    call = state.calls.get(event.call) if event.call is not None else None
    began = event.at - state.rules.slack if call is None else call.invoked.at
    limits = [_limit_of(queue, state)]
    for one in {name, *queue.limited_with[:1]}:
        changed, earlier = state.limited.get(one, (0.0, None))
        if changed > began:
            limits.append(earlier)
    known = [limit for limit in limits if limit is not None]
    return max(known) if len(known) == len(limits) else None


def _limit_of(queue: QueueRow, state: RunState) -> int | None:
    """Return the limit that applies to a queue: that of the first queue with which it shares it."""
    first = state.queues.get(queue.limited_with[0]) if queue.limited_with else None
    if queue.concurrency_limit is None or first is None or first.concurrency_limit is None:
        return queue.concurrency_limit
    return first.concurrency_limit


@holds("nothing starts before its time", Change, steps=is_claim)
def nothing_starts_before_its_time(event: Change, _state: RunState) -> None:
    """A job is not claimed before its start_after, by the storage's clock."""
    row = event.after
    if row is None or event.before is None or row.started_on is None:
        return
    if event.before.start_after > row.started_on:
        raise Broken(
            f"claimed at {row.started_on}, and start_after is {event.before.start_after}", job=row.id
        )


@holds("a claim begins the attempt's time", Change, steps=is_claim)
def a_claim_begins_the_time(event: Change, state: RunState) -> None:
    """A claim writes its own worker and its own time."""
    row = event.after
    if row is None or row.started_on is None:
        return
    call = state.calls.get(event.call) if event.call is not None else None
    since = event.at - state.rules.slack if call is None else call.invoked.at
    if not state.stamped(row.started_on, since):
        raise Broken(f"claimed at {state.now}, and started_on is {row.started_on}", job=row.id, since=since)
    if event.before is not None and row.expire_in != event.before.expire_in:
        raise Broken(f"expire_in was {event.before.expire_in}, and is {row.expire_in}", job=row.id)
    if call is not None:
        if call.invoked.verb != "claim":
            raise Broken(f"{call.invoked.verb} made the job active", job=row.id, since=since)
        if row.worker != call.invoked.args["worker"]:
            raise Broken(f"worker {call.invoked.args['worker']} claimed it for {row.worker}", job=row.id)


@holds("claims go in order", Change, steps=is_claim)
def claims_go_in_order(event: Change, state: RunState) -> None:
    """A claim takes due jobs in order of priority (highest first), start_after, and id.

    The order holds over all queues of the claim. Only locked rows may be skipped.
    """
    row = event.after
    if row is None or not state.rules.strict_order or event.call is None:
        return
    call = state.calls.get(event.call)
    if call is None or event.before is None or row.started_on is None:
        return
    mine = _order(event.before)
    taken: dict[str, int] = {}
    for change in call.did:
        if change.after is not None and change is not event:
            taken[change.after.name] = taken.get(change.after.name, 0) + 1
    for want in call.invoked.args["capacity"]:
        mine_of_it = int(row.name in _sharing(want.name, state))
        of_pool = sum(taken.get(name, 0) for name in _sharing(want.name, state))
        if of_pool >= want.limit or not _has_room(want.name, mine_of_it, state):
            continue
        for other in state.waiting[want.name].values():
            if other.start_after <= row.started_on and _order(other) < mine and not _locked(other, state):
                theirs = f"job {other.id} of priority {other.priority}, start_after {other.start_after}"
                own = f"priority {row.priority}, start_after {row.start_after}"
                raise Broken(f"claimed, with {own}, before {theirs}", job=row.id)


def _order(row: Image) -> tuple[int, object, int]:
    return -row.priority, row.start_after, row.id.int


def _has_room(name: str, but: int, state: RunState) -> bool:
    """Return whether a queue would admit a claim if ``but`` of its active jobs had not been claimed."""
    queue = state.queues.get(name)
    if queue is None:
        return True
    limit = _limit_of(queue, state)
    return queue.paused_on is None and (limit is None or _active(name, state) - but < limit)


def _locked(row: Image, state: RunState) -> bool:
    """Return whether another program, or an open transaction that cancels the row, may hold its lock."""
    queue = state.queues.get(row.name)
    locks = {row.id, row.name} if queue is None else {row.id, row.name, *queue.limited_with[:1]}
    if any(fault.row in locks and state.at <= (fault.until or 0.0) for fault in state.faults):
        return True
    named = {row.id, *state.ancestors(row.id)}
    return any(
        call.invoked.verb == "cancel" and not named.isdisjoint(call.invoked.args["ids"])
        for calls in state.transactions.values()
        if _may_be_open(ending(calls), state.at)
        for call in calls
    )


def _may_be_open(last: Call, at: float) -> bool:
    """Return whether a transaction may be open after this call, which may be a commit without an answer."""
    if last.answered is None or last.invoked.verb not in ENDS:
        return True
    return last.outcome != "ok" and at < last.answered.at + LOST_FOR


@holds("a claim returns what it took", Answered, verbs=("claim",))
def a_claim_returns_what_it_took(event: Answered, state: RunState) -> None:
    """A claim's answer contains the rows that it made active, in claim order, and no more than requested."""
    if event.outcome != "ok" or not state.attributed:
        return
    call = state.calls[event.call]
    rows = {change.after.id: change.after for change in call.did if change.after is not None}
    last: tuple[int, object, int] | None = None
    for job in event.result:
        row = rows.pop(job.id, None)
        if row is None:
            raise Broken(f"the claim's answer has attempt {job.attempt}, and it did not claim it", job=job.id)
        for field, told, stored in zip(_GIVEN, _given(job), _given(row), strict=True):
            if told != stored:
                raise Broken(f"the claim's answer has {field} {told!r}, and the row {stored!r}", job=job.id)
        data = None if job.data is None else job.data.decode()
        if data != row.data:
            raise Broken(f"the claim's answer has data {data}, and the row {row.data}", job=job.id)
        place = -job.priority, job.start_after, job.id.int
        if last is not None and place < last:
            raise Broken(f"in the claim's answer it comes after {last}, and is {place}", job=job.id)
        last = place
    for job_id in rows:
        raise Broken("a claim took it, and its answer does not have it", job=job_id)
    _within_wants(event, call)


_GIVEN: Final = (
    "name",
    "attempt",
    "priority",
    "retry_count",
    "retry_limit",
    "retry_delay",
    "retry_backoff",
    "retry_delay_max",
    "expire_in",
    "start_after",
    "parent",
)
_given: Final = attrgetter(*_GIVEN)


def _within_wants(event: Answered, call: Call) -> None:
    limit, got = call.invoked.args["limit"], len(event.result)
    if got > limit:
        raise Broken(f"a claim of {limit} jobs took {got}", job=event.result[0].id)
    counts: dict[str, int] = {}
    for job in event.result:
        counts[job.name] = counts.get(job.name, 0) + 1
    capacity = {want.name: want.limit for want in call.invoked.args["capacity"]}
    for name, count in counts.items():
        if count > capacity.get(name, 0):
            raise Broken(f"a claim of {capacity.get(name, 0)} jobs of {name!r} took {count}")


@holds(
    "nothing is claimed from a paused queue",
    Change,
    Invoked,
    Answered,
    verbs=("pause_queue",),
    steps=is_claim,
)
def nothing_is_claimed_from_a_paused_queue(event: Change | Invoked | Answered, state: RunState) -> None:
    """After a pause is acknowledged, no new claim takes a job of the queue until it is resumed."""
    paused = state.of("paused", dict[str, float])
    if isinstance(event, Change):
        row = event.after
        since = None if row is None else paused.get(row.name)
        call = state.calls.get(event.call) if event.call is not None else None
        if row is None or since is None or call is None or call.invoked.at <= since:
            return
        if not _may_have_been_resumed(row.name, state):
            when = f"claimed by a call of {call.invoked.at:.3f} s"
            raise Broken(f"{when}, and {row.name!r} is paused since {since:.3f} s", job=row.id, since=since)
    else:
        call = state.calls[event.call]
        name = call.invoked.args["name"]
        if not call.invoked.args["paused"]:
            state.of("resumed", dict[str, list[Call]]).setdefault(name, []).append(call)
            paused.pop(name, None)
        elif isinstance(event, Answered) and event.outcome == "ok":
            paused[name] = event.at


def _may_have_been_resumed(name: str, state: RunState) -> bool:
    """Return whether a queue may have been resumed since, by a call or by a late unanswered one."""
    resumed = state.of("resumed", dict[str, list[Call]]).get(name, [])
    since = state.of("paused", dict[str, float])[name]
    return any(call.outcome in {None, "unknown"} or call.answered is None for call in resumed) or any(
        call.answered is not None and call.answered.at >= since for call in resumed
    )
