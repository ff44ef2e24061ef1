"""Runs a task's handler without a queue, and records what it did."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.core import jsonb
from zeke_queue.core.failure import error_output
from zeke_queue.errors import JobNotFoundError, UsageError
from zeke_queue.model import Claimed, JobState, NewJob
from zeke_queue.storage.memory.rows import as_job, fresh
from zeke_queue.system import logging as log
from zeke_queue.system.entropy import Ids, SeededEntropy
from zeke_queue.task.context import JobContext
from zeke_queue.task.prepare import Sender

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from zeke_queue.model import Job
    from zeke_queue.system.clock import Clock
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Task

__tracebackhide__ = True  # pytest then shows the test's own lines

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
    job: JobContext
    children: list[Sent] = field(default_factory=list[Sent])
    progress: list[Progress] = field(default_factory=list[Progress])
    log: list[Line] = field(default_factory=list[Line])
    extended: list[float] = field(default_factory=list[float])


class RecordedChild:
    """The run of a recorded child, which is not on any queue."""

    def __init__(self, job_id: UUID, task: str, results: Mapping[str, Any]) -> None:
        self.id = job_id
        self.task = task
        self._results = results

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002
        """Return the child's result as given by the test."""
        if self.task not in self._results:
            raise UsageError(
                f"run_task: the handler waits for the result of its child {self.task!r}, and there is no "
                f"queue that would run it; give run_task(..., results={{{self.task!r}: …}})"
            )
        result = self._results[self.task]
        if isinstance(result, BaseException):
            raise result
        return result

    async def cancel(self) -> bool:
        """Return True, as if the child had been cancelled."""
        return True


class RecordingHost:
    """The host of a ``JobContext`` without a queue, which records the handler's calls."""

    def __init__(self, sender: Sender, resources: Any, results: Mapping[str, Any], clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        self._results = results
        self.resources = resources
        self.record: TaskRun | None = None

    def _record(self) -> TaskRun:
        if self.record is None:
            raise UsageError("run_task: the handler has not begun")
        return self.record

    def progress(self, job: JobContext, value: float, message: str | None) -> None:
        """Record a progress report."""
        del job
        self._record().progress.append(Progress(value, message))

    def logger(self, job: JobContext) -> FilteringBoundLogger:
        """Return a logger whose lines are recorded."""

        def keep(level: str, message: str, fields: Mapping[str, Any]) -> None:
            self._record().log.append(Line(level, message, dict(fields)))

        return log.job_logger(keep, taskId=job.task, jobId=str(job.id), attempt=job.attempt)

    async def extend(self, job: JobContext, seconds: float) -> None:
        """Record an extension of the deadline."""
        del job
        self._record().extended.append(seconds)

    async def send(self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]) -> UUID | None:
        """Validate a child as a queue does, and record it."""
        prepared = self._sender.prepare(task, payload, {**options}, parent=job.id)  # pyright: ignore[reportArgumentType]
        data = prepared.job.data
        stored = None if data is None else jsonb.loads(data)
        self._record().children.append(Sent(prepared.job.id, prepared.job.name, stored, dict(options)))
        return prepared.job.id

    async def trigger(
        self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]
    ) -> RecordedChild:
        """Record a child and return its run."""
        await self.send(job, task, payload, options)
        sent = self._record().children[-1]
        return RecordedChild(sent.id, sent.task, self._results)

    async def child(
        self, job: JobContext, task: Any, payload: Any, key: str, options: Mapping[str, Any]
    ) -> RecordedChild:
        """Record a child once per key and return its run."""
        known = {sent.id: sent for sent in self._record().children}
        sent = known.get(job.child_id(key))
        if sent is not None:
            return RecordedChild(sent.id, sent.task, self._results)
        return await self.trigger(job, task, payload, {**options, "id": job.child_id(key)})

    async def look(self, job: JobContext, job_id: UUID) -> Job:
        """Return the job itself, or a child as ended with the result given by the test."""
        if job_id == job.id:
            row = fresh(NewJob(job.id, job.task), self._clock.now())
            row.state, row.attempt, row.retry_count = JobState.ACTIVE, job.attempt, job.retry_count
            return as_job(row)
        sent = next((sent for sent in self._record().children if sent.id == job_id), None)
        if sent is None:
            raise JobNotFoundError(f"No job has the id {job_id}: the handler sent no such child")
        data = None if sent.payload is None else jsonb.dumps(sent.payload)
        row = fresh(NewJob(sent.id, sent.task, data, parent=job.id), self._clock.now())
        try:
            result = await RecordedChild(sent.id, sent.task, self._results).result()
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - given by the test as the child's failure
            row.end(JobState.FAILED, self._clock.now())
            row.output = error_output(error)
        else:
            row.end(JobState.COMPLETED, self._clock.now())
            row.output = None if result is None else jsonb.dumps(result)
        return as_job(row)

    def transaction(self, job: JobContext, connection: Any) -> AbstractAsyncContextManager[Any]:
        """Raise ``UsageError``, since there is no database."""
        del job, connection
        raise UsageError(
            "run_task: the handler opens a transaction, which takes a queue; send the task and drain()"
        )

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine that never suspends, for a sync handler."""
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        work.close()
        raise UsageError("run_task: job.wait() in a sync handler can wait for calls of its job only")


async def run_task(
    task_runs: list[TaskRun],
    catalog: Catalog,
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
        catalog: the application's catalog.
        which: a task of the catalog, or its name.
        payload: a payload for the task's model; it is converted to JSON and back, as on a queue.
        clock: the test's clock.
        attempt: the attempt number that the handler sees.
        meta: the job's metadata.
        results: results of children that the handler waits for, by task name; an exception is raised.

    Raises:
        UsageError: as for a send: the task is unknown, or the payload does not match its model.
        SerializationError: the result cannot be stored.
        Exception: any exception that the handler raises.
    """
    task = catalog.get(which)
    data = task.dump(payload)
    sender = Sender(catalog, clock, SeededEntropy(len(task_runs)))
    stored = None if data is None else data.encode()
    given = None if meta is None else sender.meta(meta).encode()
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
        host = RecordingHost(sender, resources, results or {}, clock)
        job = JobContext(claimed, task.name, host, clock.monotonic() + DEADLINE)
        host.record = TaskRun(task.name, job)
        task_runs.append(host.record)
        arguments: list[Any] = [task.validate_json(stored)] if task.takes_payload else []
        if task.takes_job:
            arguments.append(job)
        result = task.handler(*arguments)
        if inspect.isawaitable(result):
            result = await result
    if result is not None:
        jsonb.dumps(result)
    return result
