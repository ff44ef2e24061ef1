"""The events of a run: one list, which all properties check and all reports draw.

There are two sources of histories. In a simulation, the recorder observes the memory store's rows from
outside and intercepts the clients' calls. On a real Postgres, row changes come from logical decoding in
commit order, and calls from the clients' logs. Events and properties are the same for both.

Times: ``at`` is in seconds since the run began, on a monotonic clock. ``now`` is the storage's time of a row
change, aware; rows are checked against it, since the database's clock may jump.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.core.options import OptionLayer
    from zeke_queue.model import JobStatus, RowState, Schedule


class Image(NamedTuple):
    """A job's row after a change, with the columns of ``zeke_queue.model.Job`` of the same names.

    ``data`` and ``output`` are JSON text as jsonb prints it, ``expire_in`` is in seconds, ``superseded`` is
    true if the job ended because another replaced it, and ``failures`` counts the attempts in its history.
    """

    id: UUID
    name: str
    state: RowState
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
    """A committed change of a job's row.

    Attributes:
        table: ``job`` or ``archive``. A move is two changes at one instant: a deletion from ``job`` and an
            insertion into ``archive``.
        before: the old row; None for an insertion.
        after: the new row; None for a deletion.
        call: the number of the call that made the change; None if unknown.
        commit: changes with the same number became visible together.
    """

    at: float
    now: datetime
    table: Literal["job", "archive"]
    before: Image | None
    after: Image | None
    call: int | None
    commit: int


class WorkerRow(NamedTuple):
    """A worker's row was written (a heartbeat), or deleted (``gone``: the worker left or was purged)."""

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
    limited_with: tuple[str, ...] = ()


class ScheduleRow(NamedTuple):
    """A schedule's row was written, or deleted (``after`` is None).

    ``declared`` is the last declaration by code as stored in the row, and ``declared_before`` the one before
    this change.
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
        call: the call's number, unique in the run.
        verb: a method of ``zeke_queue.storage.Storage``, or ``commit`` for the end of a transaction,
            whose statements are separate calls before it. The database ``db`` itself calls ``rollback`` when
            it has rolled one back, in a simulation.
        args: the method's arguments by their names in the protocol.
        transaction: the number of its transaction; None outside of one.
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
        outcome: ``ok``; ``failed``: certainly without effect; ``unknown``: with or without effect.
        result: the method's result, or the error's text if the call was not ok.
        issued: the storage's time when the statement began; None if the statement never arrived.
        waited: seconds for which the statement waited for locks, as far as that is known.
    """

    at: float
    node: str
    call: int
    verb: str
    outcome: Literal["ok", "failed", "unknown"]
    result: Any
    issued: datetime | None
    waited: float = 0.0


class Began(NamedTuple):
    """A handler began an attempt."""

    at: float
    node: str
    task: str
    job: UUID
    attempt: int


class Ended(NamedTuple):
    """A handler ended: it returned ``value``, or raised (``value`` is the error's text).

    ``asked`` is the delay in seconds of a ``Snooze`` or a ``Retry``; None for other ends.
    """

    at: float
    node: str
    task: str
    job: UUID
    attempt: int
    how: Literal["returned", "raised", "cancelled"]
    value: Any
    asked: float | None = None


class Line(NamedTuple):
    """A point in an application's code.

    Attributes:
        file: the path from the folder that Python imports the module from.
        owner: the qualified name of the function that contains it.
        number: the line number of the statement.
        text: the statement's first line.
        after: whether the point is after an ``await`` of that line, or before the statement.
    """

    file: str
    owner: str
    number: int
    text: str
    after: bool = False

    def __str__(self) -> str:
        """Return the place as reports show it: ``shop/tasks.py:18 (`await bank.record(order)`)``."""
        return f"{self.file}:{self.number} (`{self.text}`)"


class Effect(NamedTuple):
    """An external effect of a handler.

    Attributes:
        key: identifies it.
        alive: whether its node was alive.
        called: whether a call of a ``zeke_sim.double`` caused it on a server; its node may have died before.
        line: the point that the handler had passed last; None if it is unknown.
    """

    at: float
    node: str
    job: UUID | None
    attempt: int
    key: str
    alive: bool
    called: bool = False
    line: Line | None = None


