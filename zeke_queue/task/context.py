"""The context of a job: the data and operations for its handler.

A context is made for every job whose handler asks for one, so it holds little: the claim, and what its
subclass needs. A worker has one subclass, and the process that runs a handler for a worker another. The
decoded ``meta`` and a logger are made on first use.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, cast, overload
from uuid import uuid5

from typing_extensions import TypeVar

from zeke_queue.core import jsonb
from zeke_queue.core.failure import shown
from zeke_queue.core.options import INT4_MAX
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import FINAL
from zeke_queue.system import logging as log
from zeke_queue.task.senders import Sender
from zeke_queue.task.signals import Wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator, Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from zeke_queue.core.options import ChildOptions, Seconds
    from zeke_queue.model import Claimed, Job
    from zeke_queue.task.run import Run
    from zeke_queue.task.senders import AsyncJoinable, Transaction
    from zeke_queue.task.task import Task

P = TypeVar("P")
R = TypeVar("R")
Res = TypeVar("Res", default=Any)


class JobContext(Sender, Generic[Res]):
    """A job as its handler sees it; ``Res`` is the type of the catalog's resources.

    Jobs that it sends are its children: ``parent`` is this job, and ``meta`` is passed on.

    Attributes:
        id: the job's id.
        task: the task's name, never an alias.
        attempt: how many times the job was claimed, this time included.
        retry_count: how many retries were used, from 0.
        parent: the job that sent this one.
        priority: the job's own; jobs it sends use their task's unless sent with ``priority=job.priority``.
        deadline: when this attempt expires, on the worker's monotonic clock.
        cancelled: whether the job should stop, because it was cancelled, its deadline passed, or the worker
            shuts down. An async handler gets ``CancelledError``; a handler in a thread must check this
            regularly.
        interrupted: whether ``wait_for`` or ``call`` has raised ``Wait`` in this attempt.
    """

    __slots__ = (
        "_children",
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

    def __init__(self, claimed: Claimed, task: str, deadline: float) -> None:
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
            self._logger = log.job_logger(
                self._store_line, taskId=self.task, jobId=str(self.id), attempt=self.attempt
            )
        return self._logger

    @property
    @abstractmethod
    def resources(self) -> Res:
        """The value that the catalog's ``resources`` yielded in this worker: repositories, clients."""

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
            raise InvalidOptionError(f"progress: must be a number from 0 to 1, got {shown(value)}")
        if message is not None and not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            raise InvalidOptionError(f"message: must be a string or None, got {shown(message)}")
        self._report(value, message)
        return _DONE

    async def extend(self, seconds: Seconds) -> None:
        """Move this attempt's deadline to ``seconds`` from now.

        The row stores the attempt's new total duration, and later attempts start with it. In a block of
        ``job.transaction()`` the transaction may then be idle for as long; but call it outside of
        savepoints, whose rollback restores the earlier limit.

        Raises:
            LeaseLostError: the job is no longer this worker's.
            InvalidOptionError: the duration is not above zero, or longer than 68 years.
        """
        duration = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not isinstance(duration, int | float) or not 0 < duration <= INT4_MAX:  # pyright: ignore[reportUnnecessaryIsInstance] - handlers may be untyped
            raise InvalidOptionError(
                f"extend: must be above 0 and at most {INT4_MAX} seconds, got {shown(seconds)}"
            )
        await self._extend(float(duration))

    def child_id(self, key: str) -> UUID:
        """Return the id of a job that this one sends once, however often it runs.

        Sending under this id again, after a crash for example, yields the existing job::

            await transaction.send("generate-brief", brief, id=job.child_id("brief"))

        Args:
            key: distinguishes it from other jobs that this one sends.
        """
        if not isinstance(key, str) or not key:  # pyright: ignore[reportUnnecessaryIsInstance] - handlers may be untyped
            raise InvalidOptionError(
                f"key: must be a non-empty string, got {shown(key)}; name the child by it"
            )
        return uuid5(self.id, key)

    @overload
    async def start_child(
        self, task: Task[None, R], *, key: str | None = None, **options: Unpack[ChildOptions]
    ) -> Run[R]: ...
    @overload
    async def start_child(
        self, task: Task[P, R], payload: P, *, key: str | None = None, **options: Unpack[ChildOptions]
    ) -> Run[R]: ...
    @overload
    async def start_child(
        self, task: str, payload: object = None, *, key: str | None = None, **options: Unpack[ChildOptions]
    ) -> Run[Any]: ...

    async def start_child(
        self,
        task: str | Task[Any, Any],
        payload: object = None,
        *,
        key: str | None = None,
        **options: Unpack[ChildOptions],
    ) -> Run[Any]:
        """Send a job whose outcome this one needs, once however often this one runs.

        The child is cancelled and resumed along with this job. To run several side by side, start all of them
        and then await ``wait_for`` of each. A failed child stays failed, however often this job is retried:
        to get a new one, make ``job.retry_count`` part of the key.

        Args:
            task: as ``send`` takes it, like ``payload`` and ``options``.
            key: distinguishes it from other children of this job; by default the task as named here, so a
                second child of one task needs a key.

        Raises:
            LeaseLostError: the worker no longer holds this job, for example because it was cancelled.
            InvalidOptionError: the key was used before in this attempt, or is invalid.
            JobConflictError: a uniqueness rule refused the child.
            UsageError: as for ``send``.
        """
        name = key if key is not None else str(getattr(task, "name", task))
        for option in options.keys() & {"id", "parent"}:
            raise InvalidOptionError(
                f"{option}: a child that is waited for has its own; omit it, or use job.send"
            )
        if self._children is None:
            self._children = set()
        if name in self._children:
            raise InvalidOptionError(
                f"key: {name!r} names a child of this attempt already; each needs one of its own"
            )
        child = await self._start_child(task, payload, name, options)
        self._children.add(name)
        return child

    async def wait_for(self, child: Run[Any] | UUID) -> Job:
        """Return a job once it has ended, in any state; until then, end this attempt and wait for it.

        Meanwhile this job holds no slot. When the other one has ended, the handler starts from its beginning,
        so repeating its earlier steps must be safe, as in any handler.

        Raises:
            Wait: it has not ended. The worker handles this exception, so do not catch it.
            JobNotFoundError: there is no such job.
        """
        signal = Wait(child)
        found = await self._get(signal.child)
        if found.row_state not in FINAL:
            self.interrupted = True
            raise signal
        return found

    @overload
    async def call(
        self, task: Task[None, R], *, key: str | None = None, **options: Unpack[ChildOptions]
    ) -> R: ...
    @overload
    async def call(
        self, task: Task[P, R], payload: P, *, key: str | None = None, **options: Unpack[ChildOptions]
    ) -> R: ...
    @overload
    async def call(
        self, task: str, payload: object = None, *, key: str | None = None, **options: Unpack[ChildOptions]
    ) -> Any: ...

    async def call(
        self,
        task: str | Task[Any, Any],
        payload: object = None,
        *,
        key: str | None = None,
        **options: Unpack[ChildOptions],
    ) -> Any:
        """Run another task as a child and return its output, as the type of the task's result.

        This is ``start_child`` and ``wait_for`` in one, with their arguments and errors.

        Raises:
            JobFailedError: the child did not complete; a JobCancelledError or JobExpiredError if so. Until
                it is caught or the key changes, each retry of this job raises it again.
        """
        child: Run[Any] = await self.start_child(cast("str", task), payload, key=key, **options)
        return child.output_of(await self.wait_for(child))

    async def stored(self, job_id: UUID | None = None) -> Job:
        """Return the stored row of this job or of another, with the history of its attempts.

        Raises:
            JobNotFoundError: it was deleted, or never existed.
        """
        return await self._get(job_id or self.id)

    @abstractmethod
    def transaction(
        self, connection: AsyncJoinable | None = None, *, lock: bool = True
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction like ``Queue.transaction``; jobs sent in it are children of this one.

        It locks this job, so it commits only while this attempt owns the job. Meanwhile the job can't be
        cancelled or start children, so keep the block short. If the process hangs in the block, the
        database rolls the transaction back at the job's deadline, and another attempt can run. ``extend``
        works in the block and in tasks beside it, unless ``connection`` is given.

        Args:
            connection: see ``Queue.transaction``.
            lock: False to commit even if the job has been lost, for facts that stay true, such as costs.

        Raises:
            LeaseLostError: the worker no longer holds this job, for example because it was cancelled;
                or its lease has ended in the block, of which nothing was committed. An async handler may get
                the ``CancelledError`` of its cancellation instead.
            LockTimeoutError: other tasks of the handler had such blocks open for a minute.
        """

    @abstractmethod
    def run_coroutine(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the worker's loop and return its result; for handlers in a thread.

        In an async handler this would wait for itself, so it raises ``RuntimeError`` there; use ``await``.
        """

    # Implemented by the executor of the handler

    @abstractmethod
    def _report(self, value: float, message: str | None) -> None:
        """Store progress; of several values in quick succession the last one wins."""

    @abstractmethod
    def _store_line(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Store a log line for watchers."""

    @abstractmethod
    async def _extend(self, seconds: float) -> None:
        """Move the deadline, here and in the storage."""

    @abstractmethod
    async def _start_child(
        self, task: str | Task[Any, Any], payload: object, key: str, options: ChildOptions
    ) -> Run[Any]:
        """Send a child that the job waits for, unless it was sent before."""

    @abstractmethod
    async def _get(self, job_id: UUID) -> Job:
        """Return a stored job."""


class _Done:
    """An awaitable that is already done."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield  # makes this a generator


_DONE = _Done()
