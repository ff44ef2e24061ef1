"""Waiting for jobs: who watches one is told of each change of its status.

All watchers of a job share one path to the storage, and all jobs that are looked up at the same time share
one query, so that a thousand open pages cost the database little. A change is told by the storage where it
can; a look from time to time is the net, so a notification that gets lost delays the news and loses none.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from zeke_queue.core.failure import shown
from zeke_queue.core.options import INT4_MAX
from zeke_queue.errors import BadOption, JobNotFound, StorageUnavailable
from zeke_queue.model import FINAL, JobState
from zeke_queue.pacing import end, first
from zeke_queue.tending import require

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from zeke_queue.clock import Clock
    from zeke_queue.model import Job
    from zeke_queue.storage.store import Changes, Reader

    Mailbox = asyncio.Queue[Job | Exception]

LOOKS: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Seconds between looks at a job that is told of no change; the last one for good."""

PATIENCE: Final = 60.0
"""Seconds for which a storage may be away before those who wait are told so."""


def check_timeout(timeout: object) -> float | None:
    """Return how many seconds to wait; None for ever, which is also what is longer than any wait.

    Raises:
        BadOption: it is no number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not (timeout <= 0 or timeout > 0):
        raise BadOption(
            f"timeout: {shown(timeout)} is no number; give seconds, 0 to look once, or None to wait for ever"
        )
    return None if timeout > INT4_MAX else float(max(timeout, 0))


class Watchers:
    """Everybody who waits for a job through one storage."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._watched: dict[UUID, _Watched] = {}
        self._asked: dict[UUID, asyncio.Future[Job | None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._following: set[asyncio.Task[None]] = set()
        self._closed = False

    async def watch(self, job_id: UUID) -> AsyncGenerator[Job]:
        """Yield the job as it is, then at each change of its status; end after a final one.

        Statuses are told in the order in which they came about; one that lasted a moment only may be passed
        over.

        Raises:
            JobNotFound: there is no such job, or none any more.
            StorageUnavailable: the storage has been away for a minute, or the queue was closed.
        """
        if self._closed:
            raise _was_closed(job_id)
        mailbox: Mailbox = asyncio.Queue()
        watched = self._watched.get(job_id)
        if watched is None:
            watched = self._watched[job_id] = _Watched()
            watched.task = asyncio.ensure_future(self._follow(job_id, watched))
            self._following.add(watched.task)
            watched.task.add_done_callback(self._following.discard)
        elif watched.latest is not None:
            mailbox.put_nowait(watched.latest)
        watched.mailboxes.append(mailbox)
        try:
            while True:
                news = await mailbox.get()
                if isinstance(news, Exception):
                    raise news
                yield news
                if news.state in FINAL:
                    return
        finally:
            watched.mailboxes.remove(mailbox)
            if not watched.mailboxes and self._watched.get(job_id) is watched:
                self._forget(job_id, watched)
                watched.task.cancel()

    async def ended(self, job_id: UUID, timeout: float | None) -> Job | None:
        """Wait until a job has ended.

        Args:
            job_id: the job.
            timeout: seconds to wait at most; 0 looks once, None waits for ever.

        Returns:
            The job as it ended; None if it did not in time.

        Raises:
            JobNotFound, StorageUnavailable: as ``watch``.
        """
        if timeout is None:
            return await self._end(job_id)
        if timeout <= 0:
            job = await require(self._reader, job_id)
            return job if job.state in FINAL else None
        # The alarm stands beside the wait, so that it also rings while the storage hangs.
        return await first(self._end(job_id), self._alarm(timeout))

    async def _end(self, job_id: UUID) -> Job | None:
        async with aclosing(self.watch(job_id)) as changes:
            async for job in changes:
                if job.state in FINAL:
                    return job
        return None

    async def _alarm(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def close(self) -> None:
        """Stop looking; whoever still waits, or comes later, is told so."""
        self._closed = True
        watched, self._watched = self._watched, {}
        tasks = [*self._following, *([] if self._looking is None else [self._looking])]
        await end(*tasks)
        for job_id, one in watched.items():
            one.tell(_was_closed(job_id))

    def _forget(self, job_id: UUID, watched: _Watched) -> None:
        """Let whoever comes from now on start anew, and see the job as it is then."""
        if self._watched.get(job_id) is watched:
            del self._watched[job_id]

    async def _follow(self, job_id: UUID, watched: _Watched) -> None:
        """Tell the watchers of one job until it has ended, or nobody watches any more."""
        try:
            await self._follow_through_outages(job_id, watched)
        except Exception as error:  # noqa: BLE001 - it is raised again, in every task that waits
            watched.tell(error)
        finally:
            self._forget(job_id, watched)

    async def _follow_through_outages(self, job_id: UUID, watched: _Watched) -> None:
        while True:
            try:
                async with self._reader.watching(job_id) as changes:
                    return await self._follow_changes(job_id, watched, changes)
            except StorageUnavailable:
                now = self._clock.monotonic()
                if watched.away_since is None:
                    watched.away_since = now
                if now - watched.away_since >= PATIENCE:
                    raise
                await self._clock.sleep(LOOKS[-1])

    async def _follow_changes(self, job_id: UUID, watched: _Watched, changes: Changes) -> None:
        look = 0
        while True:
            job = await self._look(job_id)
            watched.away_since = None
            if job is None:
                raise JobNotFound(f"No job has the id {job_id}: it never existed, or was purged")
            if watched.is_news(job):
                watched.tell(job)
                look = 0
                if job.state in FINAL:
                    # Taking leave of the storage lasts a while, in which the job may be brought back.
                    self._forget(job_id, watched)
                    return
            await changes.wait(LOOKS[min(look, len(LOOKS) - 1)])
            look += 1

    def _look(self, job_id: UUID) -> asyncio.Future[Job | None]:
        """Ask for a job; what is asked for while a query runs goes into the next one."""
        future = self._asked.get(job_id)
        if future is None or future.done():
            future = self._asked[job_id] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look_up())
        return future

    async def _look_up(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self._reader.get(list(asked))
            except BaseException as error:
                for future in asked.values():
                    if not future.done():
                        future.set_exception(error) if isinstance(error, Exception) else future.cancel()
                if not isinstance(error, Exception):
                    raise
            else:
                for job_id, future in asked.items():
                    if not future.done():
                        future.set_result(found.get(job_id))


class _Watched:
    """A job that is watched: its last news, and to whom they go."""

    __slots__ = ("away_since", "latest", "mailboxes", "task")
    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.mailboxes: list[Mailbox] = []
        self.latest: Job | None = None
        self.away_since: float | None = None

    def is_news(self, job: Job) -> bool:
        """Take a look at the job into account; True if its status changed.

        A look that shows an earlier stage than one before (a replica that lags) is no news.
        """
        latest = self.latest
        if latest is not None and _stage(job) < _stage(latest):
            return False
        self.latest = job
        return latest is None or latest.status is not job.status

    def tell(self, news: Job | Exception) -> None:
        """Give news to every watcher."""
        for mailbox in self.mailboxes:
            mailbox.put_nowait(news)


def _was_closed(job_id: UUID) -> StorageUnavailable:
    return StorageUnavailable(f"Job {job_id} is not watched any more: the queue was closed")


def _stage(job: Job) -> tuple[int, int]:
    """Return how far a job is in its life; it only grows as long as the job has not ended."""
    if job.state in FINAL:
        return job.attempt, 2
    return job.attempt, 0 if job.state is JobState.ACTIVE else 1
