"""Transactions that write jobs together with the rows they refer to: either both exist or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.errors import LeaseLostError, UsageError
from zeke_queue.task.prepare import insert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Unpack
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.storage.jobs import Transaction
    from zeke_queue.task.prepare import Prepared, Send, Sender, SendOptions
    from zeke_queue.task.run import Run
    from zeke_queue.task.task import Task


class QueueTransaction:
    """A transaction for jobs and the application's own rows; made by ``Queue.transaction``.

    One task at a time may use it, until its block ends. Later use raises ``UsageError``, since its connection
    may be in use elsewhere by then.
    """

    def __init__(
        self, queue: Queue, transaction: Transaction, sender: Sender, parent: UUID | None, meta: str | None
    ) -> None:
        self._queue = queue
        self._transaction: Transaction | None = transaction
        self._sender = sender
        self._parent = parent
        self._meta = meta

    @property
    def connection(self) -> Any:
        """The driver's connection for the application's own statements: psycopg's, or None in memory."""
        return self._open().connection

    async def send(
        self,
        task: str | Task[Any, Any],
        payload: Any = None,
        **options: Unpack[SendOptions],
    ) -> UUID | None:
        """Send a job that exists once the transaction commits; see ``Queue.send``."""
        return (await insert([self._prepare(task, payload, options)], self._open().insert))[0]

    async def send_many(self, jobs: Iterable[Send]) -> list[UUID | None]:
        """Send jobs that exist once the transaction commits; see ``Queue.send_many``."""
        prepared = self._sender.prepare_all(jobs, parent=self._parent, meta=self._meta)
        return await insert(prepared, self._open().insert) if prepared else []

    async def trigger(
        self,
        task: str | Task[Any, Any],
        payload: Any = None,
        **options: Unpack[SendOptions],
    ) -> Run:
        """Send a job that exists once the transaction commits; await its run only after that.

        Raises:
            JobConflictError: a uniqueness rule refused it; the transaction remains usable.
        """
        prepared = self._prepare(task, payload, options)
        return await self._queue.run_of(prepared, (await insert([prepared], self._open().insert))[0])

    async def hold(self, job_id: UUID, attempt: int) -> None:
        """Lock a job at its attempt until the transaction ends.

        The transaction then commits only if this attempt still owns the job; a worker that has lost the job
        gets an error here. In a handler: ``await transaction.hold(job.id, job.attempt)``.

        Raises:
            LeaseLostError: the job is no longer active at this attempt.
        """
        if not await self._open().lock_attempt(job_id, attempt):
            raise LeaseLostError.of(job_id)

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Call ``apply`` once the transaction has committed, and never after a rollback.

        There is no signal for the end of a joined transaction, since the caller ends it. There, this and
        ``on_rollback`` act at the end of the block.
        """
        self._open().on_commit(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if the transaction rolls back; the last one registered is called first."""
        self._open().on_rollback(undo)

    def end(self) -> None:
        """Refuse further use; ``Queue.transaction`` calls it at the end of the block."""
        self._transaction = None

    def _open(self) -> Transaction:
        if self._transaction is None:
            raise UsageError("The transaction has ended with its block; open another one")
        return self._transaction

    def _prepare(self, task: str | Task[Any, Any], payload: Any, options: SendOptions) -> Prepared:
        return self._sender.prepare(task, payload, options, parent=self._parent, meta=self._meta)
