"""The values shared by all parts of the runtime: jobs, outcomes, policies, schedules.

They have no behaviour. Those of a claim or a settlement are named tuples, the rest frozen dataclasses.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID


class RowState(enum.StrEnum):
    """The state of a job's row, in the order of the database's enum, on which comparisons rely.

    Source: pg-boss 9, type ``job_state``.
    """

    CREATED = "created"
    RETRY = "retry"
    ACTIVE = "active"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


WAITING: Final = frozenset({RowState.CREATED, RowState.RETRY})
FINAL: Final = frozenset({RowState.COMPLETED, RowState.EXPIRED, RowState.CANCELLED, RowState.FAILED})


class JobStatus(enum.StrEnum):
    """The status of a job, as users read it: five words for the seven states, mapped by ``STATUS_OF``."""

    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


STATUS_OF: Final[Mapping[RowState, JobStatus]] = {
    RowState.CREATED: JobStatus.QUEUED,
    RowState.RETRY: JobStatus.QUEUED,
    RowState.ACTIVE: JobStatus.EXECUTING,
    RowState.COMPLETED: JobStatus.COMPLETED,
    RowState.EXPIRED: JobStatus.FAILED,
    RowState.CANCELLED: JobStatus.CANCELLED,
    RowState.FAILED: JobStatus.FAILED,
}


EXPIRED_TYPE: Final = "Expired"
"""The error type of an attempt that exceeded its deadline; pg-boss stores no error for one."""

ENDED: Final = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retry policy of a failed job.

    Attributes:
        limit: the maximum number of retries, so that a job fails at most ``limit + 1`` times.
        delay: seconds before a retry, and the unit of the backoff; whole seconds, as in pg-boss.
        backoff: whether the delay doubles with each retry.
        delay_max: a cap on the drawn delay in seconds; None for no cap.
    """

    limit: int = 3
    delay: int = 1
    backoff: bool = True
    delay_max: int | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to insert, with every option resolved. Times are durations: the storage adds its clock.

    Attributes:
        id: chosen by the sender (UUIDv7), so that an insert without an answer can be repeated.
        name: the queue.
        data: canonical JSON text of the payload (``core.jsonb.dumps``), or None for no payload.
        delay: seconds from now until the job may start; 0 is at once. Ignored if ``start_at`` is given.
        start_at: the instant (aware) at which the job may start, which may lie in the past.
        expire_in: seconds that one attempt may take.
        singleton_key: at most one job of the queue with this key waits or runs.
        slot_seconds: length of the throttle slot; at most one job per slot (and key) that has not failed.
        slot_offset: seconds added to now before the slot is computed; with an offset above 0 the job also
            starts no earlier than its slot, which is how a debounce sends into the next slot.
        parent: the job that sent this one.
        meta: canonical JSON text of an object passed on from parent to child, or None.
        fresh: whether the id was made for this insert and this is the first try of it: then no job has the
            id, and the storage need not check.
    """

    id: UUID
    name: str
    data: str | None = None
    priority: int = 0
    delay: float = 0.0
    start_at: datetime | None = None
    retry_limit: int = 3
    retry_delay: int = 1
    retry_backoff: bool = True
    retry_delay_max: int | None = None
    expire_in: float = 3600.0
    singleton_key: str | None = None
    slot_seconds: int | None = None
    slot_offset: int = 0
    policy: str | None = None
    group_key: str | None = None
    parent: UUID | None = None
    meta: str | None = None
    fresh: bool = False


class QueueCapacity(NamedTuple):
    """A queue that a worker serves, and how many more of its jobs the worker can take now (at least 1)."""

    name: str
    limit: int


class Claimed(NamedTuple):
    """A job as its worker holds it. ``attempt`` is the number of the claim, which every settlement must name.

    ``data`` and ``meta`` are JSON as stored, not yet decoded; ``expire_in`` is in seconds.
    The field order is the column order of ``claim.sql``.
    """

    id: UUID
    name: str
    data: bytes | None
    attempt: int
    priority: int
    retry_count: int
    retry_limit: int
    retry_delay: int
    retry_backoff: bool
    retry_delay_max: int | None
    expire_in: float
    start_after: datetime
    parent: UUID | None
    meta: bytes | None

    @property
    def payload_bytes(self) -> int:
        """The bytes of ``data`` and ``meta``."""
        return len(self.data or b"") + len(self.meta or b"")


class ClaimedJobs(list[Claimed]):
    """The jobs of one claim, in claim order.

    Attributes:
        left_out: whether a queue with a limit was left out, since another transaction had locked its row, so
            that an empty answer says nothing of that queue.
    """

    def __init__(self, jobs: Iterable[Claimed] = (), *, left_out: bool = False) -> None:
        super().__init__(jobs)
        self.left_out = left_out


class Completed(NamedTuple):
    """The handler returned. ``output`` is canonical JSON text, or None if the handler returned nothing."""

    id: UUID
    attempt: int
    output: str | None


class Failed(NamedTuple):
    """The attempt failed, expired or lost its worker; the verdict is included.

    ``retry_in`` is in seconds; None for "give up", and then ``final`` is the final state of the job.
    ``output`` is JSON text of an object with the keys type, message and traceback (``core.failure``).
    """

    id: UUID
    attempt: int
    retry_in: float | None
    output: str
    final: Literal[RowState.FAILED, RowState.EXPIRED] = RowState.FAILED


class Released(NamedTuple):
    """The job returns to waiting without using a retry (shutdown, snooze), after ``delay`` seconds."""

    id: UUID
    attempt: int
    delay: float = 0.0


class Waiting(NamedTuple):
    """The job returns to waiting until another one, its ``child``, has ended; no retry is used."""

    id: UUID
    attempt: int
    child: UUID


class Settled(NamedTuple):
    """The jobs that a settlement changed, and active ones that it skipped: their row or slot is locked."""

    changed: set[UUID]
    locked: set[UUID]


class Suspensions(NamedTuple):
    """The result of suspending jobs.

    Attributes:
        changed: the jobs that were suspended, or that are due at once because their child had ended.
        refused: the jobs that stay active, each with the chain of waits that would lead back to it, child
            first: at most ``WAIT_CHAIN_MAX``. Empty without a child; the child alone if it had ended before.
        locked: those that were skipped, since another transaction has locked them.
    """

    changed: set[UUID]
    refused: dict[UUID, tuple[UUID, ...]]
    locked: frozenset[UUID] = frozenset()


class Extended(NamedTuple):
    """The job's deadline moves to ``seconds`` from now."""

    id: UUID
    attempt: int
    seconds: float


