"""Transactions of a ``SyncQueue``: jobs that are stored together with the rows they refer to."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zeke_queue.client.insert import IntoTransaction, insert_all, insert_one
from zeke_queue.errors import JobConflictError, LeaseLostError, UsageError
from zeke_queue.storage.inspect import check_id
from zeke_queue.task.senders import SyncSender

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from uuid import UUID

    from zeke_queue.core.options import SendOptions
    from zeke_queue.storage.jobs import Transaction
    from zeke_queue.task.prepare import JobFactory
    from zeke_queue.task.run import Blocking, Run, RunSource, SyncRun
    from zeke_queue.task.task import Send, Task


class SyncTransaction(SyncSender):
    """A transaction for jobs, made by ``SyncQueue.transaction``; later use than in its block is an error.

    Args:
        factory: makes the jobs.
        transaction: the storage's.
        runs: provides the jobs to their runs.
        sync: makes the run that a send returns.
        wait: runs coroutines of the transaction.
    """

    __slots__ = ("_factory", "_runs", "_sync", "_transaction", "_wait")

    def __init__(
        self,
        factory: JobFactory,
        transaction: Transaction,
        runs: RunSource,
        sync: Callable[[Run[Any]], SyncRun[Any]],
        wait: Blocking,
    ) -> None:
        self._factory = factory
        self._transaction: Transaction | None = transaction
        self._runs = runs
        self._sync = sync
        self._wait = wait

    def send_many(self, jobs: Iterable[Send]) -> list[SyncRun[Any]]:
        """Send jobs that exist once the transaction commits; see ``Queue.send_many``."""
        target = self._target()
        prepared = self._factory.prepare_all(jobs)
        if not prepared:
            return []
        with with_sync_runs(self._sync):
            runs = self._wait(lambda: insert_all(target, prepared))
        return [self._sync(run) for run in runs]

    def cancel(self, job_id: UUID) -> bool:
        """Cancel a job once the transaction commits, with the children it waits for.

        Returns:
            False if it had ended already, or does not exist.
        """
        transaction, ids = self._open(), [check_id(job_id)]
        return bool(self._wait(lambda: transaction.cancel(ids)))

    def lock_attempt(self, job_id: UUID, attempt: int, *, idle_timeout: float | None = None) -> None:
        """Lock a job at its attempt until the transaction ends; see ``Transaction.lock_attempt``."""
        transaction = self._open()
        if not self._wait(lambda: transaction.lock_attempt(job_id, attempt, idle_timeout)):
            raise LeaseLostError.of(job_id)

    def end(self) -> None:
        """Refuse further use; ``SyncQueue.transaction`` calls it at the end of the block."""
        self._transaction = None

    def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> SyncRun[Any]:
        target = self._target()
        prepared = self._factory.prepare(task, payload, options)
        return self._sync(self._wait(lambda: insert_one(target, prepared, insist=insist)))

    def _target(self) -> IntoTransaction:
        return IntoTransaction(self._open(), self._runs)

    def _open(self) -> Transaction:
        if self._transaction is None:
            raise UsageError("The transaction has ended with its block; open another one")
        return self._transaction


@contextmanager
def with_sync_runs(sync: Callable[[Run[Any]], SyncRun[Any]]) -> Generator[None]:
    """Make the runs of a conflict in the block synchronous ones."""
    try:
        yield
    except JobConflictError as error:
        error.sent = [sync(run) for run in error.sent]
        raise
