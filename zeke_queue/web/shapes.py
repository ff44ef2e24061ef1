"""JSON shapes of the API's requests and responses: those of the earlier system, and additional ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel

from zeke_queue.model import RunStatus


def iso(instant: datetime) -> str:
    """Format an instant as JavaScript's ``toISOString`` does: UTC, milliseconds, ``Z``.

    >>> iso(datetime.fromisoformat("2026-01-02T03:04:05.678901+02:00"))
    '2026-01-02T01:04:05.678Z'
    """
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


Instant = Annotated[datetime, PlainSerializer(iso, return_type=str, when_used="json")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Shape(BaseModel):
    """A JSON object whose members are written in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Asked(Shape):
    """A request's JSON object; unknown members are an error."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Trigger(Asked):
    """A job to send."""

    # Clients of the earlier system may send members that it ignored.
    model_config = ConfigDict(extra="ignore")

    task_id: Text
    payload: Any = Field(default_factory=dict)


class Triggered(Shape):
    """A job that was sent."""

    id: UUID
    status: Literal["created"] = "created"
    task_id: str


class Run(Shape):
    """A job."""

    id: UUID
    status: RunStatus
    task_id: str
    data: Any
    output: Any
    started_on: Instant | None
    completed_on: Instant | None
    created_on: Instant
    retry_count: int


class FailedAttempt(Shape):
    """An attempt of a job that failed."""

    attempt: int
    at: Instant
    state: str
    error: Any
    worker: UUID | None


class RunDetail(Run):
    """A job, with what only its own page shows."""

    state: str
    attempt: int
    retry_limit: int
    priority: int
    start_after: Instant
    expire_in: float
    singleton_key: str | None
    parent: UUID | None
    waits_for: UUID | None
    worker: UUID | None
    archived_on: Instant | None
    history: list[FailedAttempt]


class Runs(Shape):
    """A page of jobs."""

    runs: list[Run]
    next_cursor: str | None = Field(
        description="Gives the next page, as `cursor` with the same filters; null on the last page."
    )


class Event(Shape):
    """Progress or a log line of a job."""

    seq: int
    attempt: int
    kind: Literal["progress", "log"]
    at: Instant
    data: Any


class Events(Shape):
    """Progress and log lines of a job."""

    events: list[Event]


class TaskShape(Shape):
    """A task of the catalog."""

    id: str
    aliases: list[str]
    description: str | None
    concurrency_limit: int | None
    payload_schema: dict[str, Any] | None = Field(
        description="JSON Schema of the payload; null if it takes none."
    )


class Tasks(Shape):
    """All tasks of the catalog."""

    tasks: list[TaskShape]


class QueueShape(Shape):
    """A queue: how many live jobs it has by state, and how it is set."""

    name: str
    counts: dict[str, int]
    lag: float | None = Field(description="Seconds since the job that has waited longest became due.")
    concurrency_limit: int | None
    paused: bool


class Queues(Shape):
    """All queues that have jobs, settings, or a task."""

    queues: list[QueueShape]


class ScheduleEdit(Asked):
    """A schedule as it shall be."""

    cron: Text = Field(
        description="Five fields, or six of which the last is seconds.", examples=["*/5 * * * *"]
    )
    task: Text | None = Field(default=None, description="The schedule's own name by default.")
    zone: Text | None = Field(default=None, description="An IANA zone; JOBS_CRON_TZ by default.")
    payload: Any = None
    catch_up: Literal["skip", "once", "all"] = "once"
    description: Annotated[str, StringConstraints(max_length=1000)] | None = None
    paused: bool = False


class ScheduleShape(Shape):
    """A schedule."""

    name: str
    cron: str
    task: str
    zone: str
    payload: Any
    catch_up: str
    description: str | None
    paused: bool
    last_tick: Instant | None
    next_tick: Instant | None
    next_ticks: list[Instant] = Field(description="The next five occurrences from now on; none while paused.")


class Schedules(Shape):
    """All schedules."""

    schedules: list[ScheduleShape]


class WorkerShape(Shape):
    """A worker, and the jobs that it holds."""

    id: UUID
    host: str
    pid: int
    queues: list[str]
    alive: bool
    asleep: bool
    started_on: Instant | None
    beat_on: Instant | None
    holds: int


class Workers(Shape):
    """All workers that are known."""

    workers: list[WorkerShape]


class FieldProblem(BaseModel):
    """A field that does not fit."""

    path: str
    message: str


class Problem(BaseModel):
    """What was wrong with a request."""

    error: str
    description: str | None = None
    fields: list[FieldProblem] | None = None
    id: str | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses with these statuses for an operation of the OpenAPI document."""
    return {status: {"model": Problem} for status in statuses}
