"""A client process: it sends jobs, reads and watches them, by a seed."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.api_client import ServerUnavailableError
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobConflictError, JobNotFoundError, StorageUnavailableError
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.task.task import Send

if TYPE_CHECKING:
    import random  # noqa: TID251 - its type
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from tests.torture.recording import Journal
    from zeke_queue.client.queue import Queue

AT_ONCE: Final = 12
"""Things that one client does at the same time at most, so that an outage piles up little."""

TASKS: Final = {
    "quick": 20,
    "slow": 12,
    "failing": 10,
    "expiring": 5,
    "limited": 12,
    "unique": 10,
    "sync": 6,
    "crunch": 3,
    "parent": 4,
    "calling": 6,
    "snoozing": 4,
    "signalling": 4,
    "extending": 3,
}
"""What is sent, by how often."""

PAUSED: Final = {"c1": ("slow", "quick"), "c2": ("limited", "failing")}
"""Which queues a client pauses, so that no client resumes what another one pauses."""

_REMEMBERED: Final = 100
_EXPECTED: Final = (StorageUnavailableError, ServerUnavailableError, JobConflictError, JobNotFoundError)
"""What the faults, and the rules of the queue, may answer with; anything else ends the client."""


class RolledBack(Exception):
    """The client changed its mind inside a transaction."""


class Client:
    """Does one thing after the other, every ``pace`` seconds on average, until it is stopped."""

    def __init__(self, queue: Queue, journal: Journal, draw: random.Random, pace: float, folder: str) -> None:
        self._folder = folder
        self._queue = queue
        self._journal = journal
        self._draw = draw
        self._pace = pace
        self._stopping = asyncio.Event()
        self._doing: set[asyncio.Task[None]] = set()
        self._sent: deque[UUID] = deque(maxlen=_REMEMBERED)
        self._number = 0
        self._pausing: set[str] = set()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped; unfinished calls are cancelled, and what no fault explains is raised."""
        ways = self._ways()
        weights = [weight for weight, _ in ways]
        stop = asyncio.ensure_future(self._stopping.wait())
        while not stop.done():
            if len(self._doing) < AT_ONCE:
                (_, way) = self._draw.choices(ways, weights)[0]
                self._doing.add(asyncio.ensure_future(self._do(way)))
            pause = asyncio.ensure_future(self._journal.clock.sleep(self._draw.expovariate(1 / self._pace)))
            await asyncio.wait((stop, pause), return_when=asyncio.FIRST_COMPLETED)
            pause.cancel()
            self._clear_up()
        for task in self._doing:
            task.cancel()
        if self._doing:
            await asyncio.wait(self._doing)
        self._clear_up()

    def _ways(self) -> list[tuple[int, Callable[[], Awaitable[None]]]]:
        """Return what this client does, by how often."""
        return [
            (40, self._send),
            (6, self._send_many),
            (6, self._send_together),
            (10, self._cancel),
            (5, self._resume),
            (5, self._retry),
            (3, self._pause),
            (12, self._watch),
            (4, self._look),
            (2, self._edit),
        ]

    def _clear_up(self) -> None:
        for task in [task for task in self._doing if task.done()]:
            self._doing.discard(task)
            if not task.cancelled():
                task.result()

    async def _do(self, way: Callable[[], Awaitable[None]]) -> None:
        try:
            await way()
        except _EXPECTED:
            return

    def _job(self, task: str | None = None) -> Send:
        self._number += 1
        draw, n = self._draw, self._number
        options: dict[str, Any] = {}
        if draw.random() < 0.2:
            options["priority"] = draw.choice([-1, 1, 5])
        if draw.random() < 0.15:
            options["delay"] = draw.choice([0.3, 1, 2.5])
        task = task or draw.choices(list(TASKS), list(TASKS.values()))[0]
        work = draw.choice([0.0, 0.05, 0.2, 0.2, 0.6, 1.5])
        fails = draw.choice([0, 0, 1, 2, 9])
        if task == "slow":
            work = draw.choice([0.2, 1.0, 4.0])  # some longer than the lease, and many a fault
        if task == "expiring":
            work = draw.choice([0.2, 3.0])
        if task == "snoozing":
            fails = draw.choice([0, 1, 2])
        if task == "unique":
            how = draw.choice(["key", "key", "throttle", "debounce", "both"])
            if how in ("key", "both"):
                options["singleton_key"] = draw.choice("abc")
            if how != "key":
                options["debounce" if how == "debounce" else "throttle"] = draw.choice([1, 3])
        script = {"n": n, "work": work, "fails": fails, "send": self._journal.number()}
        if task == "crunch":
            script["folder"] = self._folder
        return Send(task, script, **options)

    async def _send(self) -> None:
        job = self._job()
        self._sent.append((await self._queue.send(job.task, job.payload, **job.options)).id)

    async def _send_many(self) -> None:
        # Of one task, or mixed; a burst of a limited task makes its workers wait for each other.
        task = self._draw.choice([None, "limited", "limited", "slow"])
        jobs = [self._job(task) for _ in range(self._draw.choice([2, 5, 20]))]
        self._sent.extend([run.id for run in await self._queue.send_many(jobs)])

    async def _send_together(self) -> None:
        commits = self._draw.random() < 0.6
        jobs = [self._job() for _ in range(self._draw.choice([1, 3]))]
        try:
            async with self._queue.transaction() as transaction:
                sent = [(await transaction.send(job.task, job.payload, **job.options)).id for job in jobs]
                _keep_to_it(commits=commits)
        except RolledBack:
            return
        self._sent.extend(sent)

    def _some(self) -> UUID | None:
        return self._draw.choice(self._sent) if self._sent else None

    async def _cancel(self) -> None:
        if (job_id := self._some()) is not None:
            await self._queue.cancel(job_id)

    async def _resume(self) -> None:
        cancelled = (await self._queue.find(JobQuery(status=(JobStatus.CANCELLED,), limit=10))).jobs
        if cancelled:
            await self._queue.resume(self._draw.choice(cancelled).id)

    async def _retry(self) -> None:
        failed = (await self._queue.find(JobQuery(status=(JobStatus.FAILED,), limit=10))).jobs
        if failed:
            await self._queue.retry(self._draw.choice(failed).id)

    async def _pause(self) -> None:
        name = self._draw.choice(PAUSED[self._journal.node])
        if name in self._pausing:
            return
        self._pausing.add(name)
        try:
            await parts_of(self._queue).storage.pause_queue(name, paused=True)
            await self._journal.clock.sleep(self._draw.choice([0.2, 1.0, 2.0]))
            await parts_of(self._queue).storage.pause_queue(name, paused=False)
        finally:
            self._pausing.discard(name)

    async def _watch(self) -> None:
        job_id = self._some()
        if job_id is None:
            return
        watch = self._journal.number()
        async with aclosing(parts_of(self._queue).runs.watch(job_id)) as changes:
            async for news in changes:
                self._journal.told(watch, news)

    async def _look(self) -> None:
        if (job_id := self._some()) is not None:
            await self._queue.get(job_id)

    async def _edit(self) -> None:
        every = self._draw.choice([2, 3, 4])
        await self._queue.schedules.put(
            "edited", f"* * * * * */{every}", task="ticking", payload={"n": every}
        )


def _keep_to_it(*, commits: bool) -> None:
    if not commits:
        raise RolledBack
