"""The context of a job: what its handler can read, and do on its behalf.

A context is made for every job whose handler asks for one, so it holds little: the claim and a ``JobHost``,
the worker's side. The decoded ``meta`` and a logger are made on first use.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid5

from zeke_queue.core import jsonb
from zeke_queue.core.failure import shown
from zeke_queue.core.options import INT4_MAX
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import FINAL
from zeke_queue.task.signals import Wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator, Mapping
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from zeke_queue.model import Claimed, Job


class Child(Protocol):
    """The run of a child job: the part of ``Queue.trigger``'s result that a handler needs."""

    id: UUID
    task: str

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the child to end and return its output; the parent keeps its slot meanwhile."""
        ...

    async def cancel(self) -> bool:
        """Cancel the child."""
        ...


class JobHost(Protocol):
    """The implementation behind a context: a worker, or the child process that runs a job for one."""

    @property
    def resources(self) -> Any:
        """The value that the catalog's ``resources`` yielded."""
        ...

    def progress(self, job: JobContext, value: float, message: str | None) -> None:
        """Store a job's progress; of several values in quick succession the last one wins."""
        ...

    def logger(self, job: JobContext) -> FilteringBoundLogger:
        """Return a logger whose lines are printed and stored for watchers of the job."""
        ...

    async def extend(self, job: JobContext, seconds: float) -> None:
        """Move a job's deadline."""
        ...

    async def send(self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]) -> UUID | None:
        """Send a child."""
        ...

    async def trigger(self, job: JobContext, task: Any, payload: Any, options: Mapping[str, Any]) -> Child:
        """Send a child and return its run."""
        ...

    async def child(
        self, job: JobContext, task: Any, payload: Any, key: str, options: Mapping[str, Any]
    ) -> Child:
        """Send a child that the job waits for, unless it was sent before; it is cancelled with the job."""
        ...

    async def look(self, job: JobContext, job_id: UUID) -> Job:
        """Return a job as it is stored."""
        ...

    def transaction(self, job: JobContext, connection: Any) -> AbstractAsyncContextManager[Any]:
        """Open a transaction whose jobs are children."""
        ...

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the worker's loop from a thread, and return what it returns."""
        ...


