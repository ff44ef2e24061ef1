"""The handles of a sent job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from zeke_queue.core.validation import check_timeout
from zeke_queue.errors import JobFailedError, JobNotFoundError, ResultTimeoutError
from zeke_queue.model import JobStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent
    from zeke_queue.task.task import Task

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class RunSource(Protocol):
    """The part of a queue that its runs need."""

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job, or None if no job has this id."""
        ...

    async def ended(self, job_id: UUID, timeout: float | None) -> Job | None:
        """Return a job once it has ended, or None after ``timeout`` seconds.

        Raises:
            JobNotFoundError: there is no such job.
        """
        ...

    def watch(self, job_id: UUID) -> AsyncGenerator[Job | JobEvent]:
        """Yield a job at each change of its status, and its events between them."""
        ...

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job; False if it had ended already."""
        ...


class Run(Generic[R_co]):
    """A sent job, whose result is of type R.

    Args:
        task: the task, which knows the type of the result; None for another program's.
        created: whether the job was created by the send that returned this run.
    """

    __slots__ = ("_created", "_id", "_name", "_source", "_task")

    def __init__(
        self,
        source: RunSource,
        job_id: UUID,
        name: str,
        task: Task[Any, R_co] | None = None,
        *,
        created: bool = True,
    ) -> None:
        self._source = source
        self._id = job_id
        self._name = name
        self._task = task
        self._created = created

    def __repr__(self) -> str:
        return f"<Run {self._name} {self._id}>"

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self._id

    @property
    def task(self) -> str:
        """The task's name."""
        return self._name

    @property
    def created(self) -> bool:
        """Whether the job was created.

        False if a uniqueness rule kept an earlier job, which is this run's.
        """
        return self._created

    async def result(self, timeout: float | None = None) -> R_co:
        """Wait for the job to end and return its output, as the type of the task's result.

        Args:
            timeout: seconds to wait at most; 0 or less checks once, None waits without a limit.

        Raises:
            JobFailedError: it failed; a JobCancelledError or JobExpiredError if so. ``job`` is its end state.
            ResultTimeoutError: it did not end in time, and continues.
            JobNotFoundError: there is no such job.
            SerializationError: its output does not fit the task's result type.
            InvalidOptionError: the timeout is not a number.
        """
        return self.output_of(await self._ended(timeout))

    def output_of(self, job: Job) -> R_co:
        """Return the output of this run's job, once it has ended, as the type of the task's result.

        Raises:
            JobFailedError: it did not complete; a JobCancelledError or JobExpiredError if so.
            SerializationError: its output does not fit the task's result type.
        """
        if job.status is not JobStatus.COMPLETED:
            raise JobFailedError.of(job)
        return job.output if self._task is None else self._task.read_output(job.output)

    def watch(self) -> AsyncGenerator[Job | JobEvent]:
        """Yield the job now and at each change of its status, and its progress and log lines between them.

        Stored events follow the first status; a final status comes last. Each event is yielded once. A status
        that lasted only a moment may be skipped.

        Raises:
            JobNotFoundError: there is no such job, or it was deleted while being watched.
            StorageUnavailableError: an outage of a minute (but no less), or the queue was closed.
        """
        return self._source.watch(self._id)

    async def job(self) -> Job:
        """Return the stored job.

        Raises:
            JobNotFoundError: it was purged.
        """
        job = await self._source.get(self._id)
        if job is None:
            raise JobNotFoundError.of(self._id)
        return job

    async def status(self) -> JobStatus:
        """Return the job's status now.

        Raises:
            JobNotFoundError: it was purged.
        """
        return (await self.job()).status

    async def cancel(self) -> bool:
        """Cancel the job permanently, with the children it waits for; a running handler is asked to stop.

        Returns:
            False if it had ended already.

        Raises:
            JobNotFoundError: it was purged.
        """
        return await self._source.cancel(self._id)

    async def _ended(self, timeout: float | None) -> Job:
        seconds = check_timeout(timeout)
        job = await self._source.ended(self._id, seconds)
        if job is None:
            raise ResultTimeoutError(f"Job {self._id} has not ended after {seconds:g} s; it continues")
        return job


class Blocking(Protocol):
    """Runs a coroutine elsewhere, and blocks until it returns."""

    def __call__(self, work: Callable[[], Coroutine[Any, Any, T]], *, timeout: float | None = ...) -> T:
        """Run the coroutine that ``work`` makes; by default with a limit on the time."""
        ...


class SyncRun(Generic[R_co]):
    """A sent job of a ``SyncQueue``, whose result is of type R; its methods block until they have an answer.

    Args:
        run: the run of the same job.
        wait: runs a coroutine of that run.
    """

    __slots__ = ("_cancel", "_run", "_wait")

    def __init__(self, run: Run[R_co], wait: Blocking, cancel: Callable[[UUID], bool]) -> None:
        self._run = run
        self._wait = wait
        self._cancel = cancel

    def __repr__(self) -> str:
        return f"<SyncRun {self.task} {self.id}>"

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self._run.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self._run.task

    @property
    def created(self) -> bool:
        """Whether the job was created; see ``Run.created``."""
        return self._run.created

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the job to end and return its output; see ``Run.result``."""
        ended = self._run._ended  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of this module
        job = self._wait(lambda: ended(timeout), timeout=None)  # limited by the coroutine itself
        # Validators of the result's type run here, in the application's thread.
        return self._run.output_of(job)

    def job(self) -> Job:
        """Return the stored job; see ``Run.job``."""
        return self._wait(self._run.job)

    def status(self) -> JobStatus:
        """Return the job's status now; see ``Run.status``."""
        return self._wait(self._run.status)

    def cancel(self) -> bool:
        """Cancel the job permanently; see ``Run.cancel``."""
        return self._cancel(self.id)
