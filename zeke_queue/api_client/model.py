"""The API's answers: frozen objects with names in snake case and aware instants.

The server writes these objects and the client reads them, so this module needs pydantic alone. A client
ignores unknown members, so it continues to work with a newer server.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from zeke_queue.model import ENDED, JobStatus


def iso(instant: datetime) -> str:
    """Format an instant as JavaScript's ``toISOString`` does: UTC, milliseconds, ``Z``.

    >>> iso(datetime.fromisoformat("2026-01-02T03:04:05.678901+02:00"))
    '2026-01-02T01:04:05.678Z'
    """
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


Instant = Annotated[datetime, PlainSerializer(iso, return_type=str, when_used="json")]


class Answer(BaseModel):
    """A JSON object whose members are in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Triggered(Answer):
    """A job that was sent."""

    id: UUID
    status: Literal["created"] = "created"
    task_id: str
    """As requested, possibly an alias."""
    replayed: bool = Field(default=False, exclude=True)
    """Whether an earlier request with the same idempotency key sent it; a header of the answer says so."""


class Run(Answer):
    """A job."""

    id: UUID
    status: JobStatus
    task_id: str
    data: Any
    """Its payload; parts that the task hides are ``[redacted]``, here and in ``output``."""
    output: Any
    """The handler's result; for a failed job, an object with ``type`` and ``message``."""
    started_on: Instant | None
    completed_on: Instant | None
    created_on: Instant
    retry_count: int

    @property
    def ended(self) -> bool:
        """Whether it has ended, in any way."""
        return self.status in ENDED


class FailedAttempt(Answer):
    """A failed attempt of a job."""

    attempt: int
    at: Instant
    state: str
    error: Any
    worker: UUID | None


class RunDetail(Run):
    """A job with its options, its family and its failed attempts."""

    state: str
    """One of the seven states of the table, which ``status`` reduces to five."""
    attempt: int
    retry_limit: int
    priority: int
    start_after: Instant
    expire_in: float
    """Seconds that an attempt may take."""
    singleton_key: str | None
    parent: UUID | None
    waits_for: UUID | None
    worker: UUID | None
    archived_on: Instant | None
    history: tuple[FailedAttempt, ...]


class Page(Answer):
    """A page of jobs."""

    runs: tuple[Run, ...]
    next_cursor: str | None = Field(
        description="The `cursor` of the next page, with the same filters; null on the last page."
    )


class Event(Answer):
    """Progress or a log line of a job."""

    seq: int
    attempt: int
    kind: Literal["progress", "log"]
    at: Instant
    data: Any


class Events(Answer):
    """Progress and log lines of a job."""

    events: tuple[Event, ...]


class TaskInfo(Answer):
    """A task of the catalog."""

    id: str
    aliases: tuple[str, ...]
    description: str | None
    concurrency_limit: int | None
    payload_schema: dict[str, Any] | None = Field(
        description="JSON Schema of the payload; null if the task takes none."
    )


class Tasks(Answer):
    """All tasks of the catalog."""

    tasks: tuple[TaskInfo, ...]


class QueueInfo(Answer):
    """A queue with its settings and its counts of live jobs by state."""

    name: str
    counts: dict[str, int] = Field(description="By state; empty if they could not be read after a change.")
    lag: float | None = Field(description="Seconds since the oldest waiting job became due.")
    concurrency_limit: int | None
    paused: bool


class Queues(Answer):
    """All queues that have jobs, settings, or a task."""

    queues: tuple[QueueInfo, ...]


class ScheduleInfo(Answer):
    """A schedule."""

    name: str
    cron: str
    task: str
    zone: str
    payload: Any
    catch_up: str
    """``skip``, ``once`` or ``all``."""
    description: str | None
    paused: bool
    last_tick: Instant | None
    next_tick: Instant | None
    next_ticks: tuple[Instant, ...] = Field(
        description="The next five ticks; none while the schedule is paused."
    )


class Schedules(Answer):
    """All schedules."""

    schedules: tuple[ScheduleInfo, ...]


class WorkerInfo(Answer):
    """A worker and the number of jobs that it holds; ``duties`` are ``maintenance`` and ``schedules``."""

    id: UUID
    host: str
    pid: int
    queues: tuple[str, ...]
    alive: bool
    asleep: bool
    duties: tuple[str, ...]
    started_on: Instant | None
    beat_on: Instant | None
    holds: int


class Workers(Answer):
    """All registered workers."""

    workers: tuple[WorkerInfo, ...]


class StatusChange(Answer):
    """A job's status in its stream; ``output`` and ``completed_on`` are set at its end.

    Attributes:
        output_follows: whether this announces the end of the job, and another event with its output follows
            its lines. ``JobsClient`` leaves announcements out.
    """

    id: UUID
    status: JobStatus
    task_id: str
    output: Any = None
    completed_on: Instant | None = None
    output_follows: bool = False

    @property
    def ended(self) -> bool:
        """Whether no more updates follow."""
        return self.status in ENDED


class Progress(Answer):
    """A job's progress: ``value`` from 0 to 1."""

    attempt: int
    at: Instant
    value: float | None = None
    message: str | None = None


class LogLine(Answer):
    """A line of a job's log, with its fields."""

    attempt: int
    at: Instant
    level: str
    message: str
    fields: dict[str, Any] = Field(default_factory=dict)


Update = StatusChange | Progress | LogLine
"""An update in a job's stream."""
