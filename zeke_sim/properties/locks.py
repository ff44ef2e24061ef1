"""Locks: a row that another transaction keeps locked delays its own job, and no other one."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

from zeke_queue.core.timeouts import LOCK_SECONDS, TICK_LOCK_SECONDS
from zeke_queue.model import Settled, Suspensions, Waiting
from zeke_sim.history.events import Answered, Change, Invoked, ScheduleRow
from zeke_sim.history.state import ENDS, LOST_FOR, Broken, Place, ending
from zeke_sim.properties.cron import EVERY, put_off, tick_of
from zeke_sim.properties.definition import holds, is_claim, is_end
from zeke_sim.properties.liveness import POLLS, WORKER_RECOVERS, gave_up, open_since
from zeke_sim.properties.occurrences import fields_of, following

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from zeke_queue.model import NewJob
    from zeke_sim.history.events import Image
    from zeke_sim.history.state import Call, RunState

SLOW: Final = 0.2
"""Seconds of a statement, without its waits for locks, after which it counts as a disturbance."""

_SETTLING: Final = frozenset({"settle", "settle_unlocked", "suspend"})
_OUTAGES: Final = frozenset({"restart", "db_clock"})
"""Faults of the database that disturb all processes, or the comparison of times."""


class _Known:
    """The state of these properties.

    Attributes:
        latest: the last answer that was recorded.
        disturbed: when a call of each process last failed, or took long, not because of a lock.
        suspended: when a ``suspend`` of each process last gave up waiting for a lock.
        asked: when each process made the last claim that was answered.
        undecided: late changes by the call on whose answer it depends whether a lock delayed them.
    """

    def __init__(self) -> None:
        self.latest: Answered | None = None
        self.disturbed: dict[str, float] = {}
        self.suspended: dict[str, float] = {}
        self.asked: dict[str, float] = {}
        self.undecided: dict[int, list[_Late]] = {}


def _remember(event: Answered, state: RunState) -> _Known:
    """Record an answer, on behalf of the first of these properties that is checked."""
    known = state.of("locks", _Known)
    if known.latest is not event:
        known.latest = event
        if event.issued is None or _took(event, state) > SLOW:
            known.disturbed[event.node] = event.at
        if event.verb == "suspend" and gave_up(event):
            known.suspended[event.node] = event.at
    return known


def _took(event: Answered, state: RunState) -> float:
    """Return the seconds that an answered call took, without its waits for locks."""
    return event.at - state.calls[event.call].invoked.at - event.waited


def _undisturbed_since(name: str, state: RunState, *, but: frozenset[str] = frozenset()) -> float | None:
    """Return since when nothing but locks has disturbed a process; None if something does now.

    Args:
        but: storage methods whose unanswered calls do not matter.
    """
    node = state.nodes[name]
    if not node.healthy:
        return None
    for number, made in node.open.items():
        if state.at - made > LOCK_SECONDS + SLOW and state.calls[number].invoked.verb not in but:
            return None
    disturbed = state.of("locks", _Known).disturbed.get(name, -inf)
    for fault in state.faults:
        if fault.node == "db" and fault.kind in _OUTAGES:
            disturbed = max(disturbed, fault.at if fault.until is None else fault.until)
    return max(node.changed, disturbed + WORKER_RECOVERS)


@holds("a locked row delays only its own outcome", Change, Answered, steps=is_end)
def a_locked_row_delays_only_its_own_outcome(event: Change | Answered, state: RunState) -> None:
    """A worker stores the outcome of a job within the time for a lock, whatever other rows are locked.

    A settlement that skips locked jobs reports no others as locked.
    If it is storing others when the handler ends, it has the time for a lock twice; and four times if jobs
    begin to wait for others, which is stored separately. Exempt is a worker that does not reach the storage
    meanwhile.
    """
    if isinstance(event, Answered):
        for late in _remember(event, state).undecided.pop(event.call, ()):
            _stored_in_time(late, state)
        if isinstance(event.result, Settled | Suspensions):
            _are_locked(event.result.locked, event, state)
        return
    before = event.before
    activity = state.activity.get(before.worker) if before is not None and before.worker is not None else None
    if before is None or activity is None:
        return
    life = state.lives[before.id]
    claim = life.claims.get(before.attempt)
    requests = [
        asked
        for asked in life.outcomes.get(before.attempt, ())
        # A purged id may be sent again, and its attempts then start at one.
        if claim is not None and asked.call.invoked.at >= claim.at
        if asked.call.invoked.node == activity.node and asked.call.invoked.transaction is None
    ]
    if not requests:
        return
    since, allowed = requests[0].call.invoked.at, LOCK_SECONDS + state.rules.slack
    if event.at <= since + allowed:
        ends = [ended.at for ended in life.ended.get(before.attempt, ()) if ended.how != "cancelled"]
        since = ends[-1] if ends else since
        suspended = state.of("locks", _Known).suspended.get(activity.node, -inf) >= since
        allowed += (3 if suspended else 1) * LOCK_SECONDS
    if event.at <= since + allowed:
        return
    late = _Late(event, activity.node, since, allowed, requests[0].what)
    unanswered = [asked.call.invoked.call for asked in requests if asked.call.answered is None]
    if unanswered:
        state.of("locks", _Known).undecided.setdefault(unanswered[0], []).append(late)
    else:
        _stored_in_time(late, state)


class _Late(NamedTuple):
    """An outcome that took longer than a lock may delay it.

    Attributes:
        change: by which it was stored.
        node: its worker's process.
        since: when the handler ended, or when the worker first asked for it.
        allowed: in how many seconds it had to be stored.
        outcome: what the worker asked for.
    """

    change: Change
    node: str
    since: float
    allowed: float
    outcome: object


def _stored_in_time(late: _Late, state: RunState) -> None:
    """Raise if nothing but the lock of another row has delayed an outcome."""
    row, well = late.change.before, _undisturbed_since(late.node, state, but=_SETTLING)
    if row is None or well is None:
        return
    due = max(late.since, well)
    if late.change.at > due + late.allowed and _is_free(row, late.since, state, late.outcome):
        raise Broken(
            f"{late.node} had the outcome of attempt {row.attempt}, which was not locked, at"
            f" {late.since:.3f} s, and it is stored at {late.change.at:.3f} s",
            job=row.id,
            since=due,
        )


def _are_locked(jobs: Iterable[UUID], event: Answered, state: RunState) -> None:
    """Raise if a settlement reports a job as locked that no other transaction has locked since its call."""
    call = state.calls[event.call].invoked
    for job in jobs:
        row, waiting = state.lives[job].row, (one for one in call.args.get("waiting", ()) if one.id == job)
        if row is not None and _is_free(row, call.at, state, next(waiting, None)):
            raise Broken(f"{event.verb} reports it as locked, and it was not", job=job, since=call.at)


@holds("a locked row delays no other claim", Change, Answered, steps=is_claim)
def a_locked_row_delays_no_other_claim(event: Change | Answered, state: RunState) -> None:
    """A claim waits for no lock, and a worker that runs nothing claims due jobs within its poll interval.

    Exempt from the latter are jobs that are locked, a worker that does not reach the storage meanwhile, and
    one that does not ask: whether workers poll is another property's subject.
    """
    if isinstance(event, Answered):
        known = _remember(event, state)
        if event.verb == "claim":
            _waited_at_most(0.0, event, state)
            known.asked[event.node] = state.calls[event.call].invoked.at
        return
    row, rules = event.before, state.rules
    opened = None if row is None else open_since(row.name, state)
    if row is None or opened is None or "quiet" in state.since:
        return
    due = max(state.lives[row.id].earlier, state.instant(row.start_after), opened)
    polls = 1 if rules.strict_order else POLLS
    most = polls * rules.poll * (1 + rules.drift) + LOCK_SECONDS + rules.slack
    if event.at <= due + most or not _is_free(row, due, state):
        return
    for activity in state.activity.values():
        idle = _idle_since(activity.node, row, state) if row.name in activity.queues else None
        asked = state.of("locks", _Known).asked.get(activity.node, -inf)
        if idle is not None and asked >= due and event.at > max(due, idle) + most:
            raise Broken(
                f"due since {due:.3f} s and not locked, and {activity.node} has run nothing since"
                f" {idle:.3f} s; it is claimed at {event.at:.3f} s, after more than {most:.3f} s",
                job=row.id,
                since=due,
            )


def _waited_at_most(seconds: float, event: Answered, state: RunState) -> None:
    """Raise if a statement has waited longer for locks."""
    if event.waited > seconds:
        since = state.calls[event.call].invoked.at
        raise Broken(
            f"{event.verb} of {event.node}, made at {since:.3f} s, waited {event.waited:.3f} s for locks",
            since=since,
        )


def _idle_since(name: str, row: Image, state: RunState) -> float | None:
    """Return since when a process has run nothing and could have claimed a job; None if it could not."""
    node = state.nodes.get(name)
    if node is None or node.running:
        return None
    well = _undisturbed_since(name, state)
    for worker in node.workers:
        for job in state.activity[worker].holds:
            # A job of the same queue may use up a limit of the worker.
            if state.live[job].name == row.name and state.lives[job].since < state.at:
                return None
    return None if well is None else max(well, node.rested)


@holds("a locked key delays no other schedule", ScheduleRow, Answered, Invoked)
def a_locked_key_delays_no_other_schedule(event: ScheduleRow | Answered | Invoked, state: RunState) -> None:
    """A schedule whose jobs have no key is served in time, whatever keys other transactions have locked.

    Exempt are times in which a scheduler does not reach the storage. The search for due schedules waits for
    no lock, and each later statement of its transaction for a short time only.
    """
    ticks = state.of("ticks and locks", _Ticks)
    if isinstance(event, Answered):
        _remember(event, state)
        if (number := state.calls[event.call].invoked.transaction) is not None:
            first = state.transactions[number][0].invoked
            if first.verb == "lock_due_schedules":
                _waited_at_most(0.0 if first.call == event.call else TICK_LOCK_SECONDS + SLOW, event, state)
        if event.verb == "insert" and gave_up(event):
            ticks.locked = event.at
        return
    if isinstance(event, Invoked):
        if event.verb == "insert":
            ticks.note(event.args["jobs"])
        return
    written = ticks.written.get(event.name, 0.0)
    ticks.written[event.name] = event.at
    tick = None if event.name in ticks.keyed else _served(event)
    if tick is None:
        return
    due = max(state.instant(tick), written)
    allowed = EVERY * (1 + state.rules.drift) + LOCK_SECONDS + state.rules.slack
    if event.at <= due + allowed or ticks.locked < due:
        return
    serving = [name for name, node in state.nodes.items() if "lock_due_schedules" in node.duties]
    well = [_undisturbed_since(name, state) for name in serving]
    if any(one is None or event.at <= one + allowed for one in well) or _lost_in_a_transaction(
        event, due, state
    ):
        return
    raise Broken(
        f"{event.name!r}, whose jobs have no key, was due at {due:.3f} s, and is served at {event.at:.3f} s",
        since=due,
    )


def _served(event: ScheduleRow) -> datetime | None:
    """Return the first occurrence that a scheduler has just decided on, or None."""
    before, after = event.before, event.after
    if before is None or after is None or before.last_tick is None or after.last_tick is None:
        return None
    if after.last_tick <= before.last_tick or fields_of(before.cron) is None or put_off(before) is not None:
        return None
    return following(before.cron, before.zone, before.last_tick)


def _lost_in_a_transaction(event: ScheduleRow, since: float, state: RunState) -> bool:
    """Return whether a transaction whose end is unknown may have kept a schedule locked since then."""
    for calls in state.transactions.values():
        unknown = any(call.answered is not None and not _is_certain(call) for call in calls)
        if _ended_before(calls, since) or (_serves(calls, event) and not unknown):
            continue
        if _ended_before(calls, inf) and all(_is_certain(call) for call in calls):
            continue
        for call in calls:
            if call.invoked.verb == "lock_due_schedules":
                known = call.answered if call.outcome == "ok" else None
                if known is None or any(schedule.name == event.name for schedule in known.result[1]):
                    return True
    return False


def _is_certain(call: Call) -> bool:
    """Return whether a process knows how its call ended."""
    return call.answered is not None and (call.outcome == "ok" or gave_up(call.answered))


def _serves(calls: Sequence[Call], event: ScheduleRow) -> bool:
    """Return whether this transaction serves a schedule now."""
    noted = None if event.after is None else event.after.last_tick
    return any(
        call.invoked.verb == "record_tick"
        and (call.invoked.args["name"], call.invoked.args["last_tick"]) == (event.name, noted)
        for call in calls
    )


class _Ticks:
    """The state of ``a_locked_key_delays_no_other_schedule``.

    Attributes:
        written: when the row of each schedule was last written.
        keyed: schedules whose ticks have a key or a slot.
        locked: when an insert last gave up waiting for a lock.
    """

    def __init__(self) -> None:
        self.written: dict[str, float] = {}
        self.keyed: set[str] = set()
        self.locked = -inf

    def note(self, jobs: Iterable[NewJob]) -> None:
        """Record which schedules' jobs need a key or a slot."""
        for job in jobs:
            if (job.singleton_key is not None or job.slot_seconds is not None) and (
                tick := tick_of(job)
            ) is not None:
                self.keyed.add(tick[0])


