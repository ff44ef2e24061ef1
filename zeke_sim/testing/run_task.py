"""A task by itself: its handler, with a payload and a context, and what it did with them."""

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

__tracebackhide__ = True  # of a failing test: its own lines say more

DEADLINE: Final = 3600.0
"""Seconds that an attempt has by default."""


class Sent(NamedTuple):
    """A child that a handler sent: the task's name, the payload as it is stored, and the options given."""

    id: UUID
    task: str
    payload: Any
    options: Mapping[str, Any]


class Progress(NamedTuple):
    """How far a handler said that it was."""

    value: float
    message: str | None


class Line(NamedTuple):
    """A log line that is kept with the job."""

    level: str
    message: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class Performed:
    """What a handler did.

    Attributes:
        task: the task's name.
        job: its context.
        children: the jobs that it sent.
        progress: what it told of how far it was.
        log: lines of its logger, from info on.
        extended: seconds to which it moved its deadline, each time.
    """

    task: str
    job: JobContext
    children: list[Sent] = field(default_factory=list[Sent])
    progress: list[Progress] = field(default_factory=list[Progress])
    log: list[Line] = field(default_factory=list[Line])
    extended: list[float] = field(default_factory=list[float])


class RecordedChild:
    """The run of a child that was not really sent."""

    def __init__(self, job_id: UUID, task: str, results: Mapping[str, Any]) -> None:
        self.id = job_id
        self.task = task
        self._results = results

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002
        """Return what the test says that the child returns."""
        if self.task not in self._results:
            raise UsageError(
                f"perform: the handler waits for the result of its child {self.task!r}, and there is no "
                f"queue that would run it; give perform(..., results={{{self.task!r}: …}})"
            )
        result = self._results[self.task]
        if isinstance(result, BaseException):
            raise result
        return result

    async def cancel(self) -> bool:
        """Mark the job as cancelled."""
        return True


class RecordingHost:
    """Stands behind the context of a handler that runs without a queue, and writes down what it does."""

    def __init__(self, sender: Sender, resources: Any, results: Mapping[str, Any], clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        self._results = results
        self.resources = resources
        self.performed: Performed | None = None

    def _record(self) -> Performed:
        if self.performed is None:
            raise UsageError("perform: the handler has not begun")
        return self.performed

    def progress(self, job: JobContext, value: float, message: str | None) -> None:
        """Note how far it is."""
        del job
        self._record().progress.append(Progress(value, message))

    def logger(self, job: JobContext) -> FilteringBoundLogger:
        """Return a logger whose lines are noted."""

        def keep(level: str, message: str, fields: Mapping[str, Any]) -> None:
            self._record().log.append(Line(level, message, dict(fields)))

        return log.job_logger(keep, taskId=job.task, jobId=str(job.id), attempt=job.attempt)

    async def extend(self, job: JobContext, seconds: float) -> None:
        """Note that it takes longer."""
        del job
        self._record().extended.append(seconds)

    async def send(self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]) -> UUID | None:
        """Check a child as a queue would, and note it."""
        prepared = self._sender.prepare(task, payload, {**options}, parent=job.id)  # pyright: ignore[reportArgumentType]
        data = prepared.job.data
        stored = None if data is None else jsonb.loads(data)
        self._record().children.append(Sent(prepared.job.id, prepared.job.name, stored, dict(options)))
        return prepared.job.id

    async def trigger(
        self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]
    ) -> RecordedChild:
        """Note a child, and return its run."""
        await self.send(job, task, payload, options)
        sent = self._record().children[-1]
        return RecordedChild(sent.id, sent.task, self._results)

    async def child(
        self, job: JobContext, task: Any, payload: Any, key: str, options: Mapping[str, Any]
    ) -> RecordedChild:
        """Note a child, once a key."""
        known = {sent.id: sent for sent in self._record().children}
        sent = known.get(job.child_id(key))
        if sent is not None:
            return RecordedChild(sent.id, sent.task, self._results)
        return await self.trigger(job, task, payload, {**options, "id": job.child_id(key)})

    async def look(self, job: JobContext, job_id: UUID) -> Job:
        """Return a child as one that has ended, with what the test says of it; or the job itself."""
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
        except Exception as error:  # noqa: BLE001 - the test gave it, as what the child fails with
            row.end(JobState.FAILED, self._clock.now())
            row.output = error_output(error)
        else:
            row.end(JobState.COMPLETED, self._clock.now())
            row.output = None if result is None else jsonb.dumps(result)
        return as_job(row)

    def transaction(self, job: JobContext, connection: Any) -> AbstractAsyncContextManager[Any]:
        """Refuse: there is no database."""
        del job, connection
        raise UsageError(
            "perform: the handler opens a transaction, which takes a queue; send the task and drain() instead"
        )

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run what waits for nothing, from a sync handler."""
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        work.close()
        raise UsageError("perform: job.wait() in a sync handler can wait for calls of its job only")


async def perform(
    performed: list[Performed],
    catalog: Catalog,
    which: str | Task[Any, Any],
    payload: Any,
    *,
    clock: Clock,
    attempt: int = 1,
    meta: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Any:
    """Run a task's handler, and return what it returns.

    Args:
        performed: what it does is added here, before it begins.
        catalog: the application's.
        which: a task of it, or its name.
        payload: what fits the task's model; it goes through JSON, as on a queue.
        clock: of the test.
        attempt: which attempt the handler is told that it is.
        meta: of the job.
        results: what children return if it waits for them, by their task's name; an exception is raised.

    Raises:
        UsageError: as a send would: an unknown task, a payload that does not fit.
        SerializationError: the result can't be stored.
        Exception: whatever the handler raises.
    """
    task = catalog.get(which)
    data = task.dump(payload)
    sender = Sender(catalog, clock, SeededEntropy(len(performed)))
    stored = None if data is None else data.encode()
    given = None if meta is None else sender.meta(meta).encode()
    job_id = Ids(clock, SeededEntropy(-1 - len(performed)))()
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
        host.performed = Performed(task.name, job)
        performed.append(host.performed)
        arguments: list[Any] = [task.validate_json(stored)] if task.takes_payload else []
        if task.takes_job:
            arguments.append(job)
        result = task.handler(*arguments)
        if inspect.isawaitable(result):
            result = await result
    if result is not None:
        jsonb.dumps(result)
    return result