class ExpiredJob(NamedTuple):
    """An active job past its deadline or of a dead worker, with the data for the verdict."""

    id: UUID
    name: str
    attempt: int
    retry_count: int
    retry_limit: int
    retry_delay: int
    retry_backoff: bool
    retry_delay_max: int | None
    reason: Literal["deadline", "lease"]
    worker: UUID | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed attempt in the job's history (the last 25 are kept).

    ``row_state`` followed: retry, failed or expired. ``error`` has type, message and traceback.
    """

    attempt: int
    at: datetime
    row_state: RowState
    error: Mapping[str, Any]
    worker: UUID | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A stored job, live or archived; a value, which does not change with the job.

    Attributes:
        waits_for: the job whose end this one waits for, or None.
        awaited: whether another job waits or waited for this one to end.
    """

    id: UUID
    name: str
    row_state: RowState
    data: Any
    priority: int
    attempt: int
    retry_count: int
    retry_limit: int
    retry_delay: int
    retry_backoff: bool
    retry_delay_max: int | None
    start_after: datetime
    started_on: datetime | None
    singleton_key: str | None
    singleton_on: datetime | None
    expire_in: float
    created_on: datetime
    completed_on: datetime | None
    keep_until: datetime
    output: Any
    worker: UUID | None
    policy: str | None
    group_key: str | None
    parent: UUID | None
    meta: Mapping[str, Any] | None
    waits_for: UUID | None = None
    awaited: bool = False
    history: tuple[Attempt, ...] = ()
    archived_on: datetime | None = None

    @property
    def status(self) -> JobStatus:
        """The status, which users read; ``row_state`` is the stored state."""
        return STATUS_OF[self.row_state]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Progress or a log line of a running job, stored for watchers.

    ``data`` is JSON of an object: of progress ``{"value": 0..1, "message": str | null}``, of a log line
    ``{"level": str, "message": str, …}``. The storage sets ``seq`` and ``at``, and stores a ``number`` once.
    """

    job_id: UUID
    attempt: int
    kind: Literal["progress", "log"]
    data: str
    seq: int = 0
    at: datetime | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A running worker process: an id that is new at each start, and how long it may be silent.

    Attributes:
        lease: seconds after a heartbeat for which its active jobs are its own; see ``core/leases.py``.
        queues: the names it serves; none if it runs no jobs.
        duties: ``maintenance`` (rescue, archive, purge), ``schedules``; empty for versions without them.
        active_jobs: how many jobs it holds, counted by the storage when it lists workers.
    """

    id: UUID
    host: str
    pid: int
    queues: tuple[str, ...]
    lease: float
    started_on: datetime | None = None
    beat_on: datetime | None = None
    asleep: bool = False
    duties: tuple[str, ...] = ()
    active_jobs: int = 0

    def is_alive(self, now: datetime) -> bool:
        """Return whether its lease, which counts from the last heartbeat, has not ended."""
        return self.beat_on is not None and now <= self.beat_on + timedelta(seconds=self.lease)


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The stored settings of a queue.

    ``concurrency_limit`` is the maximum number of active jobs over all workers, those of the queues
    ``limited_with`` included; None for no limit. The first of these is the task's own queue.
    """

    name: str
    concurrency_limit: int | None = None
    paused_on: datetime | None = None
    limited_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The live jobs of a queue.

    Attributes:
        row_counts: the number of rows in each state; states without rows are absent.
        oldest_due_age: seconds since the job that has waited longest became due; None if no job is due.
    """

    name: str
    row_counts: Mapping[RowState, int]
    oldest_due_age: float | None = None

    @property
    def counts(self) -> dict[JobStatus, int]:
        """The number of jobs of each status, 0 included.

        >>> QueueStats("mail", {RowState.CREATED: 2, RowState.RETRY: 1}).counts[JobStatus.QUEUED]
        3
        """
        counts = dict.fromkeys(JobStatus, 0)
        for state, number in self.row_counts.items():
            counts[STATUS_OF[state]] += number
        return counts


