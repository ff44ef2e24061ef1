"""A job in the memory storage: every column of the ``job`` table, in mutable form.

The storage returns values of ``zeke_queue.model``, never rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from zeke_queue.core import jsonb, slots
from zeke_queue.model import Attempt, Claimed, Job, RowState
from zeke_queue.storage.memory.uniqueness import hold_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import NewJob
    from zeke_queue.storage.memory.uniqueness import Hold

A_CENTURY: Final = timedelta(days=36_500)
"""Distance of keep_until from now, so that pg-boss 9's archiving does not touch waiting rows."""

HISTORY_KEPT: Final = 25

COUNTER_MAX: Final = 2**31 - 1
"""End of the counters of attempts and retries, which are int columns; other programs may write it."""

_SHORT: Final = 200

_SHARED: Final = tuple(name for name in Job.__slots__ if name != "row_state")


@dataclass(slots=True)
class Row:
    """One job; JSON is stored as the text that jsonb prints, and ``hold`` derives from other columns."""

    id: UUID
    name: str
    state: RowState
    data: str | None
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
    expire_in: timedelta
    created_on: datetime
    completed_on: datetime | None
    keep_until: datetime
    output: str | None
    worker: UUID | None
    policy: str | None
    group_key: str | None
    parent: UUID | None
    meta: str | None
    hold: Hold | None
    waits_for: UUID | None = None
    awaited: bool = False
    history: tuple[Attempt, ...] = ()
    archived_on: datetime | None = None

    @property
    def waits(self) -> bool:
        """Return whether the job waits for a worker."""
        return self.state is RowState.CREATED or self.state is RowState.RETRY

    @property
    def payload_bytes(self) -> int:
        """Return the bytes of payload and meta, as Postgres writes them."""
        return sum(len(text.encode()) for text in (self.data, self.meta) if text is not None)

    def begin(self, worker: UUID | None, now: datetime) -> None:
        """Make the job active; a retry is counted at the claim, as in pg-boss, so a release uses none.

        After the integer maximum the attempt restarts at 1; the number of retries stays at the maximum.
        """
        if self.state is RowState.RETRY:
            self.retry_count += 1
            self.retry_count = min(self.retry_count, COUNTER_MAX)
        self.state = RowState.ACTIVE
        self.attempt += 1
        if self.attempt > COUNTER_MAX:
            self.attempt = 1
        self.started_on, self.completed_on, self.worker = now, None, worker

    def wait(self, state: RowState, now: datetime, seconds: float = 0.0) -> None:
        """Return the job to waiting, to start after ``seconds``."""
        self.state = state
        self.start_after = now + timedelta(seconds=seconds)
        self.completed_on, self.worker, self.waits_for = None, None, None
        self.keep_until = now + A_CENTURY

    def wait_for(self, child: UUID, state: RowState, now: datetime) -> None:
        """Return the job to waiting until another job has ended; no claim finds it before that."""
        self.wait(state, now)
        self.start_after, self.waits_for = now + A_CENTURY, child

    def wake(self, now: datetime) -> None:
        """Make the job due, since the job that it waited for has ended."""
        self.start_after, self.waits_for = now, None

    def end(self, state: RowState, now: datetime) -> None:
        """Set a final state; the worker stays, as the last one that held the job."""
        self.state = state
        self.completed_on = now

    def extend(self, now: datetime, seconds: float) -> None:
        """Move the deadline to ``seconds`` from now."""
        self.expire_in = now - (self.started_on or now) + timedelta(seconds=seconds)

    def remember(self, state: RowState, error: str, now: datetime) -> None:
        """Add a failed attempt to the history, before the row changes, and set the error as output."""
        attempt = Attempt(self.attempt, now, state, jsonb.loads(error), self.worker)
        self.history = (*self.history, attempt)[-HISTORY_KEPT:]
        self.output = error

    def copy(self) -> Row:
        """Return a copy that can change without this row."""
        return replace(self)


def fresh(job: NewJob, now: datetime) -> Row:
    """Make the row that a send inserts at this instant."""
    start_after = job.start_at.astimezone(UTC) if job.start_at else now + timedelta(seconds=job.delay)
    slot = None
    if job.slot_seconds is not None:
        slot = slots.slot_start(now, job.slot_seconds, job.slot_offset)
        if job.slot_offset > 0:
            start_after = max(start_after, slot.replace(tzinfo=UTC))
    return Row(
        id=job.id,
        name=job.name,
        state=RowState.CREATED,
        data=normal(job.data),
        priority=job.priority,
        attempt=0,
        retry_count=0,
        retry_limit=job.retry_limit,
        retry_delay=job.retry_delay,
        retry_backoff=job.retry_backoff,
        retry_delay_max=job.retry_delay_max,
        start_after=start_after,
        started_on=None,
        singleton_key=job.singleton_key,
        singleton_on=slot,
        expire_in=timedelta(seconds=job.expire_in),
        created_on=now,
        completed_on=None,
        keep_until=now + A_CENTURY,
        output=None,
        worker=None,
        policy=job.policy,
        group_key=job.group_key,
        parent=job.parent,
        meta=normal(job.meta),
        hold=hold_of(job.name, job.singleton_key, slot),
    )


def planted(job: Job) -> Row:
    """Make the row of a job written by another program, column by column."""
    columns = {name: getattr(job, name) for name in _SHARED}
    columns["data"], columns["meta"], columns["output"] = (
        None if value is None else normal(jsonb.dumps(value)) for value in (job.data, job.meta, job.output)
    )
    columns["expire_in"] = timedelta(seconds=job.expire_in)
    return Row(**columns, state=job.row_state, hold=hold_of(job.name, job.singleton_key, job.singleton_on))


def as_job(row: Row, without: Collection[str] = ()) -> Job:
    """Return the row as the value for readers, without some of its JSON (``model.CARRIED``)."""
    columns = {name: getattr(row, name) for name in _SHARED}
    for part in ("data", "meta", "output"):
        columns[part] = None if part in without else decoded(columns[part])
    if "history" in without:
        columns["history"] = ()
    columns["expire_in"] = row.expire_in.total_seconds()
    return Job(**columns, row_state=row.state)


def as_claimed(row: Row) -> Claimed:
    """Return the row as the value for its worker."""
    return Claimed(
        row.id,
        row.name,
        None if row.data is None else row.data.encode(),
        row.attempt,
        row.priority,
        row.retry_count,
        row.retry_limit,
        row.retry_delay,
        row.retry_backoff,
        row.retry_delay_max,
        row.expire_in.total_seconds(),
        row.start_after,
        row.parent,
        None if row.meta is None else row.meta.encode(),
    )


def normal(text: str | None) -> str | None:
    """Return JSON text as jsonb prints it; None stays None."""
    if text is None:
        return None
    return _normal_again(text) if len(text) <= _SHORT else jsonb.normalise(text)


# Normalising takes a third of the time of a job, and a simulation repeats a few payloads, so cache it.
_normal_again = lru_cache(maxsize=1024)(jsonb.normalise)


def decoded(text: str | None) -> object:
    """Return the value of JSON text; None stays None."""
    return None if text is None else jsonb.loads(text)
