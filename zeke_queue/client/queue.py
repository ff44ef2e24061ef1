"""What an application holds: sending jobs, waiting for them, and looking after them.

A send needs the storage and nothing else: no worker, no other service. Ids are made here, so a send whose
answer was lost is repeated under the same id, and is one job all the same.
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
from zeke_queue.watch.job_watcher import Watchers, check_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from typing import Self, Unpack
    from uuid import UUID

    from zeke_queue.model import Job, JobFilter, NewJob, QueueCount
    from zeke_queue.storage.store import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.prepare import JobOptionsGiven, Prepared, Send, SendOptions
    from zeke_queue.task.task import Task

HOLDER_WAIT: Final = 1.0
"""Seconds for which the job in the way of a refused one is looked for.

It is asked for on a second connection, and transactions that held all of them would wait for each other.
"""

_CANCELLED: Final = frozenset({JobState.CANCELLED})
_FAILED: Final = frozenset({JobState.FAILED, JobState.EXPIRED})


class Queue:
    """Jobs of a catalog on a storage.

    Args:
        catalog: the tasks that may be sent.
        storage: where jobs are kept; whoever opened it closes it.
        clock: what waits go by; the machine's by default.
        entropy: what ids are drawn from; the operating system by default.
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
            from zeke_queue.system.settings import Settings  # noqa: PLC0415 - not needed by those who bring their own

            settings = Settings.load()
        self.catalog = catalog
        self.clock: Clock = clock or SystemClock()
        self.entropy: Entropy = entropy or SystemEntropy()
        self.settings = settings
        self._storage = storage
        self._ended = False
        self.sender = Sender(catalog, self.clock, self.entropy)
        self._watchers = Watchers(storage, self.clock)

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
        # The driver and the settings' reader load here: an application that only defines tasks needs neither.
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
        """Open a queue in memory: for tests and first steps, since its jobs are gone with the process.

        It answers as Postgres does. Workers, supervisors and schedulers of this process can share it.

        Args:
            catalog: the tasks that may be sent.
            clock: what everything goes by; the machine's by default.
            settings: the deployment's; read from the environment by default.
        """
        from zeke_queue.storage.memory import MemoryStorage  # noqa: PLC0415 - a program on Postgres never needs it

        check_parts(catalog=catalog, clock=clock, settings=settings)
        clock = clock or SystemClock()
        queue = cls(catalog, MemoryStorage(clock), clock=clock, settings=settings)
        try:
            yield queue
        finally:
            await queue._end()

    async def close(self) -> None:
        """Stop watching, for good; the storage stays open, and jobs can still be sent."""
        await self._watchers.close()

    @property
    def storage(self) -> Storage:
        """Where jobs are kept.

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
            task: a task of the catalog, by its name, an alias, or itself (what ``@catalog.task`` made).
            payload: what fits the task's model: an instance of it, or what can become one.
            connection: a psycopg connection of the caller's, whose transaction the job becomes part of.
            **options: see ``SendOptions``; what they leave out the task decides, then the catalog.

        Returns:
            The job's id; None if a uniqueness rule (singleton key, throttle, debounce) refused it.

        Raises:
            UnknownTaskError: the task is not in the catalog; the message has the names that come nearest.
            PayloadValidationError: the payload does not fit; ``fields`` says where.
            SerializationError: it fits, but can't be kept as JSON.
            PayloadTooLargeError: it is over the catalog's cap.
            InvalidOptionError: an option is out of its range, or excludes another.
            StorageUnavailableError: three tries within about a second had no answer (a connection is waited
                for a
                while longer). The job may have been inserted: send again under the same ``id`` to be sure.
        """
        return (await self._put([self.sender.prepare(task, payload, options)], connection))[0]

    async def send_many(self, jobs: Iterable[Send], *, connection: Any = None) -> list[UUID | None]:
        """Send any number of jobs by one statement: all of them, or none if one can't be sent.

        Args:
            jobs: see ``Send``.
            connection: a psycopg connection of the caller's, whose transaction the jobs become part of.

        Returns:
            For each job, in the order given, what ``send`` returns.

        Raises:
            UsageError: as ``send``, for the first job that is wrong; then none is sent.
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
        """Send a job and return its run, to be waited for; arguments are those of ``send``.

        Raises:
            JobConflictError: a uniqueness rule refused it; ``holder`` is the job in the way, if it could be
                told.
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
        """Open a transaction: jobs and the application's own rows are written together, or not at all.

        Inside the block send through the transaction. Transactions don't nest: one that is opened inside
        another is a second one, on a connection of its own, and waits for ever for a singleton key or a slot
        that the outer one has taken; so does a send of the queue.

        Args:
            connection: a psycopg connection of the caller's, whose transaction is joined and stays the
                caller's to commit; by default one of the queue's own, which commits at the end of the block.
            parent: the parent of jobs that name none.
            meta: the meta of jobs that give none.
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
        """Return the run of a job that was inserted, or say whose slot it did not get.

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
            return None  # that it was refused is certain, and worth more than by whom

    async def _impatience(self) -> None:
        await self.clock.sleep(HOLDER_WAIT)

    async def run_schedule(self, name: str) -> Run:
        """Send the job of a schedule's tick at once; its ticks stay as they are.

        Raises:
            ScheduleNotFoundError: there is none of this name.
            JobConflictError: a uniqueness rule of its options refused it.
            UsageError: it was edited by other means, and is wrong.
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

    # Looking and waiting

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job, live or archived; None if there is none of this id."""
        return (await self.storage.get([check_id(job_id)])).get(job_id)

    async def find(self, which: JobFilter) -> list[Job]:
        """Return jobs by filter, newest first: by creation, and those of one moment by id.

        Raises:
            JobNotFoundError: ``before`` is no job, live or archived (any more).
        """
        return await self.storage.find(check_filter(which))

    async def count(self) -> list[QueueCount]:
        """Return how many live jobs each queue has by state, ordered by name."""
        return await self.storage.count()

    async def run(self, job_id: UUID) -> Run:
        """Return the run of a job that was sent earlier, or elsewhere.

        Raises:
            JobNotFoundError: there is no such job.
        """
        return Run(self, job_id, (await require(self.storage, job_id)).name)

    def watch(self, job_id: UUID) -> AsyncGenerator[Job]:
        """Yield the job as it is, then at each change of its status, once each; end after a final one.

        Statuses come in the order of the job's life. One that lasted a moment only may be passed over.

        Raises:
            JobNotFoundError: there is no such job, or it was deleted while it was watched.
            StorageUnavailableError: the database has been away for a minute (shorter outages are waited
                out), or
                the queue was closed.
        """
        return self.watchers.watch(check_id(job_id))

    async def result(self, job_id: UUID, timeout: float | None = None) -> Any:
        """Wait for a job's end and return its output.

        Args:
            job_id: the job.
            timeout: seconds to wait at most; 0 or less asks once, None waits for ever.

        Raises:
            JobFailedError: it failed; ``job`` is the job as it ended. Of one that was cancelled or expired it
                is a JobCancelledError or JobExpiredError.
            ResultTimeoutError: it did not end in time; it goes on.
            JobNotFoundError: there is no such job.
            InvalidOptionError: the timeout is no number.
        """
        seconds = check_timeout(timeout)
        job = await self.watchers.ended(check_id(job_id), seconds)
        if job is None:
            raise ResultTimeoutError(f"Job {job_id} has not ended after {seconds:g} s; it goes on")
        if job.state is not JobState.COMPLETED:
            raise JobFailedError.of(job)
        return job.output

    @property
    def watchers(self) -> Watchers:
        """All who wait for jobs through this queue, which share one path to the storage."""
        _ = self.storage  # which refuses what comes after the queue's block
        return self._watchers

    # Looking after jobs

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job at once and for good, with the children it waits for; one that runs is told to stop.

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
        """Put a cancelled job back into its queue, due at once.

        Returns:
            False if it is not cancelled, or archived already.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: another job has its singleton key or its slot; ``holder`` is that job.
        """
        return await bring_back(self.storage, job_id, self.storage.resume, _CANCELLED)

    async def retry(self, job_id: UUID) -> bool:
        """Run a failed or expired job again, at once, with a retry more than it had if none was left.

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
        """Create or edit a schedule at run time; a change of cron or zone starts anew from now.

        Args:
            name: one schedule a name.
            cron: five fields, or six of which the last is seconds.
            task: what is sent at each tick; the task of the schedule's name by default.
            payload: what it is sent with.
            zone: the IANA zone in which the fields are read; JOBS_CRON_TZ by default.
            catch_up: what becomes of ticks while no scheduler ran: ``skip``, ``once`` or ``all``.
            description: one line for people.
            external: the task is another process's.
            paused: whether it serves no ticks for the time being.
            **options: of its jobs. A tick that a singleton key refuses is not made up for.

        Raises:
            InvalidScheduleError: the expression can't be read or never fires, or the zone is unknown.
            InvalidNameError: the name is not one.
            UsageError: as ``send``: an unknown task, a payload that does not fit, an option out of range.
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

        One that code declares is back when the next worker starts; to silence it, store it with ``paused``.
        """
        return await self.storage.drop_schedule(check_schedule_name(name))

    async def schedules(self) -> list[Schedule]:
        """Return all schedules, by name."""
        return await self.storage.schedules()

    async def declare(self) -> None:
        """Store what the catalog says of queues and schedules; workers and schedulers do so as they start.

        What this library sends goes to a task's own queue; the queue of an alias has what other programs send
        under that name. A limit is one queue's, so a task's is shared out: each alias gets one of it, the own
        queue the rest. A schedule that code does not declare any more stays until ``unschedule``: it may be
        another program's.

        Raises:
            InvalidOptionError: a task has no more of a limit than aliases.
            UsageError: a schedule's task is unknown, or its payload does not fit.
        """
        schedules = self.catalog.stored_schedules(self.settings.jobs_cron_tz)
        await self.storage.declare_queues(self.catalog.stored_queues())
        if schedules:
            await self.storage.declare_schedules(schedules)