class Wrote(NamedTuple):
    """A handler wrote a log line, or reported progress; ``rows.text_of`` returns the text."""

    at: float
    node: str
    job: UUID
    attempt: int
    kind: Literal["progress", "log"]
    text: str


class Notified(NamedTuple):
    """A watcher was notified of a job's status."""

    at: float
    node: str
    watch: int
    job: UUID
    status: JobStatus
    attempt: int


class Received(NamedTuple):
    """A watcher of a job received one of its progress or log lines."""

    at: float
    node: str
    watch: int
    job: UUID
    attempt: int
    seq: int


class Lived(NamedTuple):
    """An event in the life of a node."""

    at: float
    node: str
    what: Literal[
        "started", "killed", "paused", "resumed", "stopping", "stopped", "partitioned", "reconnected"
    ]


class Place(NamedTuple):
    """An exclusive place in a queue: a time slot, a key, or a key within a slot."""

    queue: str
    slot: datetime | None
    key: str | None


class Affected(NamedTuple):
    """An attempt that a fault affected while its handler ran.

    Attributes:
        line: the point that the handler passed last; None before the first one, or if its source is unknown.
        returned: whether the handler has returned, and its result is not stored.
    """

    task: str
    job: UUID
    attempt: int
    line: Line | None
    returned: bool = False


class Fault(NamedTuple):
    """A fault was injected.

    Attributes:
        address: its address in the plan.
        kind: one of ``zeke_sim.world.faults.KINDS``.
        until: when it ends, in seconds since the run began; None for a fault without a duration.
        row: the job, or the name of the queue, whose row it locks; or the key.
        affected: the attempts whose handlers it affected; for a fault of a handler's own call, only that one.
    """

    at: float
    node: str
    address: str
    kind: str
    until: float | None
    row: UUID | str | Place | None = None
    affected: Sequence[Affected] = ()


class Phase(NamedTuple):
    """A phase began: ``faults``, then ``quiet`` (all faults healed), then ``end`` (all jobs must be done)."""

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
    | Wrote
    | Notified
    | Received
    | Lived
    | Fault
    | Phase
)

EVENTS: Final[tuple[type, ...]] = get_args(Event)
"""All kinds of events."""


class Rules(NamedTuple):
    """The parameters of a run that properties need.

    Attributes:
        archive_after, delete_after: options of maintenance in seconds; None if none runs.
        sweep: seconds between sweeps of maintenance.
        poll: seconds between an idle worker's polls.
        lease: seconds without a heartbeat after which a worker counts as dead.
        reconnect: seconds from the end of an outage within which a heartbeat must be answered.
        slack: seconds by which healthy parts may be late: a few times the maximum latency without faults.
        limits: concurrency limits declared by the catalog, by queue.
        strict_order: whether claims skip no due rows; otherwise they may skip rows as if locked.
        drift: maximum relative error of a node's clock rate.
        shutdown_timeout: seconds that running handlers have after their worker is asked to stop.
        shared: the limits of tasks with aliases, by all names of each; one per version of the catalog.
        options: the tasks' job options by queue; one per version of the catalog.
        duties: the storage methods that a node is meant to call, by the node's name, where known.
    """

    archive_after: float | None = None
    delete_after: float | None = None
    sweep: float = 5.0
    poll: float = 2.0
    lease: float = 15.0
    reconnect: float = 3.0
    slack: float = 1.0
    limits: Mapping[str, int] = {}
    strict_order: bool = False
    drift: float = 0.05
    shutdown_timeout: float = 30.0
    shared: Mapping[tuple[str, ...], Sequence[int | None]] = {}
    options: Mapping[str, Sequence[OptionLayer]] = {}
    duties: Mapping[str, tuple[str, ...]] = {}

    @property
    def late(self) -> float:
        """Seconds after which an answer disturbs its caller: a worker's lease may end before the next one."""
        return min(self.slack, self.lease / 2)


class Violation(Exception):
    """A property was violated.

    Attributes:
        text: the reason, with the contradictory values.
        since, at: the relevant interval, in seconds since the run began.
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
