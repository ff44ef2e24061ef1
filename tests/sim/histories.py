"""Hand-made histories: a script does what a right storage does, and a test does one thing wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_queue.model import (
    Claimed,
    Completed,
    ExpiredJob,
    Extended,
    Failed,
    JobStatus,
    NewJob,
    QueueCapacity,
    Released,
    RowState,
    Schedule,
    Suspensions,
    Waiting,
    WorkerInfo,
)
from zeke_sim.history.events import (
    Answered,
    Began,
    Change,
    Effect,
    Ended,
    Event,
    Image,
    Invoked,
    Lived,
    Notified,
    Phase,
    QueueRow,
    Rules,
    ScheduleRow,
    Violation,
    WorkerRow,
)
from zeke_sim.properties import ALL, Property
from zeke_sim.properties.checker import Checker

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCH = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WORKERS = {"w1": UUID(int=0xA1), "w2": UUID(int=0xA2)}
ERROR = '{"type":"E","message":"boom","traceback":null}'
ERROR_STORED = '{"type": "E", "message": "boom", "traceback": null}'
CENTURY = timedelta(days=36_500)
CREATED, RETRY, ACTIVE = RowState.CREATED, RowState.RETRY, RowState.ACTIVE
COMPLETED, FAILED = RowState.COMPLETED, RowState.FAILED
CANCELLED, EXPIRED = RowState.CANCELLED, RowState.EXPIRED

BLANK = Image(
    id=UUID(int=1),
    name="a",
    state=CREATED,
    priority=0,
    attempt=0,
    retry_count=0,
    retry_limit=3,
    retry_delay=1,
    retry_backoff=True,
    retry_delay_max=None,
    start_after=EPOCH,
    started_on=None,
    expire_in=60.0,
    created_on=EPOCH,
    completed_on=None,
    singleton_key=None,
    singleton_on=None,
    worker=None,
    parent=None,
    data=None,
    output=None,
    archived_on=None,
    superseded=False,
    failures=0,
)

PROPERTIES = {one.name: one for one in ALL}


class History:
    """Writes what happens, at ``self.at``; every method takes 1 ms, and returns what the next ones need."""

    def __init__(self, **rules: Any) -> None:
        self.rules = Rules(**rules)
        self.events: list[Event] = []
        self.rows: dict[UUID, Image] = {}
        self.at = 0.0
        self.jump = 0.0
        self._calls = 0
        self._commit = 0
        self._ids = 0

    @property
    def now(self) -> datetime:
        """What the storage's clock shows."""
        return EPOCH + timedelta(seconds=self.at + self.jump)

    def wait(self, seconds: float) -> None:
        self.at += seconds

    def phase(self, phase: Any) -> None:
        self.events.append(Phase(self.at, phase))

    # Calls.

    def invoke(self, verb: str, node: str = "c1", transaction: int | None = None, **args: Any) -> int:
        self._calls += 1
        self.at += 0.001
        self.events.append(Invoked(self.at, node, self._calls, verb, args, transaction))
        return self._calls

    def answer(self, call: int, result: Any = None, outcome: Any = "ok", *, waited: float = 0.0) -> None:
        """Answer a call; the storage began its statement when it was made."""
        made = next(e for e in self.events if isinstance(e, Invoked) and e.call == call)
        self.at += 0.001
        issued = EPOCH + timedelta(seconds=made.at + self.jump)
        self.events.append(Answered(self.at, made.node, call, made.verb, outcome, result, issued, waited))

    def change(self, job: UUID, call: int | None = None, **columns: Any) -> Image:
        """Change a row, rightly or wrongly."""
        before = self.rows[job]
        self.rows[job] = after = before._replace(**columns)
        self._write("job", before, after, call)
        return after

    def _write(self, table: Any, before: Image | None, after: Image | None, call: int | None) -> None:
        self._commit += 1
        self.events.append(Change(self.at, self.now, table, before, after, call, self._commit))

    # Sends.

    def new(self, name: str = "a", **options: Any) -> NewJob:
        self._ids += 1
        return NewJob(**{"id": UUID(int=0x1000 + self._ids), "name": name, **options})

    def row_of(self, sent: NewJob, **columns: Any) -> Image:
        """Return the row that a right storage makes of a send."""
        same = {field: getattr(sent, field) for field in _SENT}
        start = sent.start_at or self.now + timedelta(seconds=sent.delay)
        same["data"] = None if sent.data is None else jsonb.normalise(sent.data)
        return BLANK._replace(**{**same, "start_after": start, "created_on": self.now, **columns})

    def insert(self, sent: NewJob, call: int | None = None, **columns: Any) -> UUID:
        """Write the row of a send, correct except for the given columns."""
        row = self.rows[sent.id] = self.row_of(sent, **columns)
        self._write("job", None, row, call)
        return sent.id

    def send(self, name: str = "a", **options: Any) -> UUID:
        """Send a job, and hear of it."""
        sent = self.new(name, **options)
        call = self.invoke("insert", jobs=(sent,))
        self.insert(sent, call)
        self.answer(call, [sent.id])
        return sent.id

    # Workers.

    def heartbeat(self, node: str = "w1", lease: float = 15.0) -> None:
        worker = WORKERS[node]
        call = self.invoke("heartbeat", node, worker=WorkerInfo(worker, node, 1, ("a",), lease))
        self.events.append(WorkerRow(self.at, self.now, worker, self.now, lease, gone=False))
        self.answer(call, {})

    def claim(self, *jobs: UUID, node: str = "w1", free: int = 10, **columns: Any) -> int:
        """Claim jobs; the columns are the incorrect values of the rows."""
        rows = [self.rows[job] for job in jobs]
        names = sorted({row.name for row in rows} or {"a"})
        capacity = tuple(QueueCapacity(name, free) for name in names)
        call = self.invoke("claim", node, worker=WORKERS[node], capacity=capacity, limit=100)
        taken = [self._begin(job, call, node, columns) for job in jobs]
        self.answer(call, [claimed(row) for row in taken])
        return call

    def _begin(self, job: UUID, call: int, node: str, columns: dict[str, Any]) -> Image:
        row = self.rows[job]
        right: dict[str, Any] = {
            "state": ACTIVE,
            "attempt": row.attempt + 1,
            "retry_count": row.retry_count + (row.state is RETRY),
            "worker": WORKERS[node],
            "started_on": self.now,
            "completed_on": None,
        }
        return self.change(job, call, **{**right, **columns})

    def send_claimed(self, name: str = "a", **options: Any) -> UUID:
        """Send a job that w1 claims."""
        job = self.send(name, **options)
        self.claim(job)
        return job

    def begin(self, job: UUID) -> None:
        """Begin the handler of the current attempt on w1."""
        row = self.rows[job]
        self.events.append(Began(self.at, "w1", row.name, job, row.attempt))

    def run(self, job: UUID, how: Any = "returned", value: Any = None, node: str = "w1") -> None:
        """Run the handler of the current attempt for a second."""
        row = self.rows[job]
        self.events.append(Began(self.at, node, row.name, job, row.attempt))
        self.at += 1.0
        self.events.append(Ended(self.at, node, row.name, job, row.attempt, how, value))

    def settle(
        self, job: UUID, outcome: Completed | Failed | Released, *, wakes: Iterable[UUID] = (), **columns: Any
    ) -> int:
        """Settle an attempt, correct except for the given columns, and resume the jobs that wait for it."""
        kinds: dict[type, str] = {Completed: "completed", Failed: "failed", Released: "released"}
        args: dict[str, Any] = {"completed": (), "failed": (), "released": (), "repeated": False}
        call = self.invoke("settle", "w1", **{**args, kinds[type(outcome)]: (outcome,)})
        self.change(job, call, **{**self._settled(job, outcome), **columns})
        for parent in wakes:
            self.wake(parent, call)
        self.answer(call, {job})
        return call

    def _settled(self, job: UUID, outcome: Completed | Failed | Released) -> dict[str, Any]:
        row = self.rows[job]
        if isinstance(outcome, Completed):
            return {"state": COMPLETED, "completed_on": self.now, "output": outcome.output}
        wait = outcome.delay if isinstance(outcome, Released) else outcome.retry_in
        if wait is None:
            assert isinstance(outcome, Failed)
            ended = {"state": outcome.final, "completed_on": self.now}
            return {**ended, "output": ERROR_STORED, "failures": row.failures + 1}
        waits = {"worker": None, "start_after": self.now + timedelta(seconds=wait)}
        if isinstance(outcome, Released):
            return {"state": CREATED, **waits}
        return {"state": RETRY, **waits, "output": ERROR_STORED, "failures": row.failures + 1}

    def complete(self, job: UUID, value: Any = None, output: str | None = None) -> None:
        """Claim a job, run it, and store what its handler returned."""
        self.claim(job)
        self.run(job, "returned", value)
        self.settle(job, Completed(job, self.rows[job].attempt, output))

    def fail(self, job: UUID, retry_in: float | None = 1.0, **columns: Any) -> None:
        """Claim a job, raise in its handler, and store that."""
        self.claim(job)
        self.run(job, "raised", "E: boom")
        self.settle(job, Failed(job, self.rows[job].attempt, retry_in, ERROR), **columns)
        if retry_in is not None:
            self.wait(retry_in)

    def extend(self, job: UUID, seconds: float, **columns: Any) -> None:
        row = self.rows[job]
        call = self.invoke("extend", "w1", extended=(Extended(job, row.attempt, seconds),))
        assert row.started_on is not None
        ends = (self.now - row.started_on).total_seconds() + seconds
        self.change(job, call, **{"expire_in": ends, **columns})
        self.answer(call, {job})

    # Jobs that wait for others.

    def insert_child(self, parent: UUID, attempt: int | None = None, **options: Any) -> UUID:
        """Send a child that its parent, which runs, is going to wait for."""
        sent = self.new(parent=parent, **options)
        call = self.invoke("insert_child", "w1", child=sent, attempt=attempt or self.rows[parent].attempt)
        self.insert(sent, call)
        self.change(sent.id, call, awaited=True)
        self.answer(call, sent.id)
        return sent.id

    def suspend(self, job: UUID, child: UUID, *, pause: float = 0.0, **columns: Any) -> None:
        """Make the handler of a running job wait for another job, or for a pause if that has ended."""
        self.run(job, "raised", f"Wait: Waits for job {child}")
        waiting = Waiting(job, self.rows[job].attempt, child)
        call = self.invoke("suspend", "w1", waiting=(waiting,), repeated=False)
        rests = CENTURY if columns.get("waits_for", child) is not None else timedelta(seconds=pause)
        right = {"state": CREATED, "worker": None, "waits_for": child, "start_after": self.now + rests}
        self.change(job, call, **{**right, **columns})
        self.answer(call, Suspensions({job}, {}))

    def wake(self, job: UUID, call: int | None = None, **columns: Any) -> None:
        """Resume a waiting job by the call that ends the other one."""
        self.change(job, call, **{"waits_for": None, "start_after": self.now, **columns})

    def overdue(self, job: UUID, reason: Any) -> None:
        """Find an expired job in maintenance."""
        row = self.rows[job]
        call = self.invoke("lock_expired", "v1", limit=10)
        found = ExpiredJob(
            job,
            row.name,
            row.attempt,
            row.retry_count,
            row.retry_limit,
            row.retry_delay,
            row.retry_backoff,
            row.retry_delay_max,
            reason,
            row.worker,
        )
        self.answer(call, [found])

    # People.

    def by_hand(self, verb: str, job: UUID, state: RowState, **columns: Any) -> None:
        """Cancel, resume or retry a job."""
        call = self.invoke(verb, ids=(job,))
        ended = state is CANCELLED
        right: dict[str, Any] = {"state": state, "completed_on": self.now if ended else None}
        if not ended:
            right |= {"start_after": self.now, "worker": None}
        elif self.rows[job].waits_for is not None:
            right["waits_for"] = None
        self.change(job, call, **{**right, **columns})
        self.answer(call, {job})

    def queue(self, name: str = "a", limit: int | None = None, *, paused: bool = False) -> None:
        self.at += 0.001
        self.events.append(QueueRow(self.at, self.now, name, limit, self.now if paused else None))

    # Maintenance.

    def archive(self, job: UUID, after: float = 10.0, **columns: Any) -> None:
        call = self.invoke("archive", "v1", after=after, limit=10)
        self._write("job", self.rows[job], None, call)
        self._commit -= 1
        self._write("archive", None, self._archived(job, columns), call)
        self.answer(call, 1)

    def _archived(self, job: UUID, columns: dict[str, Any]) -> Image:
        self.rows[job] = row = self.rows[job]._replace(**{"archived_on": self.now, **columns})
        return row

    def purge(self, job: UUID, after: float = 10.0) -> None:
        call = self.invoke("purge", "v1", after=after, limit=10)
        self._write("archive", self.rows.pop(job), None, call)
        self.answer(call, 1)

    def keep(self, job: UUID, **columns: Any) -> None:
        """Keep a row in the archive for longer, as a purge does for the job's parent."""
        call = self.invoke("purge", "v1", after=10.0, limit=10)
        self._write("archive", self.rows[job], self._archived(job, columns), call)
        self.answer(call, 0)

    # Other events.

    def effect(self, job: UUID, key: str, *, alive: bool = True, called: bool = False) -> None:
        self.events.append(Effect(self.at, "w1", job, self.rows[job].attempt, key, alive, called))

    def told(self, job: UUID, status: JobStatus, attempt: int, watch: int = 1) -> None:
        self.events.append(Notified(self.at, "c1", watch, job, status, attempt))

    def lived(self, node: str, what: Any) -> None:
        self.events.append(Lived(self.at, node, what))

    def schedule(self, before: Schedule | None, after: Schedule | None) -> None:
        name = (before or after or Schedule("s", "", "s")).name
        self.events.append(ScheduleRow(self.at, self.now, name, before, after))

    # The verdict.

    def verdict(self, *properties: Property) -> Violation | None:
        """Return what breaks first of some properties (all by default), if anything does."""
        checker = Checker(self.rules, properties=properties or ALL)
        try:
            for event in self.events:
                checker.see(event)
            checker.finish(self.at)
        except Violation as violation:
            return violation
        return None

    def holds(self, rule: str | Property) -> bool:
        """Return whether a property holds in this history."""
        return self.verdict(PROPERTIES[rule] if isinstance(rule, str) else rule) is None

    def breaks(self, rule: str | Property, job: UUID | None = None) -> str:
        """Return how a property is broken by this history, which it must be, by this job if one is given."""
        one = PROPERTIES[rule] if isinstance(rule, str) else rule
        violation = self.verdict(one)
        assert violation is not None, f"{one.name!r} holds"
        assert violation.rule == one.name
        assert job is None or violation.job == job
        return violation.text


_SENT = (
    "id",
    "name",
    "priority",
    "retry_limit",
    "retry_delay",
    "retry_backoff",
    "retry_delay_max",
    "expire_in",
    "singleton_key",
    "parent",
    "data",
)


def claimed(row: Image, **columns: Any) -> Claimed:
    """Return what a claim answers for a row."""
    fields = {field: getattr(row, field) for field in Claimed._fields if field not in {"data", "meta"}}
    data = None if row.data is None else row.data.encode()
    return Claimed(**{**fields, "data": data, "meta": None, **columns})
