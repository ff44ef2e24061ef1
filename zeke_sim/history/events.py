"""What happened in a run: one list of events, which every property judges and every report draws.

A history is made twice. In a simulation, the recorder looks at the memory store's rows from outside, and the
clients' calls pass by it. On a real Postgres, row changes come from logical decoding in the order of their
commits, and calls from what the clients wrote down. The events are the same, and so are the properties.

Times: ``at`` is seconds since the run began, on a clock that never goes back. ``now`` is the storage's time
when a row changed, aware, by which rows are judged, since the database's clock may jump.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.core.options import JobOptions
    from zeke_queue.model import JobState, RunStatus, Schedule


class Image(NamedTuple):
    """A job's row as it stood after a change; the columns of ``zeke_queue.model.Job`` of the same names.

    ``data`` and ``output`` are JSON text as jsonb prints it, ``expire_in`` is a number of seconds,
    ``superseded`` says that the job ended because another took its place, ``failures`` counts the attempts
    kept in its history.
    """

    id: UUID
    name: str
    state: JobState
    priority: int
    attempt: int
    retry_count: int
    retry_limit: int
    retry_delay: int
    retry_backoff: bool
    retry_delay_max: int | None
    start_after: datetime
    started_on: datetime | None
    expire_in: float
    created_on: datetime
    completed_on: datetime | None
    singleton_key: str | None
    singleton_on: datetime | None
    worker: UUID | None
    parent: UUID | None
    data: str | None
    output: str | None
    archived_on: datetime | None
    superseded: bool
    failures: int
    waits_for: UUID | None = None
    awaited: bool = False


class Change(NamedTuple):
    """A commit changed a job's row.

    Attributes:
        table: ``job``, or ``archive``. A move is two changes of one instant: ``job`` loses it, ``archive``
            gets it.
        before: None for a row that is new.
        after: None for a row that went.
        call: the number of the call that did it; None where that is not known.
        commit: changes with one number became visible at once.
    """

    at: float
    now: datetime
    table: Literal["job", "archive"]
    before: Image | None
    after: Image | None
    call: int | None
    commit: int


class WorkerRow(NamedTuple):
    """A worker's row was written (a beat), or went (``gone``: it left, or was forgotten)."""

    at: float
    now: datetime
    worker: UUID
    beat_on: datetime | None
    lease: float
    gone: bool


class QueueRow(NamedTuple):
    """A queue's settings were written."""

    at: float
    now: datetime
    name: str
    concurrency_limit: int | None
    paused_on: datetime | None


class ScheduleRow(NamedTuple):
    """A schedule's row was written, or dropped (``after`` is None).

    ``declared`` is what code declared last, as far as the row tells, and ``declared_before`` what it had
    declared before this.
    """

    at: float
    now: datetime
    name: str
    before: Schedule | None
    after: Schedule | None
    declared: Schedule | None = None
    declared_before: Schedule | None = None


class Invoked(NamedTuple):
    """A node called its storage.

    Attributes:
        call: a number that no other call of the run has.
        verb: of ``zeke_queue.storage.store.Storage``, or ``commit`` for the end of a transaction, whose
            verbs are calls of their own before it.
        args: the verb's arguments by name, as the protocol names them.
        transaction: which transaction it is part of; None for a statement of its own.
    """

    at: float
    node: str
    call: int
    verb: str
    args: Mapping[str, Any]
    transaction: int | None


class Answered(NamedTuple):
    """A call ended.

    Attributes:
        outcome: ``ok``; ``failed``: it is certain that nothing was done; ``unknown``: it was done or not.
        result: what the verb returned; of a call that was not ok, the error's text.
        issued: the storage's time when the statement began; None if it never reached it.
    """

    at: float
    node: str
    call: int
    verb: str
    outcome: Literal["ok", "failed", "unknown"]
    result: Any
    issued: datetime | None


class Began(NamedTuple):
    """A handler began an attempt."""

    at: float
    node: str
    task: str
    job: UUID
    attempt: int


