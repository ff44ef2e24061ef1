"""The queue of an application: sends jobs, finds them and manages them.

A send needs the storage only, not a worker or another service. Ids are made here, so a send whose answer was
lost is repeated under the same id and results in one job.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from zeke_queue.client import open_transactions
from zeke_queue.client.insert import IntoStorage, insert_all, insert_one
from zeke_queue.client.job_admin import requeue
from zeke_queue.client.parts import Parts, parts_of
from zeke_queue.client.schedules import Schedules
from zeke_queue.client.transaction import QueueTransaction
from zeke_queue.core.names import task_of
from zeke_queue.core.validation import check_query, check_uuid
from zeke_queue.errors import UsageError
from zeke_queue.model import JobStatus
from zeke_queue.storage.inspect import check_id, require
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SystemEntropy
from zeke_queue.task.prepare import JobFactory, check_parts
from zeke_queue.task.run import Run
from zeke_queue.task.senders import Sender
from zeke_queue.watch.job_watcher import JobWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
    from typing import Self
    from uuid import UUID

    from zeke_queue.core.options import SendOptions
    from zeke_queue.model import Job, JobEvent, JobPage, JobQuery, QueueStats
    from zeke_queue.storage import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.run import RunSource
    from zeke_queue.task.senders import AsyncJoinable, Transaction
    from zeke_queue.task.task import Send, Task

R = TypeVar("R")


class Queue(Sender):
    """The jobs of a catalog in a storage.

    Args:
        catalog: the tasks that may be sent.
        storage: the storage of the jobs; the code that opened it also closes it.
        clock: the clock of all waits; the machine's by default.
        entropy: the source of ids; the operating system by default.
        settings: the deployment's; read from the environment by default.

    Attributes:
        catalog, clock, settings: as given, or the default.
        schedules: the stored schedules.
    """

    def __init__(
        self,
        catalog: Catalog[Any],
        storage: Storage,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        settings: Settings | None = None,
    ) -> None:
        check_parts(catalog=catalog, storage=storage, clock=clock, entropy=entropy, settings=settings)
        if settings is None:
            from zeke_queue.system.settings import Settings  # noqa: PLC0415 - not needed if settings are passed

            settings = Settings.load()
        self.catalog = catalog
        self.clock: Clock = clock or SystemClock()
        self.settings = settings
        self.schedules = Schedules(self._open)
        entropy = entropy or SystemEntropy()
        watcher = JobWatcher(storage, self.clock)
        self._ended = False
        self._parts = Parts(
            catalog=catalog,
            storage=storage,
            clock=self.clock,
            entropy=entropy,
            settings=settings,
            factory=JobFactory(catalog, self.clock, entropy),
            watcher=watcher,
            runs=self._run_source(),
        )

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        catalog: Catalog[Any],
        dsn: str | None = None,
        *,
        settings: Settings | None = None,
        beside: Queue | None = None,
    ) -> AsyncGenerator[Self]:
        """Open a queue on Postgres, and close it at the end of the block.

        Args:
            catalog: the tasks that may be sent.
            dsn: the database; DATABASE_PRIMARY_URL by default.
            settings: the deployment's; read from the environment by default.
            beside: another queue on the same database, opened by this method, which stays open longer. Both
                share its listening connection, and a job sent here wakes its workers at once.

        Raises:
            SettingsError: DATABASE_PRIMARY_URL is not set, or a variable can't be read.
            StorageUnavailableError: the database can't be reached.
            UnsupportedServerError: it is older than PostgreSQL 15.
            SchemaVersionError: the tables are missing, or of another version; the message says what to run.
        """
        # Imported here, since an application that only defines tasks needs neither driver nor settings.
        from zeke_queue.storage.postgres import PostgresStorage, migrate  # noqa: PLC0415
        from zeke_queue.system.settings import Settings  # noqa: PLC0415

        check_parts(catalog=catalog, settings=settings)
        settings = settings or Settings.load()
        if dsn is not None:
            settings = settings.on_database(dsn)
        url = settings.require_database()
        await migrate.check(url, settings.jobs_schema)
        async with PostgresStorage.open(
            url,
            schema=settings.jobs_schema,
            min_size=settings.jobs_pool_min,
            max_size=settings.jobs_pool_max,
            listen=settings.jobs_listen,
            prepare=settings.jobs_prepare,
            read_seconds=settings.jobs_read_timeout,
            beside=None if beside is None else cast("PostgresStorage", parts_of(beside).storage),
        ) as storage:
            queue = cls(catalog, storage, settings=settings)
            try:
                yield queue
            finally:
                await queue._end()

    @classmethod
    @asynccontextmanager
    async def in_memory(
        cls, catalog: Catalog[Any], *, clock: Clock | None = None, settings: Settings | None = None
    ) -> AsyncGenerator[Self]:
        """Open a queue in memory, for tests and first steps: its jobs are lost when the process ends.

        It behaves as on Postgres. Workers of this process can share it.

        Args:
            catalog: the tasks that may be sent.
            clock: the clock of queue and storage; the machine's by default.
            settings: the deployment's; read from the environment by default.
        """
        from zeke_queue.storage.memory import MemoryStorage  # noqa: PLC0415 - programs on Postgres do not need it

        check_parts(catalog=catalog, clock=clock, settings=settings)
        clock = clock or SystemClock()
        queue = cls(catalog, MemoryStorage(clock), clock=clock, settings=settings)
        try:
            yield queue
        finally:
            await queue._end()

    async def close(self) -> None:
        """Stop watching permanently; the storage stays open, and jobs can still be sent."""
        await self._parts.watcher.close()

    async def _end(self) -> None:
        self._ended = True
        await self.close()

    def _open(self) -> Parts:
        if self._ended:
            raise UsageError(
                "The queue was closed at the end of its block; use it inside, or open another one"
            )
        return self._parts

    def _run_source(self) -> RunSource:
        return QueueRuns(self._open)

    # Sending

    async def send_many(self, jobs: Iterable[Send]) -> list[Run[Any]]:
        """Send any number of jobs in one statement: all of them, or none if one is invalid.

        Args:
            jobs: made by ``Task.job``, or ``Send(name, payload)``.

        Returns:
            What ``send`` returns for each job, in the given order.

        Raises:
            UsageError: as for ``send``, for the first invalid job; no job is sent.
            JobConflictError: as for ``send``; ``sent`` has the runs of the other jobs, which are stored.
        """
        parts = self._outside("queue.send_many")
        prepared = parts.factory.prepare_all(jobs)
        return await insert_all(IntoStorage(parts), prepared) if prepared else []

    async def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> Run[Any]:
        parts = self._outside("queue.trigger" if insist else "queue.send")
        prepared = parts.factory.prepare(task, payload, options)
        return await insert_one(IntoStorage(parts), prepared, insist=insist)

    def _outside(self, call: str) -> Parts:
        parts = self._open()
        open_transactions.check_outside(parts.storage, call)
        return parts

    @asynccontextmanager
    async def transaction(
        self,
        connection: AsyncJoinable | None = None,
        *,
        parent: UUID | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Transaction]:
        """Open a transaction that writes jobs and the application's own rows together, or not at all.

        Inside the block, send through the transaction: the queue uses another connection, which may fail
        because of locks of this one, so its ``send`` raises ``UsageError`` there.

        Args:
            connection: a psycopg connection, or a connection or session of SQLAlchemy, whose transaction is
                joined; the caller commits it. By default a connection of the queue, which commits at the end
                of the block.
            parent: the parent of jobs sent without one.
            meta: the meta of jobs sent without one.

        Raises:
            UsageError: without ``connection``, a transaction of the same storage is open already.
        """
        # A second connection may wait for the first one's locks; the caller's own connection can't.
        parts = self._outside("queue.transaction") if connection is None else self._open()
        check_uuid("parent", parent)
        text = None if meta is None else parts.factory.meta(meta)
        async with parts.storage.transaction(connection) as transaction:
            opened = QueueTransaction(parts, transaction, parent, text)
            with open_transactions.inside(parts.storage):
                try:
                    yield opened
                finally:
                    opened.end()

    @asynccontextmanager
    async def outside_transaction(self) -> AsyncGenerator[None]:
        """Allow calls of the queue inside a transaction's block that are not part of the transaction.

        They use another connection, and take effect even if the transaction is rolled back.
        """
        with open_transactions.outside():
            yield

    # Reading

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job, live or archived; None if no job has this id."""
        return await self._open().runs.get(check_id(job_id))

    async def find(self, query: JobQuery) -> JobPage:
        """Return jobs that match a filter, newest first: by creation, then by id.

        The last job of a page is ``before`` for the next page.

        Raises:
            JobNotFoundError: ``before`` names no live or archived job.
        """
        return await self._open().storage.find(check_query(query))

    async def stats(self) -> list[QueueStats]:
        """Return the number of live jobs of each queue by state and its oldest due age, ordered by name."""
        return await self._open().storage.queue_stats()

    @overload
    async def get_run(self, job_id: UUID, task: Task[Any, R]) -> Run[R]: ...
    @overload
    async def get_run(self, job_id: UUID, task: None = None) -> Run[Any]: ...

    async def get_run(self, job_id: UUID, task: Task[Any, Any] | None = None) -> Run[Any]:
        """Return the run of a job that was sent earlier or elsewhere.

        Args:
            task: its task, which gives the run's result its type.

        Raises:
            JobNotFoundError: there is no such job.
            UsageError: the job belongs to another task.
        """
        parts = self._open()
        job = await require(parts.storage, job_id)
        if task is not None and task_of(job.name) not in (task.name, *task.aliases):
            raise UsageError(f"task: job {job_id} is one of {job.name!r}, not of {task.name!r}")
        return Run(parts.runs, job_id, job.name, task or parts.catalog.find(job.name))

    # Managing jobs

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job permanently, with the children it waits for; a running handler is asked to stop.

        Returns:
            False if it had ended already.

        Raises:
            JobNotFoundError: there is no such job.
        """
        return await self._open().runs.cancel(check_id(job_id))

    async def resume(self, job_id: UUID) -> bool:
        """Requeue a cancelled job, due at once.

        Returns:
            False if it is not cancelled, or is archived already.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: another job has its singleton key or its slot; ``holder`` is that job.
        """
        storage = self._outside("queue.resume").storage
        return await requeue(storage, job_id, storage.resume, JobStatus.CANCELLED)

    async def retry(self, job_id: UUID) -> bool:
        """Requeue a failed or expired job, due at once, with an extra retry if none was left.

        Returns:
            False if it did not fail, or is archived already.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: another job has its singleton key or its slot; ``holder`` is that job.
        """
        storage = self._outside("queue.retry").storage
        return await requeue(storage, job_id, storage.retry, JobStatus.FAILED)


class QueueRuns:
    """The source of a queue's runs."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job; see ``RunSource``."""
        return (await self._parts().storage.get([job_id])).get(job_id)

    async def ended(self, job_id: UUID, timeout: float | None) -> Job | None:
        """Return a job once it has ended; see ``RunSource``."""
        return await self._parts().watcher.ended(job_id, timeout)

    def watch(self, job_id: UUID) -> AsyncGenerator[Job | JobEvent]:
        """Yield a job at each change of its status, and its events between them; see ``RunSource``."""
        return self._parts().watcher.watch(job_id)

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job; see ``RunSource``."""
        storage = self._parts().storage
        open_transactions.check_outside(storage, "cancel")
        if await storage.cancel([job_id]):
            return True
        await require(storage, job_id)
        return False
