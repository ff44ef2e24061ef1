"""The Postgres storage: the verbs outside transactions, on top of the other modules."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg.errors import UniqueViolation

from zeke_queue.core import event_limits
from zeke_queue.core.names import PRIVATE_PREFIX, schema_name
from zeke_queue.core.timeouts import READ_SECONDS
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import LockTimeoutError
from zeke_queue.model import Settled, Suspensions
from zeke_queue.storage.maintenance import MovedJobs
from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.access import PostgresAccess
from zeke_queue.storage.postgres.admin import PostgresAdmin
from zeke_queue.storage.postgres.claims import Claims, Wanted
from zeke_queue.storage.postgres.connection_pool import ConnectionPool
from zeke_queue.storage.postgres.error_mapping import no_driver_errors, value_errors_only
from zeke_queue.storage.postgres.heartbeat_connection import HeartbeatConnection
from zeke_queue.storage.postgres.listener import Listener
from zeke_queue.storage.postgres.overview import PostgresOverview
from zeke_queue.storage.postgres.reader import PostgresReader
from zeke_queue.storage.postgres.retention import PostgresRetention
from zeke_queue.storage.postgres.transaction import transaction
from zeke_queue.storage.postgres.verbs import PostgresVerbs, job_channel
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SystemEntropy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from zeke_queue.model import (
        ClaimedJobs,
        Completed,
        Failed,
        JobEvent,
        NewJob,
        QueueCapacity,
        Released,
        Waiting,
        WorkerInfo,
    )
    from zeke_queue.storage.postgres.transaction import PostgresTransaction
    from zeke_queue.system.clock import Clock


MOVES_TRIED: Final = 3
"""Times that jobs are moved while others take their keys in the new queue."""

_BEFORE_ALL: Final = UUID(int=0)


class PostgresStorage(PostgresVerbs, PostgresRetention, PostgresReader, PostgresOverview, PostgresAdmin):
    """``storage.Storage`` on Postgres; made by ``open``."""

    def __init__(
        self, pool: ConnectionPool, listener: Listener, clock: Clock, read_seconds: float = READ_SECONDS
    ) -> None:
        self._pool = pool
        self.read_seconds = read_seconds
        self._listener = listener
        self._clock = clock
        # Marks expire in real time, so with a test's time each claim starts at the head of its queues.
        self._claims = Claims(pool, clock, listener.notifier.queue, marking=pool.now is None)
        self.access: Final = PostgresAccess(pool)
        self._identities = Ids(clock, SystemEntropy())
        self._swept_to = _BEFORE_ALL
        self._batch_sizes = {}
        self._skipped = {}
        super().__init__(pool)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        *,
        schema: str = "pgboss",
        min_size: int = 1,
        max_size: int = 10,
        listen: bool = True,
        prepare: bool = True,
        read_seconds: float = READ_SECONDS,
        now: Callable[[], datetime] | None = None,
        beside: PostgresStorage | None = None,
    ) -> AsyncGenerator[PostgresStorage]:
        """Connect to a database whose tables are up to date (``migrate.check`` verifies that).

        Args:
            dsn: the database, as a URL or as libpq's pairs.
            min_size: connections that are kept open.
            max_size: maximum connections; listening takes an additional one.
            listen: receive notifications by LISTEN; False to poll instead, behind a pooler in transaction
                mode.
            prepare: use prepared statements, and settings sent with the connection; False behind a pooler
                that tracks neither.
            read_seconds: how long a search, a count by time, or the figures of queues may take.
            now: the time by which statements decide, in tests; None for the server's.
            beside: another storage on the same database, which stays open longer. Both share its
                notifications, so that a job sent here wakes its workers at once, also without LISTEN.

        Raises:
            StorageUnavailableError: the database can't be reached.
            UnsupportedServerError: the server is older than PostgreSQL 15.
        """
        schema, clock = schema_name(schema), SystemClock()
        opening = ConnectionPool.open(
            dsn, schema=schema, min_size=min_size, max_size=max_size, prepare=prepare, now=now
        )
        async with opening as pool:
            own = Listener(pool.conninfo, schema, clock, enabled=listen)
            listener = own if beside is None else beside._listener  # noqa: SLF001 - of this class
            storage = cls(pool, listener, clock, read_seconds)
            try:
                yield storage
            finally:
                storage._claims.close()
                await own.stop()

    async def close(self) -> None:
        """Close the connections."""
        self._claims.close()
        await self._listener.stop()
        await self._pool.close()

    def transaction(
        self, connection: Any = None, *, own: bool = False
    ) -> AbstractAsyncContextManager[PostgresTransaction]:
        """Open a transaction, or join the caller's on ``connection``, a psycopg AsyncConnection."""
        return transaction(self._pool, connection, self._claims.forget_marks, own=own)

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs, and wake idle workers of their queues."""
        if any(job.start_at is not None for job in jobs):
            self._claims.forget_marks()
        inserted = await super().insert(jobs)
        if not self._listener.enabled:
            # Workers of this process need not wait for their next poll.
            for name in {job.name for job in jobs}:
                self._listener.notifier.queue(name)
        return inserted

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        repeated: bool = False,
    ) -> set[UUID]:
        """Write outcomes of active jobs, and notify watchers."""
        with value_errors_only():
            return await super().settle(completed, failed, released, repeated=repeated)

    async def settle_unlocked(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        repeated: bool = False,
    ) -> Settled:
        """Write outcomes of the active jobs that no other transaction has locked, and notify watchers."""
        outcomes = rows.Outcomes(completed, failed, released)
        if not outcomes.rows:
            return Settled(set(), set())
        with value_errors_only():
            return await self._in_transaction(lambda verbs: verbs.settle_free(outcomes, repeated=repeated))

    async def claim(
        self, worker: UUID, capacity: Sequence[QueueCapacity], limit: int, bytes_max: int | None = None
    ) -> ClaimedJobs:
        """Lease due jobs of several queues at once, in claim order."""
        with no_driver_errors():
            return await self._claims.claim(Wanted(worker, capacity, check_limit(limit), bytes_max))

    async def insert_child(self, child: NewJob, attempt: int) -> UUID | None:
        """Insert a job that its parent waits for."""
        return await self._in_transaction(lambda verbs: verbs.insert_awaited(child, attempt))

    async def suspend(
        self, waiting: Sequence[Waiting], *, repeated: bool = False, skip_locked: bool = False
    ) -> Suspensions:
        """Suspend active jobs until others have ended, each in its own transaction."""
        done = Suspensions(set(), {})
        locked: set[UUID] = set()
        for one in sorted(waiting):
            tried = len(locked) if skip_locked else None
            suspend = partial(PostgresVerbs.suspend_one, waiting=one, tried=tried)
            try:
                with value_errors_only():
                    single = await self._in_transaction(suspend)
            except LockTimeoutError:
                if not skip_locked:
                    raise
                locked.add(one.id)
            else:
                done.changed.update(single.changed)
                done.refused.update(single.refused)
        known = {*done.changed, *done.refused, *locked}
        rest = [one for one in waiting if one.id not in known]
        if repeated and rest:
            asked = rows.Outcomes(waiting=rest).parameters()
            done.changed.update(row[0] for row in await self._pool.run("settled_before", asked))
        return done._replace(locked=frozenset(locked))

    async def resume_waiting(self, limit: int) -> int:
        """Resume jobs whose child has ended and that were not notified."""
        parameters = self._channels | {"after": self._swept_to}
        found = await self._pool.run("resume_waiting", parameters, limit=check_limit(limit))
        resumed, reached, _ = found[0]
        if resumed < limit:
            self._swept_to = reached or _BEFORE_ALL
        return resumed

    async def delete_jobs(self, ids: Sequence[UUID]) -> set[UUID]:
        """Delete those of these jobs that have ended, with their events."""
        with no_driver_errors():
            return {row[0] for row in await self._pool.run("delete_jobs", {"ids": list(ids)})}

    async def private_queues(self) -> set[str]:
        """Return the private queues with jobs that have not ended."""
        beyond = PRIVATE_PREFIX[:-1] + chr(ord(PRIVATE_PREFIX[-1]) + 1)
        found = await self._pool.run("private_queues", {"first": PRIVATE_PREFIX, "beyond": beyond})
        return {row[0] for row in found}

    async def move_jobs(self, queues: Mapping[str, str], ended_since: datetime) -> MovedJobs:
        """Move the jobs of some queues to others, except those whose key or slot another job has there."""
        given = {"names": list(queues), "targets": list(queues.values()), "ended_since": ended_since}
        given |= self._channel()
        found: list[tuple[Any, ...]] = []
        for left in reversed(range(MOVES_TRIED)):
            # Another job may have taken a key since the statement began.
            with suppress(UniqueViolation) if left else no_driver_errors():
                found = await self._pool.run("move_jobs", given)
                break
        return MovedJobs(found[0][1], [row[0] for row in found[1:]])

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Record that a worker is alive; return the attempt of each active job it holds."""
        with no_driver_errors():
            return dict(await self._pool.run("heartbeat", rows.of_worker(worker)))

    def heartbeat_connection(self) -> HeartbeatConnection | None:
        """Return a connection outside the pool; none with a test's time, which belongs to its loop."""
        pool = self._pool
        return HeartbeatConnection(pool.session, pool.schema) if pool.now is None else None

    async def deregister(self, worker: UUID) -> None:
        """Deregister a worker; jobs it still holds are overdue at once."""
        with no_driver_errors():
            await self._pool.run("deregister", {"worker": worker})

    async def resume(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put cancelled jobs back to created, due at once."""
        return await self._in_transaction(lambda verbs: verbs.resume_families(ids)) if ids else set()

    async def retry(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put failed or expired jobs back to retry, due at once."""
        return await self._bring_back(ids, "retry", "failed", "expired")

    async def set_idle(self, worker: UUID, queues: Sequence[str] | None) -> None:
        """Record whether the worker sleeps; notifications are received from then on."""
        if queues is not None:
            await self._listener.ready()
        with no_driver_errors():
            await self._pool.run("set_idle", {"worker": worker, "asleep": queues is not None})

    async def wait_for_jobs(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until one of the queues may have work, at most ``timeout`` seconds."""
        return await self._listener.wait(queues, timeout)

    async def append_events(self, events: Sequence[JobEvent]) -> None:
        """Store progress and log lines, and notify watchers."""
        if events:
            channel = {"job_channel": job_channel(self._pool.schema)}
            with value_errors_only():
                if late := event_limits.no_longer_kept(events):
                    await self._pool.run("trim_events", rows.of_late(late))
                await self._pool.run("append_events", rows.of_events(events) | channel)

    async def _in_transaction(self, work: Callable[[PostgresVerbs], Awaitable[Any]]) -> Any:
        """Run a function in a transaction, which is repeated if the server rolls it back."""
        return await self._pool.atomically(lambda opened: work(PostgresVerbs(opened)))