class CatchUp(enum.StrEnum):
    """The policy for ticks missed while no scheduler ran: serve none of them, the last one, or each."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron schedule, with a unique name; ``task`` is the queue it sends to, ``name`` by default.

    Attributes:
        cron: five fields, or six of which the last is seconds.
        zone: IANA zone in which the fields are read.
        data: canonical JSON text of the payload, or None.
        last_tick: the last occurrence served, and ``next_tick`` the next one; both set by the storage.
        paused: a paused schedule serves no ticks, and does not catch up on those it missed.
        of_pgboss: whether pg-boss 9 stored it, and fires it while its cron runs. Storing a schedule of the
            same name replaces it.
    """

    name: str
    cron: str
    task: str
    zone: str = "UTC"
    data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    catch_up: CatchUp = CatchUp.ONCE
    description: str | None = None
    paused: bool = False
    last_tick: datetime | None = None
    next_tick: datetime | None = None
    of_pgboss: bool = False


CARRIED: Final = ("data", "output", "meta", "history")
"""The JSON parts of a job, each of which may be large."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A filter of jobs, which are listed newest first; those created at one moment by descending id.

    Attributes:
        before: only jobs after this one in that order, even if it has been archived meanwhile.
        created_from, created_to: only jobs created at or after the one instant (aware), and before the other.
        text: only jobs whose id, singleton key, payload, output or meta as JSON contains it, of up to 200
            characters.
        opaque: queues for whose jobs ``text`` is searched in id and singleton key only.
        limit: how many at most, 1 to 1000.
        ids: only these jobs: none if empty, any if None.
        without: parts of ``CARRIED`` that are not read: the jobs have None there, and no history.
        bytes_max: maximum bytes of payload, output and meta read, as JSON; the first job is always listed.
        parents: only children of these jobs, if there are any.
    """

    names: tuple[str, ...] = ()
    status: tuple[JobStatus, ...] = ()
    parent: UUID | None = None
    archived: bool = False
    before: UUID | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    text: str | None = None
    opaque: tuple[str, ...] = ()
    limit: int = 50
    ids: tuple[UUID, ...] | None = None
    without: tuple[str, ...] = ()
    bytes_max: int | None = None
    parents: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs of a list, and whether there are more after them, even if only the limit on bytes cut them off."""

    jobs: list[Job]
    has_more: bool


class Throughput(NamedTuple):
    """Counts and times of jobs that ended in one interval, over all requested queues.

    Waits last from when a job was due until its last attempt began, runs for that attempt. They are in
    seconds, of completed and failed jobs that ran. The median and the 95th percentile are values that
    occurred (nearest rank); None if no job ran.

    Attributes:
        begin: the start of the interval; its length is the requested one.
        failed: jobs that failed or expired permanently.
    """

    begin: datetime
    completed: int
    failed: int
    cancelled: int
    wait_median: float | None
    wait_95: float | None
    run_median: float | None
    run_95: float | None