class Ended(NamedTuple):
    """A handler's attempt ended: it returned ``value``, or raised (``value`` is the error's text).

    ``asked`` is the number of seconds that a ``Snooze`` or a ``Retry`` said; None if there was none.
    """

    at: float
    node: str
    task: str
    job: UUID
    attempt: int
    how: Literal["returned", "raised", "cancelled"]
    value: Any
    asked: float | None = None


class Effect(NamedTuple):
    """A handler had an effect on the world outside: ``key`` says which; the node was ``alive`` or dead."""

    at: float
    node: str
    job: UUID | None
    attempt: int
    key: str
    alive: bool


class Told(NamedTuple):
    """A watcher was told a job's status."""

    at: float
    node: str
    watch: int
    job: UUID
    status: RunStatus
    attempt: int


class Lived(NamedTuple):
    """A node's life."""

    at: float
    node: str
    what: Literal["started", "killed", "paused", "resumed", "stopping", "stopped", "cut", "joined"]


class Fault(NamedTuple):
    """A fault was injected.

    Attributes:
        address: where, as the plan names it.
        kind: of ``zeke_sim.world.faults.KINDS``.
        until: when it ends, in seconds since the run began; None for one without a length.
    """

    at: float
    node: str
    address: str
    kind: str
    until: float | None


class Phase(NamedTuple):
    """A phase began: ``faults``, then ``quiet`` (all is healed), then ``end`` (all should have drained)."""

    at: float
    phase: Literal["faults", "quiet", "end"]


Event: TypeAlias = (
    Change
    | WorkerRow
    | QueueRow
    | ScheduleRow
    | Invoked
    | Answered
    | Began
    | Ended
    | Effect
    | Told
    | Lived
    | Fault
    | Phase
)

EVENTS: Final = (
    Change,
    WorkerRow,
    QueueRow,
    ScheduleRow,
    Invoked,
    Answered,
    Began,
    Ended,
    Effect,
    Told,
    Lived,
    Fault,
    Phase,
)
"""Every kind of event."""


class Rules(NamedTuple):
    """What a run was set up with, by which some properties judge.

    Attributes:
        archive_after, delete_after: seconds, as the supervisors have them; None if none runs.
        sweep: seconds between a supervisor's sweeps.
        poll: seconds between an idle worker's looks.
        lease: seconds of silence after which a worker counts as dead.
        slack: seconds that healthy parts may be late: the longest latency without a fault, a few times over.
        limits: concurrency limits that the catalog declares, by queue.
        strict_order: whether claims pass no due row over, as they may where rows are locked.
        drift: by which part a node's clock goes too fast or too slow at most.
        grace: seconds that running handlers have when their worker is told to stop.
        shared: the limits of tasks with aliases, by all names of each; several where there are several
            versions of the catalog.
        options: what tasks say of their jobs, by queue; of each version.
        duties: the verbs that a node is there to call, by its name; of those that are known.
    """

    archive_after: float | None = None
    delete_after: float | None = None
    sweep: float = 5.0
    poll: float = 2.0
    lease: float = 15.0
    slack: float = 1.0
    limits: Mapping[str, int] = {}
    strict_order: bool = False
    drift: float = 0.05
    grace: float = 30.0
    shared: Mapping[tuple[str, ...], Sequence[int | None]] = {}
    options: Mapping[str, Sequence[JobOptions]] = {}
    duties: Mapping[str, tuple[str, ...]] = {}


class Violation(Exception):
    """A property does not hold.

    Attributes:
        rule: the property's name.
        text: what broke it, with the values.
        job: the job that it is about, if it is about one.
        since, at: the interval to look at, in seconds since the run began.
    """

    def __init__(
        self, rule: str, text: str, *, job: UUID | None = None, since: float | None = None, at: float = 0.0
    ) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text
        self.job = job
        self.since = at if since is None else since
        self.at = at
