"""Words for the tests of schedules: which ticks were served, and when they are."""

from __future__ import annotations

from datetime import timedelta

from tests.clocks import START
from zeke_queue.client.queue import Queue
from zeke_queue.model import Job, JobQuery

MINUTE = 60
HOUR = 3600


async def sent(queue: Queue) -> list[Job]:
    return sorted((await queue.find(JobQuery(limit=1000))).jobs, key=lambda job: str(job.meta))


async def ticks(queue: Queue) -> list[str]:
    return [str((job.meta or {})["tick"]) for job in await sent(queue)]


async def ticks_by_schedule(queue: Queue) -> dict[str, list[str]]:
    """Return the ticks that were served of each schedule, in order."""
    found: dict[str, list[str]] = {}
    for job in await sent(queue):
        meta = job.meta or {}
        found.setdefault(meta["schedule"], []).append(meta["tick"])
    return {name: sorted(ticks) for name, ticks in found.items()}


def instant(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()
