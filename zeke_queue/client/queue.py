"""The queue of an application: sends jobs, waits for them and manages them.

A send needs the storage only, not a worker or another service. Ids are made here, so a send whose answer was
lost is repeated under the same id and results in one job.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.client.job_admin import bring_back
from zeke_queue.client.transaction import QueueTransaction
from zeke_queue.core.validation import check_filter, check_uuid
from zeke_queue.errors import (
    JobConflictError,
    JobFailedError,
    ResultTimeoutError,
    StorageUnavailableError,
    UsageError,
)
from zeke_queue.model import CatchUp, JobState, Schedule
from zeke_queue.storage.inspect import check_id, require, require_schedule
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SystemEntropy
from zeke_queue.system.waiting import first
from zeke_queue.task.prepare import (
    Sender,
    catch_up_policy,
    check_parts,
    check_schedule_name,
    insert,
    insert_surely,
)
from zeke_queue.task.run import Run
from zeke_queue.watch.job_watcher import JobWatcher, check_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from typing import Self, Unpack
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent, JobQuery, NewJob, QueueCount
    from zeke_queue.storage import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.prepare import JobOptionsGiven, Prepared, Send, SendOptions
    from zeke_queue.task.task import Task

HOLDER_WAIT: Final = 1.0
"""Seconds for the lookup of the job that conflicts with a refused one. It takes a second connection, and
transactions that hold all connections would wait for each other."""

_CANCELLED: Final = frozenset({JobState.CANCELLED})
_FAILED: Final = frozenset({JobState.FAILED, JobState.EXPIRED})


class Queue:
    """The jobs of a catalog in a storage.

    Args:
        catalog: the tasks that may be sent.
        storage: where jobs are kept; the code that opened it also closes it.
        clock: the clock of all waits; the machine's by default.
        entropy: the source of ids; the operating system by default.
        settings: the deployment's; read from the environment by default.
    """

    def __init__(
        self,
        catalog: Catalog,
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
        self.entropy: Entropy = entropy or SystemEntropy()
        self.settings = settings
        self._storage = storage
        self._ended = False
        self.sender = Sender(catalog, self.clock, self.entropy)
        self._watchers = JobWatcher(storage, self.clock)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, catalog: Catalog, dsn: str | None = None, *, settings: Settings | None = None
    ) -> AsyncGenerator[Self]:
        """Open a queue on Postgres, and close it at the end of the block.

        Args:
            catalog: the tasks that may be sent.
            dsn: the database; DATABASE_PRIMARY_URL by default.
            settings: the deployment's; read from the environment by default.

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
        ) as storage:
            queue = cls(catalog, storage, settings=settings)
            try:
                yield queue
            finally:
                await queue._end()

    @classmethod
    @asynccontextmanager
    async def in_memory(
        cls, catalog: Catalog, *, clock: Clock | None = None, settings: Settings | None = None
    ) -> AsyncGenerator[Self]:
        """Open a queue in memory, for tests and first steps: its jobs are lost when the process ends.

        It behaves as on Postgres. Workers, supervisors and schedulers of this process can share it.

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
        """Stop watching for good; the storage stays open, and jobs can still be sent."""
        await self._watchers.close()

    @property
    def storage(self) -> Storage:
        """The storage that keeps the jobs.

        Raises:
            UsageError: the queue opened it for a block (``connect``, ``in_memory``), which has ended.
        """
        if self._ended:
            raise UsageError(
                "The queue was closed at the end of its block; use it inside, or open another one"
            )
        return self._storage

    async def _end(self) -> None:
        self._ended = True
        await self.close()

    # Sending

    async def send(
        self,
        task: str | Task[Any, Any],
        payload: Any = None,
        *,
        connection: Any = None,
        **options: Unpack[SendOptions],
    ) -> UUID | None:
        """Send a job.

        Args:
            task: a task of the catalog, or its name or alias.
            payload: an instance of the task's model, or input that validates as one.
            connection: a psycopg connection of the caller; the job becomes part of its transaction.
            **options: see ``SendOptions``; those not given come from the task, then from the catalog.

        Returns:
            The job's id; None if a uniqueness rule (singleton key, throttle, debounce) refused it.

        Raises:
            UnknownTaskError: the task is not in the catalog; the message suggests similar names.
            PayloadValidationError: the payload is invalid; ``fields`` says where.
            SerializationError: the payload is valid, but can't be stored as JSON.
            PayloadTooLargeError: the payload exceeds the catalog's cap.
            InvalidOptionError: an option is out of range, or excludes another.
            StorageUnavailableError: no answer to three tries within about a second (longer for a connection).
                The job may have been inserted: send again under the same ``id`` to be sure.
        """
        return (await self._put([self.sender.prepare(task, payload, options)], connection))[0]

    async def send_many(self, jobs: Iterable[Send], *, connection: Any = None) -> list[UUID | None]:
        """Send any number of jobs in one statement: all of them, or none if one can't be sent.

        Args:
            jobs: see ``Send``.
            connection: a psycopg connection of the caller; the jobs become part of its transaction.

        Returns:
            What ``send`` returns for each job, in the given order.

        Raises:
            UsageError: as for ``send``, for the first invalid job; no job is sent.
        """
        prepared = self.sender.prepare_all(jobs)
        return await self._put(prepared, connection) if prepared else []

    async def trigger(
        self,
        task: str | Task[Any, Any],
        payload: Any = None,
        *,
        connection: Any = None,
        **options: Unpack[SendOptions],
    ) -> Run:
        """Send a job and return its run, which can be awaited; arguments are those of ``send``.

        Raises:
            JobConflictError: a uniqueness rule refused it; ``holder`` is the conflicting job, if known.
        """
        prepared = self.sender.prepare(task, payload, options)
        return await self.run_of(prepared, (await self._put([prepared], connection))[0])

    @asynccontextmanager
    async def transaction(
        self,
        connection: Any = None,
        *,
        parent: UUID | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[QueueTransaction]:
        """Open a transaction that writes jobs and the application's own rows together, or not at all.

        Inside the block, send through the transaction: the queue, or a second transaction (they do not nest),
        uses another connection, and waits forever for a singleton key or a slot that this one has taken.

        Args:
            connection: a psycopg connection of the caller, whose transaction is joined; the caller commits
                it. By default one of the queue's own, which commits at the end of the block.
            parent: the parent of jobs sent without one.
            meta: the meta of jobs sent without one.
        """
        check_uuid("parent", parent)
        text = None if meta is None else self.sender.meta(meta)
        async with self.storage.transaction(connection) as transaction:
            opened = QueueTransaction(self, transaction, self.sender, parent, text)
            try:
                yield opened
            finally:
                opened.end()

    async def run_of(self, prepared: Prepared, job_id: UUID | None) -> Run:
        """Return the run of an inserted job; name the conflicting job if it was refused.

        Raises:
            JobConflictError: ``job_id`` is None.
        """
        job = prepared.job
        if job_id is not None:
            return Run(self, job_id, job.name)
        holder = await first(self._holder(job), self._impatience())
        what = f"key {job.singleton_key!r}" if job.singleton_key is not None else "slot"
        by = "another job" if holder is None else f"job {holder}"
        raise JobConflictError(f"Task {job.name!r} was not sent: its {what} is held by {by}", holder)

    async def _holder(self, job: NewJob) -> UUID | None:
        try:
            return await self.storage.holder(job)
        except StorageUnavailableError:
            return None  # the refusal is certain, and matters more than its holder

    async def _impatience(self) -> None:
        await self.clock.sleep(HOLDER_WAIT)

    async def run_schedule(self, name: str) -> Run:
        """Send the job of a schedule at once; its ticks do not change.

        Raises:
            ScheduleNotFoundError: there is no schedule of this name.
            JobConflictError: a uniqueness rule of its options refused it.
            UsageError: the schedule was edited outside this library, and is invalid.
        """
        schedule = await require_schedule(self.storage, check_schedule_name(name))
        prepared = self.sender.tick(schedule, self.sender.new_id())
        return await self.run_of(prepared, (await self._put([prepared], None))[0])

    async def _put(self, prepared: Sequence[Prepared], connection: Any) -> list[UUID | None]:
        if connection is not None:
            async with self.storage.transaction(connection) as transaction:
                return await insert(prepared, transaction.insert)
        return await insert(prepared, self._insert)

    async def _insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        return await insert_surely(jobs, self.storage.insert, self.clock)

    # Reading and waiting

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job, live or archived; None if there is none with this id."""
        return (await self.storage.get([check_id(job_id)])).get(job_id)

    async def find(self, which: JobQuery) -> list[Job]:
        """Return the jobs that match a filter, newest first: by creation, then by id.

        Raises:
            JobNotFoundError: ``before`` names no live or archived job.
        """
        return await self.storage.find(check_filter(which))

    async def count(self) -> list[QueueCount]:
        """Return the number of live jobs of each queue by state, ordered by name."""
        return await self.storage.count()

    async def run(self, job_id: UUID) -> Run:
        """Return the run of a job that was sent earlier or elsewhere.

        Raises:
            JobNotFoundError: there is no such job.
        """
        return Run(self, job_id, (await require(self.storage, job_id)).name)

    def watch(self, job_id: UUID) -> AsyncGenerator[Job | JobEvent]:
        """Yield the job now and at each change of its status, and its progress and log lines between them.

        Stored events follow the first status; the final one comes last. Brief statuses may be skipped.

        Raises:
            JobNotFoundError: there is no such job, or it was deleted while being watched.
            StorageUnavailableError: an outage of a minute, or the queue was closed.
        """
        return self.watchers.watch(check_id(job_id))

    async def result(self, job_id: UUID, timeout: float | None = None) -> Any:
        """Wait for a job to end and return its output.

        Args:
            job_id: the job.
            timeout: seconds to wait at most; 0 or less checks once, None waits forever.

        Raises:
            JobFailedError: it failed; a JobCancelledError or JobExpiredError if so. ``job`` is its end state.
            ResultTimeoutError: it did not end in time, and continues.
            JobNotFoundError: there is no such job.
            InvalidOptionError: the timeout is not a number.
        """
        seconds = check_timeout(timeout)
        job = await self.watchers.ended(check_id(job_id), seconds)
        if job is None:
            raise ResultTimeoutError(f"Job {job_id} has not ended after {seconds:g} s; it goes on")
        if job.state is not JobState.COMPLETED:
            raise JobFailedError.of(job)
        return job.output

    @property
    def watchers(self) -> JobWatcher:
        """The job watcher of this queue, whose subscriptions share one path to the storage."""
        _ = self.storage  # raises after the end of the queue's block
        return self._watchers

    # Managing jobs

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job for good, with the children it waits for; a running handler is asked to stop.

        Returns:
            False if it had ended already.

        Raises:
            JobNotFoundError: there is no such job.
        """
        if await self.storage.cancel([check_id(job_id)]):
            return True
        await require(self.storage, job_id)
        return False

    async def resume(self, job_id: UUID) -> bool:
        """Requeue a cancelled job, due at once.

        Returns:
            False if it is not cancelled, or is archived already.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: another job has its singleton key or its slot; ``holder`` is that job.
        """
        return await bring_back(self.storage, job_id, self.storage.resume, _CANCELLED)

    async def retry(self, job_id: UUID) -> bool:
        """Requeue a failed or expired job, due at once, with an extra retry if none was left.

        Returns:
            False if it did not fail, or is archived already.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: another job has its singleton key or its slot; ``holder`` is that job.
        """
        return await bring_back(self.storage, job_id, self.storage.retry, _FAILED)

    # Schedules and queues

    async def schedule(
        self,
        name: str,
        cron: str,
        *,
        task: str | Task[Any, Any] | None = None,
        payload: Any = None,
        zone: str | None = None,
        catch_up: CatchUp | str = CatchUp.ONCE,
        description: str | None = None,
        external: bool = False,
        paused: bool = False,
        **options: Unpack[JobOptionsGiven],
    ) -> None:
        """Create or edit a schedule at run time; a changed cron or zone takes effect from now.

        Args:
            name: the unique name of the schedule.
            cron: five fields, or six of which the last is seconds.
            task: the task to send at each tick; the task of the schedule's name by default.
            payload: the payload of each job.
            zone: the IANA zone of the fields; JOBS_CRON_TZ by default.
            catch_up: what happens to ticks missed while no scheduler ran: ``skip``, ``once`` or ``all``.
            description: one line for people.
            external: whether the task is defined in another process.
            paused: whether the schedule is stored without serving ticks for now.
            **options: options of its jobs. A tick refused by a singleton key is not repeated.

        Raises:
            InvalidScheduleError: the expression is invalid or never fires, or the zone is unknown.
            InvalidNameError: the name is invalid.
            UsageError: as for ``send``: unknown task, invalid payload, option out of range.
        """
        await self.storage.put_schedule(
            self.sender.schedule(
                Schedule(
                    name=name,
                    cron=cron,
                    task=name,
                    zone=zone or self.settings.jobs_cron_tz,
                    catch_up=catch_up_policy(catch_up),
                    description=description,
                    paused=paused,
                ),
                task,
                payload,
                options,
                external=external,
            )
        )

    async def unschedule(self, name: str) -> bool:
        """Delete a schedule; False if there was none.

        A schedule declared in code returns when the next worker starts; to silence it, store it with
        ``paused``.
        """
        return await self.storage.delete_schedule(check_schedule_name(name))

    async def schedules(self) -> list[Schedule]:
        """Return all schedules, by name."""
        return await self.storage.schedules()

    async def declare(self) -> None:
        """Store the catalog's queues and schedules; workers and schedulers do so when they start.

        Jobs sent by this library go to the task's own queue; an alias's queue holds jobs that other programs
        send under that name. Limits apply per queue, so a task's is divided: one to each alias, the rest to
        its own queue. A schedule no longer declared stays until ``unschedule``: another program may own it.

        Raises:
            InvalidOptionError: a task's limit does not exceed its number of aliases.
            UsageError: a schedule's task is unknown, or its payload is invalid.
        """
        schedules = self.catalog.stored_schedules(self.settings.jobs_cron_tz)
        await self.storage.declare_queues(self.catalog.stored_queues())
        if schedules:
            await self.storage.declare_schedules(schedules)
