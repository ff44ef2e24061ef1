"""The API's answers as Python values: names in snake case, aware instants, frozen objects.

Unknown members, added by a newer server, are ignored, so an older client keeps working with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from zeke_queue.model import RunStatus

ENDED: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
"""The final statuses."""


class Answer(BaseModel):
    """A JSON object of the API."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Triggered(Answer):
    """A job that was sent.

    Attributes:
        task_id: as requested, possibly an alias.
        replayed: whether an earlier request with the same idempotency key sent it.
    """

    id: UUID
    status: str
    task_id: str
    replayed: bool = False


class Run(Answer):
    """A job.

    Attributes:
        data: its payload; parts that the task hides are ``[redacted]``, here and in ``output``.
        output: the handler's result; for a failed job, an object with ``type`` and ``message``.
    """

    id: UUID
    status: RunStatus
    task_id: str
    data: Any
    output: Any
    started_on: datetime | None
    completed_on: datetime | None
    created_on: datetime
    retry_count: int

    @property
    def ended(self) -> bool:
        """Whether it has ended, in any way."""
        return self.status in ENDED


class FailedAttempt(Answer):
    """A failed attempt of a job."""

    attempt: int
    at: datetime
    state: str
    error: Any
    worker: UUID | None


class RunDetail(Run):
    """A job with its options, its family and its failed attempts.

    Attributes:
        state: one of the seven states of the table, which ``status`` reduces to five.
        expire_in: seconds that an attempt may take.
    """

    state: str
    attempt: int
    retry_limit: int
    priority: int
    start_after: datetime
    expire_in: float
    singleton_key: str | None
    parent: UUID | None
    waits_for: UUID | None
    worker: UUID | None
    archived_on: datetime | None
    history: tuple[FailedAttempt, ...]


class Page(Answer):
    """A page of jobs; ``next_cursor`` is None on the last one."""

    runs: tuple[Run, ...]
    next_cursor: str | None


class Event(Answer):
    """Progress or a log line, as it is stored."""

    seq: int
    attempt: int
    kind: Literal["progress", "log"]
    at: datetime
    data: dict[str, Any]


class Events(Answer):
    """Progress and log lines of a job."""

    events: tuple[Event, ...]


class TaskInfo(Answer):
    """A task that may be triggered, with the JSON Schema of its payload; None if it takes none."""

    id: str
    aliases: tuple[str, ...]
    description: str | None
    concurrency_limit: int | None
    payload_schema: dict[str, Any] | None


class Tasks(Answer):
    """All tasks."""

    tasks: tuple[TaskInfo, ...]


class QueueInfo(Answer):
    """A queue.

    Attributes:
        counts: live jobs by state.
        lag: seconds since the job waiting longest became due; None if none waits.
    """

    name: str
    counts: dict[str, int]
    lag: float | None
    concurrency_limit: int | None
    paused: bool


class Queues(Answer):
    """All queues."""

    queues: tuple[QueueInfo, ...]


class ScheduleInfo(Answer):
    """A schedule with its next ticks; none while it is paused."""

    name: str
    cron: str
    task: str
    zone: str
    payload: Any
    catch_up: Literal["skip", "once", "all"]
    description: str | None
    paused: bool
    last_tick: datetime | None
    next_tick: datetime | None
    next_ticks: tuple[datetime, ...]


class Schedules(Answer):
    """All schedules."""

    schedules: tuple[ScheduleInfo, ...]


class WorkerInfo(Answer):
    """A worker process, and the number of jobs it holds."""

    id: UUID
    host: str
    pid: int
    queues: tuple[str, ...]
    alive: bool
    asleep: bool
    started_on: datetime | None
    beat_on: datetime | None
    holds: int


class Workers(Answer):
    """All workers."""

    workers: tuple[WorkerInfo, ...]


class StatusChange(Answer):
    """A job's status in its stream; ``output`` and ``completed_on`` come with its end."""

    id: UUID
    status: RunStatus
    task_id: str
    output: Any = None
    completed_on: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether no more updates follow."""
        return self.status in ENDED


class Progress(Answer):
    """A job's progress: ``value`` from 0 to 1."""

    attempt: int
    at: datetime
    value: float | None = None
    message: str | None = None


class LogLine(Answer):
    """A line of a job's log, with its fields."""

    attempt: int
    at: datetime
    level: str
    message: str
    fields: dict[str, Any] = Field(default_factory=dict)


Update = StatusChange | Progress | LogLine
"""An update in a job's stream."""
