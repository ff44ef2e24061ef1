"""The job watcher: reports each change of a watched job's status, its progress and its log lines.

All jobs watched through one storage share one path to it: one watch, which the storage notifies of changes
where it can, and one query at a time for all jobs that may have changed. Jobs are also polled, so a lost
notification delays updates but loses none; polls due at about the same time share one query. So a thousand
open pages cost the database little.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import JobNotFoundError, StorageUnavailableError
from zeke_queue.model import FINAL
from zeke_queue.storage.inspect import require
from zeke_queue.system.waiting import RateBudget, Waiter, end, first, start_detached
from zeke_queue.watch.batched_reader import BatchedReader
from zeke_queue.watch.subscription import OUTAGE_TIMEOUT, POLL_INTERVALS, Subscription, WatchedJob, was_closed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent
    from zeke_queue.storage.inspect import ChangeFeed, Inspector
    from zeke_queue.system.clock import Clock

RETRY_INTERVAL: Final = 1.0
"""Seconds after which a reader asks again for events that the storage did not return."""

MAX_POLLED: Final = 500
"""Jobs without a notification per query at most; reading many rows delays everything else."""

READS_PER_SECOND: Final = 25.0
"""Queries per second in the long run, for any number of changing jobs; other reads wait and share one."""

READ_BURST: Final = 50.0
"""Queries that may exceed that rate after an idle time."""


class JobWatcher:
    """Watches jobs of one storage for all subscriptions."""

    def __init__(self, reader: Inspector, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._batched = BatchedReader(reader)
        self._budget = RateBudget(clock, READS_PER_SECOND, READ_BURST)
        self._watched: dict[UUID, WatchedJob] = {}
        self._fresh: dict[UUID, None] = {}
        self._gone: dict[UUID, None] = {}
        self._requested: list[WatchedJob] = []
        self._watch: ChangeFeed | None = None
        self._rest = Waiter()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # For callers

    async def watch(self, job_id: UUID) -> AsyncGenerator[Job | JobEvent]:
        """Yield the updates of a job one by one; see ``batches``."""
        async with aclosing(self.batches(job_id)) as batches:
            async for batch in batches:
                for news in batch:
                    yield news

    async def batches(self, job_id: UUID, *, after: int = 0) -> AsyncGenerator[Sequence[Job | JobEvent]]:
        """Yield the updates of a job as ``Subscription.take`` returns them; end after the final status.

        Args:
            after: the ``seq`` of the last event that the caller knows.

        Raises:
            JobNotFoundError: there is no such job, or it was deleted.
            StorageUnavailableError: the storage has been unavailable for a minute, or the queue was closed.
        """
        woken = asyncio.Event()
        subscription = self.subscribe(job_id, woken.set, after=after)
        try:
            while not subscription.ended:
                woken.clear()
                if news := await subscription.take():
                    yield news
                elif subscription.stalled:
                    await self._clock.sleep(RETRY_INTERVAL)
                else:
                    await woken.wait()
        finally:
            subscription.close()

    def subscribe(
        self, job_id: UUID, wake: Callable[[], None], *, after: int = 0, known: Job | None = None
    ) -> Subscription:
        """Subscribe to a job; the caller takes updates when it is ready for them, and must close it.

        Args:
            wake: called when there is something to take; must only wake the caller.
            after: the ``seq`` of the last event that the caller knows.
            known: a recent state of the job from ``get``, if available.

        Raises:
            StorageUnavailableError: the queue was closed.
        """
        if self._closed:
            raise was_closed(job_id)
        watched = self._watched.get(job_id)
        if known is not None and known.row_state in FINAL:
            watched = WatchedJob()  # on its own, since no further updates will come
        elif watched is None:
            watched = self._watched[job_id] = WatchedJob()
            self._fresh[job_id] = None
            self._wake()
        if known is not None and watched.is_news(known):
            watched.notify(is_news=True)
        leave = partial(self._leave, job_id, watched)
        subscription = Subscription(job_id, self._batched, self._clock, wake, leave, after)
        watched.subscriptions[subscription] = None
        if watched.latest is not None:
            subscription.notify(watched.latest, is_news=True)
        return subscription

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job, or None if no job has this id; concurrent calls share one query.

        Raises:
            StorageUnavailableError: the storage is unavailable.
        """
        return await self._batched.job(job_id)

    async def ended(self, job_id: UUID, timeout: float | None) -> Job | None:
        """Wait until a job has ended; return it, or None if it did not end in time.

        Args:
            timeout: seconds to wait at most; 0 checks once, None waits forever.

        Raises:
            JobNotFoundError, StorageUnavailableError: as for ``batches``.
        """
        if timeout is None:
            return await self._end(job_id)
        if timeout <= 0:
            job = await require(self._reader, job_id)
            return job if job.row_state in FINAL else None
        # The timeout runs concurrently with the wait, so that it also takes effect while the storage hangs.
        return await first(self._end(job_id), self._clock.sleep(timeout))

    async def _end(self, job_id: UUID) -> Job | None:
        woken = asyncio.Event()
        subscription = self.subscribe(job_id, woken.set)
        try:
            while True:
                woken.clear()
                job = subscription.take_status()
                if subscription.ended:
                    return job
                await woken.wait()
        finally:
            subscription.close()

    async def close(self) -> None:
        """Stop watching; present and later subscribers get an error."""
        self._closed = True
        watched, self._watched = self._watched, {}
        await self._batched.close()
        await end(*self._tasks)
        for job_id, one in watched.items():
            one.fail(was_closed(job_id))

    # The watch loop, shared by all subscribers

    def _leave(self, job_id: UUID, watched: WatchedJob, subscription: Subscription) -> None:
        watched.subscriptions.pop(subscription, None)
        if not watched.subscriptions:
            self._forget(job_id, watched)

    def _forget(self, job_id: UUID, watched: WatchedJob) -> None:
        """Drop the cached state of a job, so that a new subscriber reads it again."""
        if self._watched.get(job_id) is watched:
            del self._watched[job_id]
            self._gone[job_id] = None
            if not self._watched:
                self._rest.notify()
                self._wake()

    def _wake(self) -> None:
        """Wake the watch loop, starting it if needed."""
        if self._watch is not None:
            self._watch.wake()
        if self._task is None:
            self._task = start_detached(self._run())
            self._tasks.add(self._task)
            self._task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        """Watch as long as there are subscribers, through outages of the storage."""
        while self._watched:
            self._requested = list(self._watched.values())
            try:
                async with self._reader.subscribe() as watch:
                    self._watch = watch
                    await self._serve(watch)
                    # Closing the watch takes a while; meanwhile a new subscriber starts another loop.
                    self._watch = self._task = None
            except Exception as error:  # noqa: BLE001 - it is raised again in every waiting task
                if self._task is not asyncio.current_task():
                    return
                self._watch = None
                if isinstance(error, StorageUnavailableError):
                    await self._wait_for_storage(error)
                else:
                    self._fail_subscribers(error, list(self._watched))
            else:
                return
        self._watch = self._task = None

    async def _wait_for_storage(self, error: StorageUnavailableError) -> None:
        """Wait a moment for the storage to return; fail subscribers that have waited for too long."""
        now = self._clock.monotonic()
        for watched in self._requested:
            watched.away_since = min(now, watched.away_since)
        overdue = [i for i, one in self._watched.items() if now - one.away_since >= OUTAGE_TIMEOUT]
        self._fail_subscribers(error, overdue)
        if self._watched:
            self._rest.clear()
            interval = POLL_INTERVALS[min(self._failures, len(POLL_INTERVALS) - 1)]
            await self._rest.wait_for(interval, self._clock)
            self._failures += 1

    def _fail_subscribers(self, error: Exception, ids: Iterable[UUID]) -> None:
        for job_id in ids:
            watched = self._watched[job_id]
            watched.fail(error)
            self._forget(job_id, watched)

    async def _serve(self, watch: ChangeFeed) -> None:
        """Read jobs that may have changed, until there are no subscribers."""
        self._fresh, self._gone = dict.fromkeys(self._watched), {}
        notified: list[UUID] = []
        while True:
            if self._gone:
                gone, self._gone = self._gone, {}
                await watch.discard(list(gone))
            if not self._watched:
                return
            fresh, self._fresh = self._fresh, {}
            ids = dict.fromkeys([*fresh, *notified, *self._due(along=bool(fresh or notified))])
            watched = {job_id: self._watched[job_id] for job_id in ids if job_id in self._watched}
            if fresh:
                self._requested = [self._watched[job_id] for job_id in fresh if job_id in self._watched]
                await watch.add(list(fresh))
            if watched:
                await self._read(watched)
            self._requested = []
            next_poll = min([one.poll_at for one in self._watched.values()], default=0.0)
            notified = await watch.wait(
                min(max(0.0, next_poll - self._clock.monotonic()), POLL_INTERVALS[-1])
            )
            if (rest := self._budget.take()) > 0:
                await self._clock.sleep(rest)
                notified += await watch.wait(0)

    def _due(self, *, along: bool) -> list[UUID]:
        """Return the jobs due for a poll; if there are any, or ``along``, also those due soon."""
        now = self._clock.monotonic()
        if not along and all(one.poll_at > now for one in self._watched.values()):
            return []
        due = (job_id for job_id, one in self._watched.items() if one.poll_at - one.leeway <= now)
        return list(islice(due, MAX_POLLED))

    async def _read(self, requested: dict[UUID, WatchedJob]) -> None:
        """Read jobs, and notify their subscribers of changes."""
        self._requested = list(requested.values())
        found = await self._reader.get(list(requested))
        self._failures, now = 0, self._clock.monotonic()
        for job_id, watched in requested.items():
            if self._watched.get(job_id) is not watched:
                continue  # all subscribers have left; new ones get a later state
            job = found.get(job_id)
            if job is None:
                gone = JobNotFoundError(f"No job has the id {job_id}: it never existed, or was purged")
                self._fail_subscribers(gone, [job_id])
                continue
            is_news = watched.is_news(job)
            watched.plan(now, is_news=is_news)
            if is_news and job.row_state in FINAL:
                # The job may be requeued before its subscribers have left.
                self._forget(job_id, watched)
            watched.notify(is_news=is_news)
