"""Jobs and all that follows from them, through all generations: watched until nothing of it is left to do."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from zeke_queue.model import FINAL, JobFilter, JobState, QueueCount

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job

LOOK_EVERY: Final = 0.2
"""Seconds between two looks."""

_PAGE: Final = 1000


class Family:
    """Some jobs, their children, and these one's children.

    Each look asks for what can have changed alone: a job that has ended sends no more children.

    Args:
        queue: where they are.
        roots: the jobs that the others follow from.
    """

    def __init__(self, queue: Queue, roots: Collection[UUID]) -> None:
        self._queue = queue
        self._open = dict.fromkeys(roots)
        self.jobs: dict[UUID, Job] = {}

    async def look(self) -> list[Job]:
        """Return the jobs as they are now, parents before their children."""
        generation = list((await self._queue.storage.get(list(self._open))).values())
        while generation:
            children: list[Job] = []
            for job in generation:
                self.jobs[job.id] = job
                # Those of a job that has ended are all there, since it was read before them.
                children += await self._new_children(job) if job.attempt else []
                if job.state in FINAL:
                    self._open.pop(job.id, None)
                else:
                    self._open[job.id] = None
            generation = children
        return list(self.jobs.values())

    async def _new_children(self, job: Job) -> list[Job]:
        found = page = await self._queue.find(JobFilter(parent=job.id, limit=_PAGE))
        while len(page) == _PAGE:
            page = await self._queue.find(JobFilter(parent=job.id, limit=_PAGE, before=page[-1].id))
            found = found + page
        return [child for child in reversed(found) if child.id not in self.jobs]

    def settled(self, until: float) -> bool:
        """Return whether all have ended, but for those that wait for longer than somebody waits for them.

        Args:
            until: when that one goes, on the queue's monotonic clock.
        """
        clock = self._queue.clock
        soon = clock.now() + timedelta(seconds=until - clock.monotonic())
        return all(job.state in FINAL or job.start_after > soon for job in self.jobs.values())


async def follow(family: Family, queue: Queue, timeout: float) -> AsyncGenerator[list[Job]]:
    """Yield the jobs of a family again and again, until there is nothing left to wait for.

    Args:
        family: whose jobs.
        queue: where they are.
        timeout: seconds after which it ends in any case.
    """
    until = queue.clock.monotonic() + timeout
    # A job that waits for a child may be woken between the look at the one and the look at the other.
    settled_before = False
    while True:
        jobs = await family.look()
        yield jobs
        ended = all(job.state in FINAL for job in jobs)
        settled = family.settled(until)
        if ended or (settled and settled_before) or queue.clock.monotonic() >= until:
            return
        settled_before = settled
        await queue.clock.sleep(LOOK_EVERY)


def counts_of(jobs: Iterable[Job]) -> list[QueueCount]:
    """Return how many of some jobs each queue has in each state."""
    states: dict[str, Counter[JobState]] = {}
    for job in jobs:
        states.setdefault(job.name, Counter())[job.state] += 1
    return [QueueCount(name, counter) for name, counter in states.items()]
