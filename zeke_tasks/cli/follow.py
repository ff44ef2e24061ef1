"""Watching of jobs and all their descendants until all have ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from zeke_queue.client.parts import parts_of
from zeke_queue.core.names import task_of
from zeke_queue.model import ENDED, JobQuery, QueueStats, RowState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job

LOOK_EVERY: Final = 0.2
"""Seconds between two reads; more if a read takes long, so that most of the time is left to the jobs."""

PAUSE_SHARE: Final = 4.0
"""Pause after a read at least, as a multiple of its time."""

_PAGE: Final = 1000


class Family:
    """Some jobs and all their descendants, under the names of their tasks.

    Each read asks only for jobs that can have changed: a job that has ended starts no further children.

    Args:
        queue: the queue of the jobs.
        roots: the jobs whose descendants belong to the family.
    """

    def __init__(self, queue: Queue, roots: Collection[UUID]) -> None:
        self._queue = queue
        self._open = dict.fromkeys(roots)
        self.jobs: dict[UUID, Job] = {}

    async def read(self) -> list[Job]:
        """Read the jobs' current state; returns parents before their children."""
        generation = list((await parts_of(self._queue).storage.get(list(self._open))).values())
        while generation:
            # Jobs were read before their children, so if one had ended, all of its children exist.
            children = await self._new_children([job.id for job in generation if job.attempt])
            for job in generation:
                self.jobs[job.id] = replace(job, name=task_of(job.name))
                if job.status in ENDED:
                    self._open.pop(job.id, None)
                else:
                    self._open[job.id] = None
            generation = children
        return list(self.jobs.values())

    async def _new_children(self, parents: Sequence[UUID]) -> list[Job]:
        found: list[Job] = []
        has_more = bool(parents)
        while has_more:
            before = found[-1].id if found else None
            page = await self._queue.find(JobQuery(parents=tuple(parents), limit=_PAGE, before=before))
            found += page.jobs
            has_more = page.has_more
        return [child for child in reversed(found) if child.id not in self.jobs]

    def settled(self, until: float) -> bool:
        """Return whether all have ended, except those that are due only after ``until``.

        Args:
            until: when the caller stops waiting, on the queue's monotonic clock.
        """
        clock = self._queue.clock
        soon = clock.now() + timedelta(seconds=until - clock.monotonic())
        return all(job.status in ENDED or job.start_after > soon for job in self.jobs.values())


async def follow(family: Family, queue: Queue, timeout: float) -> AsyncGenerator[list[Job]]:
    """Yield the jobs of a family repeatedly, until there is nothing left to wait for.

    Args:
        family: the jobs.
        queue: the queue of the jobs.
        timeout: seconds after which iteration ends in any case.
    """
    until = queue.clock.monotonic() + timeout
    # A waiting job may be resumed between reading its child and reading the job, so one read is not
    # conclusive.
    settled_before = False
    while True:
        began = queue.clock.monotonic()
        jobs = await family.read()
        took = queue.clock.monotonic() - began
        yield jobs
        ended = all(job.status in ENDED for job in jobs)
        settled = family.settled(until)
        if ended or (settled and settled_before) or queue.clock.monotonic() >= until:
            return
        settled_before = settled
        await queue.clock.sleep(max(LOOK_EVERY, PAUSE_SHARE * took))


def counts_of(jobs: Iterable[Job]) -> list[QueueStats]:
    """Count jobs by queue and state."""
    states: dict[str, Counter[RowState]] = {}
    for job in jobs:
        states.setdefault(job.name, Counter())[job.row_state] += 1
    return [QueueStats(name, counter) for name, counter in states.items()]
