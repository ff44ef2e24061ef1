"""The state of a run so far: the history, indexed for the properties.

It is updated once per event and shared by all properties. Rows are those observed from outside the store, so
that the store's answers can be checked against them.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zeke_queue.model import RowState
from zeke_sim.history.events import (
    Answered,
    Began,
    Change,
    Ended,
    Fault,
    Invoked,
    Lived,
    Phase,
    QueueRow,
    ScheduleRow,
    WorkerRow,
)
from zeke_sim.history.rows import (
    ENDS,
    LOST_FOR,
    MOMENT,
    Broken,
    Call,
    End,
    Life,
    Node,
    Place,
    Request,
    WorkerActivity,
    ending,
    ids_answered,
    is_moved,
    is_of_waiting,
    place_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import Schedule
    from zeke_sim.history.events import Image, Rules

__all__ = [
    "ENDS",
    "LOST_FOR",
    "MOMENT",
    "Broken",
    "Call",
    "End",
    "Life",
    "Node",
    "Place",
    "Request",
    "RunState",
    "WorkerActivity",
    "ending",
    "ids_answered",
    "is_moved",
    "is_of_waiting",
    "place_of",
]

T = TypeVar("T")

VACATED_KEPT: Final = 2
"""Jobs that left a place and are kept: one may be the job that is asked about, and the other is not."""

_CREATED, _RETRY, _ACTIVE = RowState.CREATED, RowState.RETRY, RowState.ACTIVE


class RunState:
    """The history so far.

    Attributes:
        at, now: the time of the latest event, and the storage's time when last observed.
        lives: every job that was ever named.
        live, archive: the rows of the two tables.
        waiting, active: the waiting and the active rows of each queue.
        calls: all calls by number.
        transactions: the calls of each transaction in order.
        workers, heartbeats: the current rows of workers, and all rows that each one had.
        limited: when a queue's limit last changed, and the previous limit.
        activity: what each worker does, by its id.
        made_room: when a job of a queue last ended or was released.
        places, vacated: the job that occupies each exclusive place, and when the last two that did left it.
        ruled_overdue: the reason for each attempt that the storage reported as overdue.
        phase, since: the current phase, and when each phase began.
        attributed: whether the call of each change is known.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.at = 0.0
        self.now: datetime | None = None
        self.phase = ""
        self.since: dict[str, float] = {}
        self.lives: defaultdict[UUID, Life] = defaultdict(Life)
        self.live: dict[UUID, Image] = {}
        self.archive: dict[UUID, Image] = {}
        self.waiting: defaultdict[str, dict[UUID, Image]] = defaultdict(dict)
        self.active: defaultdict[str, dict[UUID, Image]] = defaultdict(dict)
        self.calls: dict[int, Call] = {}
        self.transactions: defaultdict[int, list[Call]] = defaultdict(list)
        self.workers: dict[UUID, WorkerRow] = {}
        self.heartbeats: defaultdict[UUID, list[WorkerRow]] = defaultdict(list)
        self.queues: dict[str, QueueRow] = {}
        self.limited: dict[str, tuple[float, int | None]] = {}
        self.schedules: dict[str, Schedule] = {}
        self.nodes: defaultdict[str, Node] = defaultdict(Node)
        self.activity: defaultdict[UUID, WorkerActivity] = defaultdict(WorkerActivity)
        self.places: defaultdict[Place, dict[UUID, Image]] = defaultdict(dict)
        self.vacated: defaultdict[Place, dict[UUID, float]] = defaultdict(dict)
        self.ruled_overdue: defaultdict[tuple[UUID, int], set[str]] = defaultdict(set)
        self.made_room: dict[str, float] = {}
        self.attributed = False
        self.faults: list[Fault] = []
        self._offsets: list[tuple[float, datetime]] = []
        self._scratch: dict[str, Any] = {}
        self._takes: dict[type, Callable[[Any], None]] = {
            Change: self._change,
            Invoked: self._invoked,
            Answered: self._answered,
            Began: self._began,
            Ended: self._ended,
            WorkerRow: self._worker_row,
            QueueRow: self._queue_row,
            ScheduleRow: self._schedule_row,
            Lived: self._lived,
            Fault: self._fault,
            Phase: self._phase,
        }

    def taking(self, kind: type) -> Callable[[Any], None] | None:
        """Return the update function for events of a kind, to be called after ``at`` is set; None if none."""
        return self._takes.get(kind)

    # For properties

    def of(self, name: str, make: Callable[[], T]) -> T:
        """Return a property's own state, created on first access."""
        kept = self._scratch.get(name)
        if kept is None:
            kept = self._scratch[name] = make()
        return kept

    def ancestors(self, job: UUID) -> set[UUID]:
        """Return the ids of a job's parent, the parent's parent, and so on."""
        found: set[UUID] = set()
        row = self.lives[job].row if job in self.lives else None
        while row is not None and row.parent is not None and row.parent not in found:
            found.add(row.parent)
            row = self.lives[row.parent].row if row.parent in self.lives else None
        return found

    def causes(self, change: Change) -> list[Call]:
        """Return the calls that may have made a change: one, or all of its transaction; none if unknown."""
        call = self.calls.get(change.call) if change.call is not None else None
        if call is None:
            return []
        if call.invoked.transaction is None:
            return [call]
        return self.transactions[call.invoked.transaction]

    def stamped(self, stamp: datetime, since: float) -> bool:
        """Return whether the storage's clock may have shown a time at some moment from ``since`` until now.

        If a fault made the clock jump in that interval, not all of its readings were observed.
        """
        if stamp == self.now:
            return True
        return self._shown(stamp, since) or any(
            fault.at >= since and fault.kind == "db_clock" for fault in reversed(self.faults)
        )

    def _shown(self, stamp: datetime, since: float) -> bool:
        low, high = timedelta(seconds=since) - MOMENT, timedelta(seconds=self.at) + MOMENT
        for seen, zero in reversed(self._offsets):
            if zero + low <= stamp <= zero + high:
                return True
            if seen <= since:
                break
        return False

    def instant(self, moment: datetime) -> float:
        """Convert a time of the storage's clock, at its current offset, to seconds since the run began."""
        if not self._offsets:
            return 0.0
        return (moment - self._offsets[-1][1]).total_seconds()

    # Updates

    def _change(self, event: Change) -> None:
        self._saw(event.at, event.now)
        before, after, in_jobs = event.before, event.after, event.table == "job"
        row = after or before
        if row is None:
            return
        job_id = row.id
        life = self.lives[job_id]
        life.changes.append(event)
        table = self.live if in_jobs else self.archive
        if after is not None:
            table[job_id] = after
            life.row, life.table = after, event.table
        else:
            table.pop(job_id, None)
            if life.table == event.table:
                life.row, life.table = None, ""
        if in_jobs:
            self._follow(event, life, before, after)
        if event.call is not None and (call := self.calls.get(event.call)) is not None:
            self.attributed = True
            call.did.append(event)

    def _follow(self, event: Change, life: Life, before: Image | None, after: Image | None) -> None:
        """Update the waiting and active rows, and the counts of a job's life."""
        was = None if before is None else before.state
        if before is not None:
            self._leave(event, before)
        if after is not None:
            self._enter(after)
            if was is None:
                life.failures = 0
                # A purged id may be sent again, and its attempts then start at one.
                life.claims.clear()
                life.extensions.clear()
                life.began.clear()
                life.ended.clear()
            elif after.state is _ACTIVE and (before is None or before.attempt != after.attempt):
                life.claims[after.attempt] = event
            if was is _ACTIVE and after.state in _FAILING and not after.superseded:
                life.failures += 1
        if after is None or was is not after.state:
            life.earlier, life.since = life.since, event.at

    def occupied(self, place: Place, since: float, *, but: UUID | None = None) -> bool:
        """Return whether a job, other than ``but``, occupied an exclusive place at any time since then."""
        now = self.places.get(place, ())
        earlier = self.vacated.get(place, {})
        return any(job != but for job in now) or any(at >= since for job, at in earlier.items() if job != but)

    def _leave(self, event: Change, row: Image) -> None:
        if row.state is _ACTIVE:
            self.active[row.name].pop(row.id, None)
            self.made_room[row.name] = event.at
            if row.worker is not None:
                activity = self.activity[row.worker]
                activity.holds.discard(row.id)
                activity.rested = event.at
        elif row.state is _CREATED or row.state is _RETRY:
            self.waiting[row.name].pop(row.id, None)
        if (place := place_of(row)) is not None:
            self.places[place].pop(row.id, None)
            vacated = self.vacated[place]
            vacated.pop(row.id, None)
            vacated[row.id] = event.at
            if len(vacated) > VACATED_KEPT:
                del vacated[next(iter(vacated))]

    def _enter(self, row: Image) -> None:
        if row.state is _ACTIVE:
            self.active[row.name][row.id] = row
            if row.worker is not None:
                activity = self.activity[row.worker]
                if not activity.holds:
                    activity.busy = self.at
                activity.holds.add(row.id)
        elif row.state is _CREATED or row.state is _RETRY:
            self.waiting[row.name][row.id] = row
        if (place := place_of(row)) is not None:
            self.places[place][row.id] = row

    def _invoked(self, event: Invoked) -> None:
        call = Call(event)
        self.calls[event.call] = call
        self.nodes[event.node].open[event.call] = event.at
        if event.transaction is not None:
            self.transactions[event.transaction].append(call)
        verb, args = event.verb, event.args
        if verb == "insert":
            for job in args["jobs"]:
                self.lives[job.id].sends.append(Request(call, job))
        elif verb == "insert_child":
            self.lives[args["child"].id].sends.append(Request(call, args["child"]))
        elif verb in _SETTLING:
            self._asked_to_settle(call)
        elif verb == "extend":
            for asked in args["extended"]:
                self.lives[asked.id].extensions.setdefault(asked.attempt, []).append(Request(call, asked))
        else:
            self._busy(event.node, verb, args)

    def _busy(self, name: str, verb: str, args: Mapping[str, Any]) -> None:
        """Record a node's duties by the calls that it makes."""
        if verb == "claim":
            activity = self.activity[args["worker"]]
            activity.node = name
            capacity = args["capacity"]
            if len(capacity) > activity.widest:
                activity.widest = len(capacity)
                activity.queues.update([want.name for want in capacity])
            self.nodes[name].workers.add(args["worker"])
        elif verb in _DUTIES:
            self.nodes[name].duties.add(verb)

    def _asked_to_settle(self, call: Call) -> None:
        args = call.invoked.args
        for key in ("completed", "failed", "released", "waiting"):
            for outcome in args.get(key, ()):
                self.lives[outcome.id].outcomes.setdefault(outcome.attempt, []).append(Request(call, outcome))

    def _answered(self, event: Answered) -> None:
        call = self.calls.get(event.call)
        if call is None:
            return
        call.answered, call.outcome = event, event.outcome
        node = self.nodes[event.node]
        made = node.open.pop(event.call, None)
        if event.outcome != "ok":
            node.hampered = event.at
            return
        if made is not None and event.at - made > self.rules.late:
            node.hampered = event.at
        if event.verb in _SENDING and call.invoked.transaction is None:
            self._acknowledge(call, event.at)
        elif event.verb == "commit" and call.invoked.transaction is not None:
            for earlier in self.transactions[call.invoked.transaction]:
                if earlier.invoked.verb == "insert" and earlier.outcome == "ok":
                    self._acknowledge(earlier, event.at)
        elif event.verb == "lock_expired":
            for job in event.result:
                self.ruled_overdue[job.id, job.attempt].add(job.reason)

    def _acknowledge(self, call: Call, at: float) -> None:
        for job_id in ids_answered(call):
            if job_id is not None and (life := self.lives[job_id]).acknowledged is None:
                life.acknowledged = at

    def _began(self, event: Began) -> None:
        self.lives[event.job].began.setdefault(event.attempt, []).append(event)
        self.nodes[event.node].running.add((event.job, event.attempt))

    def _ended(self, event: Ended) -> None:
        self.lives[event.job].ended.setdefault(event.attempt, []).append(event)
        node = self.nodes[event.node]
        node.running.discard((event.job, event.attempt))
        node.rested = event.at

    def _worker_row(self, event: WorkerRow) -> None:
        self._saw(event.at, event.now)
        self.heartbeats[event.worker].append(event)
        if event.gone:
            self.workers.pop(event.worker, None)
        else:
            self.workers[event.worker] = event

    def _queue_row(self, event: QueueRow) -> None:
        self._saw(event.at, event.now)
        before = self.queues.get(event.name)
        limit = None if before is None else before.concurrency_limit
        shared = () if before is None else before.limited_with
        if (limit, shared) != (event.concurrency_limit, event.limited_with):
            # A claim under way may count only the queues that shared the limit before.
            self.limited[event.name] = (event.at, limit if shared == event.limited_with else None)
        self.queues[event.name] = event

    def _schedule_row(self, event: ScheduleRow) -> None:
        self._saw(event.at, event.now)
        if event.after is None:
            self.schedules.pop(event.name, None)
        else:
            self.schedules[event.name] = event.after

    def _lived(self, event: Lived) -> None:
        node, what = self.nodes[event.node], event.what
        if what == "started":
            node = self.nodes[event.node] = Node()
        elif what in {"paused", "resumed"}:
            node.paused = what == "paused"
        elif what in {"partitioned", "reconnected"}:
            node.partitioned = what == "partitioned"
        else:
            node.state = what
        node.changed = event.at

    def _fault(self, event: Fault) -> None:
        self.faults.append(event)

    def _phase(self, event: Phase) -> None:
        self.phase = event.phase
        self.since[event.phase] = event.at

    def _saw(self, at: float, now: datetime) -> None:
        """Record the storage's time, as the time that its clock would have shown when the run began."""
        self.now = now
        zero = now - timedelta(seconds=at)
        if self._offsets:
            known = self._offsets[-1][1]
            if -MOMENT < zero - known < MOMENT:
                return
        self._offsets.append((at, zero))


_DUTIES: Final = frozenset({"lock_expired", "resume_waiting", "archive", "purge", "lock_due_schedules"})
_SENDING: Final = frozenset({"insert", "insert_child"})
_SETTLING: Final = frozenset({"settle", "settle_unlocked", "suspend"})
_FAILING: Final = frozenset({RowState.RETRY, RowState.FAILED, RowState.EXPIRED})
