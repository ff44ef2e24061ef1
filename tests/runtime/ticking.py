"""Words for the tests of schedules: which ticks were served, and when they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from tests.clocks import START, FrozenClock
from tests.conformance.driver import soon
from tests.runtime.workers.place import turns
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.model import Job, JobQuery, Schedule

MINUTE = 60
HOUR = 3600


class Ticking:
    """A scheduler, and the clock that it goes by."""

    def __init__(self, queue: Queue, clock: FrozenClock) -> None:
        self.parts = parts_of(queue)
        self.scheduler = Scheduler(self.parts)
        self.clock = clock

    def restart(self) -> None:
        """Replace the scheduler by a new one, which has seen no tick yet."""
        self.scheduler = Scheduler(self.parts)

    async def tick(self, after: float = 0) -> list[UUID]:
        """Advance the clock, and serve the ticks that are due."""
        self.clock.advance(after)
        return await self.scheduler.tick()

    async def store(self, schedule: Schedule) -> None:
        """Store a schedule as it is, as other programs do."""
        await self.parts.storage.put_schedule(schedule)


@asynccontextmanager
async def running(loop: Scheduler | Maintenance) -> AsyncIterator[None]:
    """Run a loop during the block, which must not end it."""
    task = asyncio.ensure_future(loop.run())
    yield
    assert not task.done()
    loop.stop()
    await soon(task)


async def pass_seconds(clock: FrozenClock, seconds: int) -> None:
    for _ in range(seconds):
        await turns()
        clock.advance(1)
    await turns()


async def sent(queue: Queue) -> list[Job]:
    return sorted((await queue.find(JobQuery(limit=1000))).jobs, key=lambda job: str(job.meta))


async def ticks(queue: Queue) -> list[str]:
    return [str((job.meta or {})["tick"]) for job in await sent(queue)]


async def ticks_by_schedule(queue: Queue) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for job in await sent(queue):
        meta = job.meta or {}
        found.setdefault(meta["schedule"], []).append(meta["tick"])
    return {name: sorted(ticks) for name, ticks in found.items()}


def instant(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()