def _is_free(row: Image, since: float, state: RunState, outcome: object = None) -> bool:
    """Return whether no other transaction has locked a job, or what its outcome needs, since then."""
    named: set[object] = {row.id, row.name, Place(row.name, None, row.singleton_key)}
    named |= state.ancestors(row.id)
    if isinstance(outcome, Waiting):
        named |= _waited_for(outcome.child, since, state)
    if any(fault.row in named and (fault.until or 0.0) >= since for fault in state.faults):
        return False
    return not any(
        _names(call, row, named, state)
        for calls in state.transactions.values()
        if not _ended_before(calls, since)
        for call in calls
    )


def _waited_for(job: UUID, since: float, state: RunState) -> set[UUID]:
    """Return a job, those for which it has waited since then, and so on."""
    found: set[UUID] = set()
    left = [job]
    while left:
        child = left.pop()
        if child not in found:
            found.add(child)
            rows = state.lives[child].between(since, state.at) if child in state.lives else ()
            left += [row.waits_for for row in rows if row is not None and row.waits_for is not None]
    return found


def _ended_before(calls: Sequence[Call], since: float) -> bool:
    """Return whether a transaction had ended at a time."""
    last = ending(calls)
    if last.invoked.verb not in ENDS:
        return False
    if last.answered is not None and last.outcome == "ok":
        return last.answered.at < since
    return last.invoked.at + LOST_FOR < since


def _names(call: Call, row: Image, named: set[object], state: RunState) -> bool:
    """Return whether a statement may lock a job, or the key or slot that it has or that it is to take."""
    if call.invoked.verb == "lock_expired":
        answer = call.answered
        return answer is None or answer.outcome != "ok" or any(job.id in named for job in answer.result)
    key = None if row.singleton_key is None and row.singleton_on is None else (row.name, row.singleton_key)
    for one in _values(call.invoked.args.values()):
        job = getattr(one, "id", one)
        if isinstance(job, UUID) and job in named:
            return True
        if key is None:
            continue
        known = state.lives[job].row if job in state.lives else None
        other = one if hasattr(one, "singleton_key") else known
        if other is not None and (other.name, other.singleton_key) == key:
            return True
    return False


def _values(arguments: Iterable[Any]) -> Iterator[Any]:
    """Yield arguments, and what those that are collections contain."""
    for one in arguments:
        if hasattr(one, "_fields") or not isinstance(one, list | tuple | set | frozenset):
            yield one
        else:
            yield from cast("Iterable[Any]", one)
