"""Figures for those who look at pages that move: one look at the storage for all of them.

The first who looks starts it, the last who leaves stops it. A look that fails is told to them as well, so
that a page can say that what it shows is old.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import StorageError
from zeke_queue.model import JobFilter, JobState
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import Pace as Loop
from zeke_queue.system.waiting import backoff, end
from zeke_queue.web.rest.queues import all_queues, all_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import datetime

    from zeke_queue.model import Job, Pace, Schedule
    from zeke_queue.web import shapes
    from zeke_queue.web.api import Api

EVERY: Final = 2.0
"""Seconds between two looks."""

BACKLOG_KEPT: Final = 150
"""How many looks the line of the backlog goes back."""

FAILURES: Final = 6
"""How many of the last failures are shown."""


@dataclass(frozen=True, slots=True)
class Span:
    """How far back a chart looks, in seconds, and how long each of its steps is."""

    name: str
    title: str
    seconds: float
    step: float


SPANS: Final[Mapping[str, Span]] = {
    span.name: span
    for span in (
        Span("15m", "15 minutes", 900, 15),
        Span("1h", "1 hour", 3_600, 60),
        Span("24h", "24 hours", 86_400, 1_200),
        Span("7d", "7 days", 604_800, 10_800),
    )
}
USUAL: Final = SPANS["1h"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one look showed.

    Attributes:
        mark: equal marks show equal lists of queues, workers, schedules and counts of jobs.
        backlog: how many jobs waited at each look, the last ones, this one too.
        paces: by the name of the span.
        is_old: the storage had no answer since.
    """

    at: datetime
    queues: Sequence[shapes.QueueShape]
    workers: Sequence[shapes.WorkerShape]
    failures: Sequence[Job]
    paces: Mapping[str, Sequence[Pace]]
    backlog: Sequence[int]
    mark: int
    is_old: bool = False

    def count(self, *states: JobState) -> int:
        """Return how many live jobs are in these states."""
        return sum(queue.counts[state] for queue in self.queues for state in states)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self.count(JobState.CREATED, JobState.RETRY)

    @property
    def lag(self) -> float | None:
        """How long the job that has waited longest has been due; None if none is."""
        return max((queue.lag for queue in self.queues if queue.lag is not None), default=None)


@dataclass(eq=False, slots=True)
class _Viewer:
    span: Span
    rung: asyncio.Event = field(default_factory=asyncio.Event)


class Sampler:
    """Looks at the storage for everybody who looks at live pages."""

    def __init__(self, parts: Api) -> None:
        self._parts = parts
        self._viewers: set[_Viewer] = set()
        self._latest: Sample | None = None
        self._backlog: deque[int] = deque(maxlen=BACKLOG_KEPT)
        self._task: asyncio.Task[None] | None = None
        self._loop: Loop | None = None
        self._closed = False

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    async def look(self, span: Span) -> Sample:
        """Return what there is to see now.

        Raises:
            StorageError: the storage has no answer.
        """
        if self._task is not None and (latest := self._latest) is not None and span.name in latest.paces:
            return latest
        return await self._look({span.name: span}, (*self._backlog,))

    async def watch(self, span: Span) -> AsyncGenerator[Sample]:
        """Yield each look from the next one on; one that comes while the last is worked on is passed over."""
        viewer = _Viewer(span)
        self._viewers.add(viewer)
        self._begin()
        try:
            while True:
                await viewer.rung.wait()
                viewer.rung.clear()
                latest = self._latest
                if latest is not None and span.name in latest.paces:
                    yield latest
        finally:
            self._viewers.discard(viewer)
            if not self._viewers and self._loop is not None:
                self._loop.stop()

    async def close(self) -> None:
        """Stop looking."""
        self._closed = True
        if self._loop is not None:
            self._loop.stop()
        if self._task is not None:
            await end(self._task)

    def _begin(self) -> None:
        """Look from now on, if somebody is there to be told and nobody looks for them already."""
        if self._task is None and self._viewers and not self._closed:
            self._loop = Loop(self._parts.queue.clock)
            self._backlog.clear()
            self._task = asyncio.ensure_future(self._run(self._loop))

    async def _run(self, loop: Loop) -> None:
        failures = 0
        try:
            while self._viewers and not loop.stopped:
                try:
                    sample = await self._look({one.span.name: one.span for one in self._viewers}, None)
                except Exception as error:  # noqa: BLE001 - whatever it is, those who look are told, and it is tried again
                    failures += 1
                    get_logger().warning(
                        "dashboard_look_failed",
                        error=str(error),
                        exc_info=None if isinstance(error, StorageError) else error,
                    )
                    if self._latest is not None:
                        self._tell(_old(self._latest))
                else:
                    failures = 0
                    self._tell(sample)
                await loop.pause(backoff(EVERY, failures))
        finally:
            self._task, self._latest = None, None
            # Somebody may have come while the last look went on for those who had left.
            self._begin()

    def _tell(self, sample: Sample) -> None:
        self._latest = sample
        for viewer in self._viewers:
            viewer.rung.set()

    async def _look(self, spans: Mapping[str, Span], backlog: Sequence[int] | None) -> Sample:
        storage = self._parts.queue.storage
        now = await storage.now()
        queues = await all_queues(self._parts)
        workers = await all_workers(self._parts)
        ended_badly = (JobState.FAILED, JobState.EXPIRED)
        failed = JobFilter(states=ended_badly, without=("data", "meta", "history"), limit=FAILURES)
        failures = await storage.find(failed)
        schedules = await storage.schedules()
        paces = {name: await storage.pace((), span.seconds, span.step) for name, span in spans.items()}
        waiting = sum(queue.counts[state] for queue in queues for state in (JobState.CREATED, JobState.RETRY))
        if backlog is None:
            self._backlog.append(waiting)
            backlog = (*self._backlog,)
        else:
            backlog = (*backlog, waiting)
        return Sample(
            at=now,
            queues=queues,
            workers=workers,
            failures=failures,
            paces=paces,
            backlog=backlog,
            mark=_mark(queues, workers, schedules, failures),
        )


def _mark(
    queues: Sequence[shapes.QueueShape],
    workers: Sequence[shapes.WorkerShape],
    schedules: Sequence[Schedule],
    failures: Sequence[Job],
) -> int:
    """Return a number that changes with what lists show, but not with what changes at every look."""
    return hash(
        (
            tuple((one.name, *one.counts.values(), one.paused, one.concurrency_limit) for one in queues),
            tuple((one.id, one.alive, one.asleep, one.holds) for one in workers),
            tuple((one.name, one.cron, one.zone, one.next_tick, one.paused) for one in schedules),
            tuple((one.id, one.attempt) for one in failures),
        )
    )


def _old(sample: Sample) -> Sample:
    return replace(sample, is_old=True)
