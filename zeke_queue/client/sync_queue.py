"""The queue of an application without asyncio: Django, Flask, scripts.

Sends are prepared in the caller's thread, so that validators of the application run there. In a transaction
of the caller's connection they are inserted there too. Every other call runs on the event loop of a queue in
another thread, and blocks its caller.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from zeke_queue.client import open_transactions
from zeke_queue.client.insert import IntoStorage, insert_all, insert_one
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue, QueueRuns
from zeke_queue.client.queue_thread import CALL_TIMEOUT, QueueThread, check_no_loop
from zeke_queue.client.sync_transaction import SyncTransaction, with_sync_runs
from zeke_queue.errors import UsageError, ZekeError
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SystemEntropy
from zeke_queue.system.loop_thread import run_now
from zeke_queue.task.prepare import JobFactory, check_parts
from zeke_queue.task.run import SyncRun
from zeke_queue.task.senders import SyncSender

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Self
    from uuid import UUID

    from zeke_queue.core.options import SendOptions
    from zeke_queue.model import Job, JobPage, JobQuery
    from zeke_queue.storage.jobs import Transaction
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.run import Run
    from zeke_queue.task.senders import SyncJoinable
    from zeke_queue.task.task import Send, Task

R = TypeVar("R")
T = TypeVar("T")

# In Django a connection that is not open yet is None, so None can't mean a transaction of the queue's own.
_OWN: Final[Any] = object()


class SyncQueue(SyncSender):
    """The jobs of a catalog in a storage, for code without asyncio; made by ``connect`` or ``in_memory``.

    Its methods do what those of ``Queue`` do, and block. Any number of threads may use one. It may be a
    global of a program that forks: it is opened in each process by the first call that needs it.

    A call that has no answer for a minute, such as one that waits for a lock, raises
    ``StorageUnavailableError``; one that opens the queue, or waits until another thread has, may take a
    minute for each of these before. Only ``SyncRun.result`` waits up to its own timeout, and
    ``worker.drain`` without a limit. In a thread in which an event loop runs, every call raises
    ``UsageError``.

    Args:
        catalog: the tasks that may be sent.
        open_queue: makes the block in which the queue behind it is open.
        clock: the clock of ids.
        schema: the schema of the tables; None in memory.
    """

    def __init__(
        self,
        catalog: Catalog[Any],
        open_queue: Callable[[], AbstractAsyncContextManager[Queue]],
        clock: Clock,
        schema: str | None,
    ) -> None:
        self._factory = JobFactory(catalog, clock, SystemEntropy())
        self._thread = QueueThread(open_queue)
        self._schema = schema
        self._runs = QueueRuns(self._thread.parts)

    @classmethod
    def connect(
        cls, catalog: Catalog[Any], dsn: str | None = None, *, settings: Settings | None = None
    ) -> Self:
        """Return a queue on Postgres: as a block, which connects at once, or until ``close``.

        Without a block it connects at the first call that needs it, which one in a transaction of the
        caller's does not.

        Args:
            catalog: the tasks that may be sent.
            dsn: the database; DATABASE_PRIMARY_URL by default.
            settings: the deployment's; read from the environment by default.

        Raises:
            SettingsError: a variable can't be read.
        """
        from zeke_queue.system.settings import Settings  # noqa: PLC0415 - not needed in memory

        check_parts(catalog=catalog, settings=settings)
        settings = settings or Settings.load()
        if dsn is not None:
            settings = settings.on_database(dsn)
        open_queue = partial(Queue.connect, catalog, settings=settings)
        return cls(catalog, open_queue, SystemClock(), settings.jobs_schema)

    @classmethod
    def in_memory(
        cls, catalog: Catalog[Any], *, clock: Clock | None = None, settings: Settings | None = None
    ) -> Self:
        """Return a queue in memory, for tests: as a block, or until ``close``; see ``Queue.in_memory``."""
        check_parts(catalog=catalog, clock=clock, settings=settings)
        clock = clock or SystemClock()
        return cls(catalog, partial(Queue.in_memory, catalog, clock=clock, settings=settings), clock, None)

    def __enter__(self) -> Self:
        self._thread.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the queue and its connections permanently; also done when the program ends.

        Calls that wait in other threads raise ``StorageUnavailableError``.
        """
        self._thread.close()

    # Sending

    def send_many(self, jobs: Iterable[Send]) -> list[SyncRun[Any]]:
        """Send any number of jobs in one statement; see ``Queue.send_many``."""
        self._check("queue.send_many")
        prepared = self._factory.prepare_all(jobs)
        if not prepared:
            return []
        with with_sync_runs(self._sync):
            runs = self._thread.run(lambda queue: insert_all(IntoStorage(parts_of(queue)), prepared))
        return [self._sync(run) for run in runs]

    def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> SyncRun[Any]:
        self._check("queue.trigger" if insist else "queue.send")
        prepared = self._factory.prepare(task, payload, options)
        return self._sync(
            self._thread.run(lambda queue: insert_one(IntoStorage(parts_of(queue)), prepared, insist=insist))
        )

    @overload
    def transaction(self) -> AbstractContextManager[SyncTransaction]: ...
    @overload
    def transaction(self, connection: SyncJoinable) -> AbstractContextManager[SyncTransaction]: ...

    @contextmanager
    def transaction(self, connection: SyncJoinable = _OWN) -> Generator[SyncTransaction]:
        """Open a block whose jobs are stored with the rows of the caller's transaction, or not at all.

        Inside the block, send through the transaction: ``send`` of the queue raises ``UsageError`` there,
        in this thread.

        Args:
            connection: a psycopg ``Connection`` (in Django ``connection.connection``), or a ``Connection`` or
                ``Session`` of SQLAlchemy, whose transaction is joined; the caller commits it, after the
                block. Without one, the jobs are stored at the end of the block.

        Raises:
            UsageError: the connection can't be joined, or, in autocommit mode, has no transaction. Without
                a connection: a transaction of this queue is open already.
        """
        if connection is _OWN:
            self._check("queue.transaction")
            opened = self._own_transaction()
        else:
            check_no_loop()
            opened = self._joined(connection)
        with opened as transaction, open_transactions.inside(self):
            try:
                yield transaction
            finally:
                transaction.end()

    @contextmanager
    def _joined(self, connection: object) -> Generator[SyncTransaction]:
        if self._schema is None:
            raise UsageError("connection: must be omitted with the memory storage, which has none to join")
        from zeke_queue.storage.postgres.sync_connection import join  # noqa: PLC0415 - not needed in memory

        joined = join(connection, self._schema)
        yield SyncTransaction(self._factory, joined, self._runs, self._sync, _here)

    @contextmanager
    def _own_transaction(self) -> Generator[SyncTransaction]:
        async def begin(queue: Queue) -> tuple[AbstractAsyncContextManager[Transaction], Transaction]:
            block = parts_of(queue).storage.transaction()
            return block, await block.__aenter__()

        block, transaction = self._thread.run(begin)
        try:
            yield SyncTransaction(self._factory, transaction, self._runs, self._sync, self._wait)
        except BaseException:
            # What was raised belongs to this thread. A rollback that fails leaves nothing stored either.
            undone = _UndoneError()
            with suppress(ZekeError):
                self._thread.run(lambda _: _exit(block, undone))
            raise
        self._thread.run(lambda _: _exit(block, None))

    def outside_transaction(self) -> AbstractContextManager[None]:
        """Allow calls of the queue inside a transaction's block that are not part of the transaction."""
        return open_transactions.outside()

    # Reading and managing jobs

    def get(self, job_id: UUID) -> Job | None:
        """Return a job, live or archived; None if no job has this id."""
        return self._thread.run(lambda queue: queue.get(job_id))

    def find(self, query: JobQuery) -> JobPage:
        """Return jobs that match a filter, newest first; see ``Queue.find``."""
        return self._thread.run(lambda queue: queue.find(query))

    @overload
    def get_run(self, job_id: UUID, task: Task[Any, R]) -> SyncRun[R]: ...
    @overload
    def get_run(self, job_id: UUID, task: None = None) -> SyncRun[Any]: ...

    def get_run(self, job_id: UUID, task: Task[Any, Any] | None = None) -> SyncRun[Any]:
        """Return the run of a job that was sent earlier or elsewhere; see ``Queue.get_run``."""
        return self._sync(self._thread.run(lambda queue: queue.get_run(job_id, task)))

    def cancel(self, job_id: UUID) -> bool:
        """Cancel a job permanently, with the children it waits for; see ``Queue.cancel``."""
        return self._change("cancel", job_id)

    def resume(self, job_id: UUID) -> bool:
        """Requeue a cancelled job, due at once; see ``Queue.resume``."""
        return self._change("resume", job_id)

    def retry(self, job_id: UUID) -> bool:
        """Requeue a failed or expired job, due at once; see ``Queue.retry``."""
        return self._change("retry", job_id)

    def _change(self, method: Literal["cancel", "resume", "retry"], job_id: UUID) -> bool:
        self._check(f"queue.{method}")
        return self._thread.run(lambda queue: getattr(queue, method)(job_id))

    def _check(self, call: str) -> None:
        check_no_loop()
        open_transactions.check_outside(self, call)

    def _sync(self, run: Run[R]) -> SyncRun[R]:
        return SyncRun(run, self._wait, self.cancel)

    def _wait(self, work: Callable[[], Coroutine[Any, Any, T]], *, timeout: float | None = CALL_TIMEOUT) -> T:
        return self._thread.run(lambda _: work(), timeout)


def run_async(queue: SyncQueue, work: Callable[[Queue], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine of the queue behind a ``SyncQueue``, however long it takes; for ``worker.drain``.

    It has the caller's context variables.

    Raises:
        UsageError: a transaction of the queue is open, or an event loop runs in this thread.
    """
    open_transactions.check_outside(queue, "drain")
    context = copy_context()
    return queue._thread.run(work, None, context=context)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of this module


def _here(work: Callable[[], Coroutine[Any, Any, T]], *, timeout: float | None = None) -> T:
    """Run a coroutine of a joined transaction, whose statements take as long as the caller's own."""
    del timeout
    return run_now(work())


class _UndoneError(Exception):
    """Rolls back a transaction."""


async def _exit(block: AbstractAsyncContextManager[Any], error: Exception | None) -> None:
    await block.__aexit__(error and type(error), error, None)