class JobContext:
    """A job as its handler sees it.

    Attributes:
        id: the job's id.
        task: the task's name, never an alias.
        attempt: how many times the job was claimed, this time included.
        retry_count: how many retries were used, from 0.
        parent: the job that sent this one.
        priority: the job's own; jobs it sends use their task's unless sent with ``priority=job.priority``.
        deadline: when this attempt expires, on the worker's monotonic clock.
        cancelled: whether the job should stop, because it was cancelled, its time is up, or the worker shuts
            down. An async handler gets ``CancelledError``; a handler in a thread must check this regularly.
        interrupted: whether ``outcome`` or ``call`` has raised ``Wait`` in this attempt.
    """

    __slots__ = (
        "_children",
        "_host",
        "_logger",
        "_meta",
        "_raw_meta",
        "attempt",
        "cancelled",
        "deadline",
        "id",
        "interrupted",
        "parent",
        "priority",
        "retry_count",
        "task",
    )

    def __init__(self, claimed: Claimed, task: str, host: JobHost, deadline: float) -> None:
        self.id = claimed.id
        self.task = task
        self.attempt = claimed.attempt
        self.retry_count = claimed.retry_count
        self.parent = claimed.parent
        self.priority = claimed.priority
        self.deadline = deadline
        self.cancelled = False
        self.interrupted = False
        self._raw_meta = claimed.meta
        self._host = host
        self._children: set[str] | None = None
        self._meta: Mapping[str, Any] | None = None
        self._logger: FilteringBoundLogger | None = None

    def __repr__(self) -> str:
        return f"<JobContext {self.task} {self.id} attempt {self.attempt}>"

    @property
    def meta(self) -> Mapping[str, Any]:
        """The object passed on from parent to child; empty if the job has none."""
        if self._meta is None:
            self._meta = jsonb.loads(self._raw_meta) if self._raw_meta is not None else {}
        return self._meta or {}

    @property
    def logger(self) -> FilteringBoundLogger:
        """A logger bound to taskId, jobId and attempt; lines at info and above are also kept for watchers."""
        if self._logger is None:
            self._logger = self._host.logger(self)
        return self._logger

    @property
    def resources(self) -> Any:
        """The value that the catalog's ``resources`` yielded in this worker: repositories, clients."""
        return self._host.resources

    def progress(self, value: float, message: str | None = None) -> Awaitable[None]:
        """Report the job's progress to watchers.

        It is stored in the background, at most ten times a second per job. The call takes effect without
        being awaited, so a handler in a thread can make it as well.

        Args:
            value: from 0 to 1.
            message: text for users.

        Raises:
            InvalidOptionError: the value is out of range, or the message is not a string.
        """
        if not isinstance(value, int | float) or not 0 <= value <= 1:  # pyright: ignore[reportUnnecessaryIsInstance] - handlers may be untyped
            raise InvalidOptionError(f"progress: {shown(value)} is out of range; give a number from 0 to 1")
        if message is not None and not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            raise InvalidOptionError(f"message: {shown(message)} is no text; give a string, or None")
        self._host.progress(self, value, message)
        return _DONE

    async def extend(self, seconds: float | timedelta) -> None:
        """Move this attempt's deadline to ``seconds`` from now.

        The row stores the attempt's new total duration, and later attempts start with it.

        Raises:
            LeaseLostError: the job is no longer this worker's.
            InvalidOptionError: the duration is not above zero, or longer than 68 years.
        """
        duration = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not isinstance(duration, int | float) or not 0 < duration <= INT4_MAX:  # pyright: ignore[reportUnnecessaryIsInstance] - handlers may be untyped
            raise InvalidOptionError(
                f"extend: {shown(seconds)} is out of range; give seconds above 0, to {INT4_MAX}"
            )
        await self._host.extend(self, float(duration))

    async def send(self, task: Any, payload: Any = None, **options: Any) -> UUID | None:
        """Send a child of this job: as ``Queue.send``, with the parent set and ``meta`` passed on."""
        return await self._host.send(self, task, payload, options)

    async def trigger(self, task: Any, payload: Any = None, **options: Any) -> Child:
        """Send a child and return its ``Run``: as ``Queue.trigger``, parent set and ``meta`` passed on."""
        return await self._host.trigger(self, task, payload, options)

    def child_id(self, key: str) -> UUID:
        """Return the id of a job that this one sends once, however often it runs.

        Sending under this id again, after a crash for example, yields the existing job::

            await transaction.send("generate-brief", brief, id=job.child_id("brief"))

        Args:
            key: distinguishes it from other jobs that this one sends.
        """
        if not isinstance(key, str) or not key:  # pyright: ignore[reportUnnecessaryIsInstance] - handlers may be untyped
            raise InvalidOptionError(
                f"key: {shown(key)} is no key; give a text that tells the child from others"
            )
        return uuid5(self.id, key)

    async def child(self, task: Any, payload: Any = None, *, key: str | None = None, **options: Any) -> Child:
        """Send a job whose outcome this one needs, once however often this one runs; return its ``Run``.

        The child is cancelled and resumed along with this job. To run several side by side, send all of them
        and then await the ``outcome`` of each. A failed child stays failed, however often this job is
        retried: to get a new one, make ``job.retry_count`` part of the key.

        Args:
            task: as ``Queue.trigger`` takes it, like ``payload`` and ``options``.
            key: distinguishes it from other children of this job; by default the task as named here, so a
                second child of one task needs a key.

        Raises:
            LeaseLostError: the worker no longer holds this job, for example because it was cancelled.
            InvalidOptionError: the key was used before in this attempt, or is invalid; or ``id`` or
                ``parent`` is given.
            JobConflictError: a uniqueness rule refused the child.
            UsageError: as for ``Queue.send``.
        """
        name = key if key is not None else str(getattr(task, "name", task))
        if self._children is None:
            self._children = set()
        if name in self._children:
            raise InvalidOptionError(
                f"key: {name!r} names a child of this attempt already; each needs one of its own"
            )
        child = await self._host.child(self, task, payload, name, options)
        self._children.add(name)
        return child

    async def outcome(self, child: Child | UUID) -> Job:
        """Return a job once it has ended, in any state; until then, end this attempt and wait for it.

        Raises:
            Wait: it has not ended. The worker handles this exception, so do not catch it.
            JobNotFoundError: there is no such job.
        """
        signal = Wait(child)
        found = await self._host.look(self, signal.child)
        if found.state not in FINAL:
            self.interrupted = True
            raise signal
        return found

    async def call(self, task: Any, payload: Any = None, *, key: str | None = None, **options: Any) -> Job:
        """Run another task as a child and return it once it has ended, in any state.

        This is ``child`` and ``outcome`` in one. Until the child ends, this attempt ends and holds no slot.
        The handler then starts from its beginning, so repeating its earlier steps must be safe, as in any
        handler.
        """
        return await self.outcome(await self.child(task, payload, key=key, **options))

    async def stored(self) -> Job:
        """Return this job as it is stored, with the history of its attempts.

        Raises:
            JobNotFoundError: it was deleted.
        """
        return await self._host.look(self, self.id)

    def transaction(self, connection: Any = None) -> AbstractAsyncContextManager[Any]:
        """Open a transaction like ``Queue.transaction``; jobs sent in it are children of this one."""
        return self._host.transaction(self, connection)

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the worker's loop and return its result; for handlers in a thread.

        In an async handler this would wait for itself, so it raises ``RuntimeError`` there; use ``await``.
        """
        return self._host.wait(work)


class _Done:
    """An awaitable that is already done."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield  # makes this a generator


_DONE = _Done()
