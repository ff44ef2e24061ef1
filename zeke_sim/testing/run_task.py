"""Runs a task's handler without a queue, and records what it did."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from zeke_queue.core import jsonb
from zeke_queue.core.failure import error_output
from zeke_queue.errors import JobNotFoundError, UsageError
from zeke_queue.model import Claimed, NewJob, RowState
from zeke_queue.storage.memory.rows import as_job, fresh
from zeke_queue.system.entropy import Ids, SeededEntropy
from zeke_queue.task.context import JobContext
from zeke_queue.task.prepare import JobFactory
from zeke_queue.task.run import Run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Mapping
    from typing import NoReturn
    from uuid import UUID

    from zeke_queue.core.options import ChildOptions, SendOptions
    from zeke_queue.model import Job
    from zeke_queue.system.clock import Clock
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Task

__tracebackhide__ = True  # pytest then shows the test's own lines

R = TypeVar("R")

DEADLINE: Final = 3600.0
"""Seconds until an attempt's deadline."""


class Sent(NamedTuple):
    """A child that a handler sent: the task's name, the stored payload, and the options."""

    id: UUID
    task: str
    payload: Any
    options: Mapping[str, Any]


class Progress(NamedTuple):
    """A progress report of a handler."""

    value: float
    message: str | None


class Line(NamedTuple):
    """A log line that is stored with the job."""

    level: str
    message: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class TaskRun:
    """The record of a handler's run.

    Attributes:
        task: the task's name.
        job: the handler's context.
        children: the jobs that it sent.
        progress: its progress reports.
        log: lines of its logger, from level info.
        extended: the argument of each ``extend`` call, in seconds.
    """

    task: str
    job: JobContext[Any]
    children: list[Sent] = field(default_factory=list[Sent])
    progress: list[Progress] = field(default_factory=list[Progress])
    log: list[Line] = field(default_factory=list[Line])
    extended: list[float] = field(default_factory=list[float])


class RecordedRuns:
    """The source of the runs of recorded children, which are not on any queue.

    Args:
        results: the children's results, by task name; an exception is the child's failure.
    """

    def __init__(self, results: Mapping[str, Any], clock: Clock) -> None:
        self._results = results
        self._clock = clock
        self.sent: dict[UUID, Sent] = {}

    async def get(self, job_id: UUID) -> Job | None:
        """Return a child as ended, with the result given by the test; None if there is no such child.

        Raises:
            UsageError: the test gave no result for its task.
        """
        sent = self.sent.get(job_id)
        if sent is None:
            return None
        if sent.task not in self._results:
            raise UsageError(
                f"results: must have the result of the child {sent.task!r}, since no queue runs it; pass "
                f"run_task(..., results={{{sent.task!r}: …}})"
            )
        result = self._results[sent.task]
        data = None if sent.payload is None else jsonb.dumps(sent.payload)
        row = fresh(NewJob(sent.id, sent.task, data), self._clock.now())
        if isinstance(result, BaseException):
            row.end(RowState.FAILED, self._clock.now())
            row.output = error_output(result)
        else:
            row.end(RowState.COMPLETED, self._clock.now())
            row.output = None if result is None else jsonb.dumps(result)
        return as_job(row)

    async def ended(self, job_id: UUID, timeout: float | None) -> Job | None:
        """Return a child as ended; see ``get``."""
        del timeout
        return await self.get(job_id)

    async def watch(self, job_id: UUID) -> AsyncGenerator[Job]:
        """Yield the child as ended; see ``get``."""
        job = await self.get(job_id)
        if job is not None:
            yield job

    async def cancel(self, job_id: UUID) -> bool:
        """Return True, as if the child had been cancelled."""
        del job_id
        return True


