"""The interfaces of everything that sends jobs: queues, transactions and the contexts of running jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias, Unpack
    from uuid import UUID

    import psycopg

    from zeke_queue.core.options import SendOptions
    from zeke_queue.task.run import Run, SyncRun
    from zeke_queue.task.task import Send, Task

    AsyncJoinable: TypeAlias = "psycopg.AsyncConnection[Any] | AsyncSQLAlchemy"
    SyncJoinable: TypeAlias = "psycopg.Connection[Any] | SyncSQLAlchemy"

P = TypeVar("P")
R = TypeVar("R")


class AsyncSQLAlchemy(Protocol):
    """An ``AsyncConnection``, ``AsyncSession`` or ``async_scoped_session`` of SQLAlchemy."""

    def begin_nested(self) -> Any:
        """Open a savepoint."""
        ...

    async def commit(self) -> None:
        """Commit the transaction."""
        ...


class SyncSQLAlchemy(Protocol):
    """A ``Connection``, ``Session`` or ``scoped_session`` of SQLAlchemy."""

    def begin_nested(self) -> Any:
        """Open a savepoint."""
        ...

    def commit(self) -> None:
        """Commit the transaction."""
        ...


class Sender(ABC):
    """Sends jobs: a ``Queue``, a ``Transaction`` or a ``JobContext``."""

    __slots__ = ()

    @overload
    async def send(self, task: Task[None, R], **options: Unpack[SendOptions]) -> Run[R]: ...
    @overload
    async def send(self, task: Task[P, R], payload: P, **options: Unpack[SendOptions]) -> Run[R]: ...
    @overload
    async def send(self, task: str, payload: object = None, **options: Unpack[SendOptions]) -> Run[Any]: ...

    async def send(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> Run[Any]:
        """Send a job, unless a uniqueness rule (singleton key, throttle, debounce) keeps an earlier one.

        Args:
            task: a task of the catalog, or its name or alias.
            payload: an instance of the task's type, or, with a task's name, input that validates as one.
            **options: see ``SendOptions``; those not given come from the task, then from the catalog.

        Returns:
            The run of the job. Where a uniqueness rule refused it, the run of the job that holds the key or
            the slot, with ``created`` False; that job may have ended already.

        Raises:
            UnknownTaskError: the task is not in the catalog; the message suggests similar names.
            PayloadValidationError: the payload is invalid; ``fields`` says where.
            SerializationError: the payload is valid, but can't be stored as JSON.
            PayloadTooLargeError: the payload exceeds the catalog's cap.
            InvalidOptionError: an option is out of range, or excludes another.
            JobConflictError: a uniqueness rule refused it twice, each time for a job that could not be found.
            UsageError: a transaction of the same storage is open, in which it must be sent.
            StorageUnavailableError: no answer to three tries within about a second. The job may have been
                inserted: send again under the same ``id`` to be sure. In a transaction it is tried once.
        """
        return await self._send(task, payload, options, insist=False)

    @overload
    async def trigger(self, task: Task[None, R], **options: Unpack[SendOptions]) -> Run[R]: ...
    @overload
    async def trigger(self, task: Task[P, R], payload: P, **options: Unpack[SendOptions]) -> Run[R]: ...
    @overload
    async def trigger(
        self, task: str, payload: object = None, **options: Unpack[SendOptions]
    ) -> Run[Any]: ...

    async def trigger(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> Run[Any]:
        """Send a job that must be a new one; arguments and errors are those of ``send``.

        Raises:
            JobConflictError: a uniqueness rule refused it; ``holder`` is the conflicting job, if known.
        """
        return await self._send(task, payload, options, insist=True)

    @abstractmethod
    async def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> Run[Any]: ...


class Transaction(Sender):
    """A transaction for jobs and the application's own rows: both are stored, or neither.

    ``Queue.transaction`` and ``JobContext.transaction`` open one. One task at a time may use it, until its
    block ends. Later use raises ``UsageError``, since its connection may be in use elsewhere.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def connection(self) -> Any:
        """The connection for the application's own statements: psycopg's; None in memory."""

    @abstractmethod
    async def send_many(self, jobs: Iterable[Send]) -> list[Run[Any]]:
        """Send jobs that exist once the transaction commits; see ``Queue.send_many``."""

    @abstractmethod
    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job once the transaction commits, with the children it waits for.

        Returns:
            False if it had ended already, or does not exist: unlike ``Queue.cancel``, this does not look it
            up, which would take a second connection.
        """

    @abstractmethod
    async def lock_attempt(self, job_id: UUID, attempt: int, *, idle_timeout: float | None = None) -> None:
        """Lock a job at its attempt until the transaction ends.

        The transaction then commits only if this attempt still owns the job; a worker that has lost the job
        gets an error here. ``job.transaction()`` does so by itself.

        Args:
            idle_timeout: seconds without a statement after which the database rolls the transaction back, in
                case the process hangs; None for the database's own setting. That of the last call counts,
                unless it was inside a savepoint that is rolled back.

        Raises:
            LeaseLostError: the job is no longer active at this attempt.
        """

    @abstractmethod
    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the transaction has committed, and never after a rollback.

        There is no signal for the end of a joined transaction, since the caller ends it. There, this and
        ``on_rollback`` act at the end of the block.
        """

    @abstractmethod
    def on_rollback(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` if the transaction rolls back; the last one registered is called first."""


class SyncSender(ABC):
    """Sends jobs from code without asyncio: a ``SyncQueue`` or a ``SyncTransaction``."""

    __slots__ = ()

    @overload
    def send(self, task: Task[None, R], **options: Unpack[SendOptions]) -> SyncRun[R]: ...
    @overload
    def send(self, task: Task[P, R], payload: P, **options: Unpack[SendOptions]) -> SyncRun[R]: ...
    @overload
    def send(self, task: str, payload: object = None, **options: Unpack[SendOptions]) -> SyncRun[Any]: ...

    def send(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> SyncRun[Any]:
        """Send a job, unless a uniqueness rule keeps an earlier one; see ``Sender.send``.

        Raises:
            UsageError: an event loop runs in this thread, whose other tasks the call would block.
        """
        return self._send(task, payload, options, insist=False)

    @overload
    def trigger(self, task: Task[None, R], **options: Unpack[SendOptions]) -> SyncRun[R]: ...
    @overload
    def trigger(self, task: Task[P, R], payload: P, **options: Unpack[SendOptions]) -> SyncRun[R]: ...
    @overload
    def trigger(self, task: str, payload: object = None, **options: Unpack[SendOptions]) -> SyncRun[Any]: ...

    def trigger(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> SyncRun[Any]:
        """Send a job that must be a new one; arguments and errors are those of ``send``.

        Raises:
            JobConflictError: a uniqueness rule refused it; ``holder`` is the conflicting job, if known.
        """
        return self._send(task, payload, options, insist=True)

    @abstractmethod
    def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> SyncRun[Any]: ...
