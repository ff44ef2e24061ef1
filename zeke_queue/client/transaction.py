"""Transactions that write jobs together with the rows they refer to: either both exist or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.client.insert import IntoTransaction, insert_all, insert_one
from zeke_queue.errors import LeaseLostError, UsageError
from zeke_queue.model import Extended
from zeke_queue.storage.inspect import check_id
from zeke_queue.task.senders import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from zeke_queue.client.parts import Parts
    from zeke_queue.core.options import SendOptions
    from zeke_queue.storage.jobs import Transaction as StorageTransaction
    from zeke_queue.task.run import Run
    from zeke_queue.task.task import Send, Task


class QueueTransaction(Transaction):
    """A transaction of a queue; made by ``Queue.transaction``.

    Args:
        parent: the parent of jobs sent without one.
        meta: JSON text of the meta of jobs sent without one.
    """

    __slots__ = ("_meta", "_parent", "_parts", "_transaction")

    def __init__(
        self, parts: Parts, transaction: StorageTransaction, parent: UUID | None, meta: str | None
    ) -> None:
        self._parts = parts
        self._transaction: StorageTransaction | None = transaction
        self._parent = parent
        self._meta = meta

    @property
    def connection(self) -> Any:
        """The connection for the application's own statements; see ``Transaction``."""
        return self._open().connection

    async def send_many(self, jobs: Iterable[Send]) -> list[Run[Any]]:
        """Send jobs that exist once the transaction commits; see ``Queue.send_many``."""
        prepared = self._parts.factory.prepare_all(jobs, parent=self._parent, meta=self._meta)
        return await insert_all(self._target(), prepared) if prepared else []

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job once the transaction commits; see ``Transaction``."""
        return bool(await self._open().cancel([check_id(job_id)]))

    async def lock_attempt(self, job_id: UUID, attempt: int, *, idle_timeout: float | None = None) -> None:
        """Lock a job at its attempt until the transaction ends; see ``Transaction``."""
        if not await self._open().lock_attempt(job_id, attempt, idle_timeout):
            raise LeaseLostError.of(job_id)

    async def extend_attempt(self, job_id: UUID, attempt: int, seconds: float) -> None:
        """Move the deadline of a job that this transaction has locked."""
        await self._open().extend([Extended(job_id, attempt, seconds)])

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after a commit; see ``Transaction``."""
        self._open().on_commit(callback)

    def on_rollback(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after a rollback; see ``Transaction``."""
        self._open().on_rollback(callback)

    def end(self) -> None:
        """Refuse further use; ``Queue.transaction`` calls it at the end of the block."""
        self._transaction = None

    async def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> Run[Any]:
        prepared = self._parts.factory.prepare(task, payload, options, parent=self._parent, meta=self._meta)
        return await insert_one(self._target(), prepared, insist=insist)

    def _target(self) -> IntoTransaction:
        return IntoTransaction(self._open(), self._parts.runs)

    def _open(self) -> StorageTransaction:
        if self._transaction is None:
            raise UsageError("The transaction has ended with its block; open another one")
        return self._transaction