class RecordingContext(JobContext[Any]):
    """A ``JobContext`` without a queue, which records the handler's calls."""

    __slots__ = ("_clock", "_factory", "_resources", "_runs", "record")

    def __init__(
        self,
        claimed: Claimed,
        task: str,
        *,
        factory: JobFactory,
        resources: Any,
        results: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        super().__init__(claimed, task, clock.monotonic() + DEADLINE)
        self._factory = factory
        self._clock = clock
        self._runs = RecordedRuns(results, clock)
        self._resources = resources
        self.record = TaskRun(task, self)

    @property
    def resources(self) -> Any:
        """The value that the catalog's ``resources`` yielded."""
        return self._resources

    def transaction(self, connection: object = None, *, lock: bool = True) -> NoReturn:
        """Raise ``UsageError``, since there is no database."""
        del connection, lock
        raise UsageError(
            "run_task: the handler opens a transaction, which takes a queue; send the task and drain()"
        )

    def run_coroutine(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine that never suspends, for a sync handler."""
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        coroutine.close()
        raise UsageError("run_task: job.run_coroutine() in a sync handler can wait for calls of its job only")

    def _report(self, value: float, message: str | None) -> None:
        self.record.progress.append(Progress(value, message))

    def _store_line(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        self.record.log.append(Line(level, message, dict(fields)))

    async def _extend(self, seconds: float) -> None:
        self.record.extended.append(seconds)

    async def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> Run[Any]:
        del insist
        prepared = self._factory.prepare(task, payload, options, parent=self.id)
        job = prepared.job
        stored = None if job.data is None else jsonb.loads(job.data)
        sent = self._runs.sent[job.id] = Sent(job.id, job.name, stored, {**options})
        self.record.children.append(sent)
        return Run(self._runs, job.id, job.name, prepared.task)

    async def _start_child(
        self, task: str | Task[Any, Any], payload: object, key: str, options: ChildOptions
    ) -> Run[Any]:
        return await self._send(task, payload, {**options, "id": self.child_id(key)}, insist=True)

    async def _get(self, job_id: UUID) -> Job:
        if job_id == self.id:
            row = fresh(NewJob(self.id, self.task), self._clock.now())
            row.state, row.attempt, row.retry_count = RowState.ACTIVE, self.attempt, self.retry_count
            return as_job(row)
        job = await self._runs.get(job_id)
        if job is None:
            raise JobNotFoundError(f"No job has the id {job_id}: the handler sent no such child")
        return job


async def run_task(
    task_runs: list[TaskRun],
    catalog: Catalog[Any],
    which: str | Task[Any, Any],
    payload: Any,
    *,
    clock: Clock,
    attempt: int = 1,
    meta: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Any:
    """Run a task's handler and return its result.

    Args:
        task_runs: a list to which the record is appended before the handler starts.
        which: a task of the catalog, or its name.
        payload: a payload for the task's model; it is converted to JSON and back, as on a queue.
        attempt: the attempt number that the handler sees.
        meta: the job's metadata.
        results: results of children that the handler waits for, by task name; an exception is a failure.

    Raises:
        UsageError: as for a send: the task is unknown, or the payload does not match its model.
        SerializationError: the result cannot be stored.
        Exception: any exception that the handler raises.
    """
    task = catalog.get(which)
    data = task.dump(payload)
    factory = JobFactory(catalog, clock, SeededEntropy(len(task_runs)))
    stored = None if data is None else data.encode()
    given = None if meta is None else factory.meta(meta).encode()
    job_id = Ids(clock, SeededEntropy(-1 - len(task_runs)))()
    claimed = Claimed(
        id=job_id,
        name=task.name,
        data=stored,
        attempt=attempt,
        priority=0,
        retry_count=attempt - 1,
        retry_limit=0,
        retry_delay=1,
        retry_backoff=True,
        retry_delay_max=None,
        expire_in=DEADLINE,
        start_after=clock.now(),
        parent=None,
        meta=given,
    )
    async with AsyncExitStack() as stack:
        make = catalog.resources
        resources = None if make is None else await stack.enter_async_context(make())
        job = RecordingContext(
            claimed, task.name, factory=factory, resources=resources, results=results or {}, clock=clock
        )
        task_runs.append(job.record)
        arguments: list[Any] = [task.validate_json(stored)] if task.takes_payload else []
        if task.takes_job:
            arguments.append(job)
        result = task.handler(*arguments)
        if inspect.isawaitable(result):
            result = await result
    if result is not None:
        jsonb.dumps(result)
    return result
