"""Figures for live pages: samples of the storage that all viewers share.

The sampler starts with the first viewer and stops with the last. Viewers are notified of a failed sample too,
so that pages can show that their data is old.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import ReadTimeoutError, StorageError
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import StoppableTimer, backoff, end, start_detached
from zeke_queue.web.errors import ApiError
from zeke_queue.web.inspect import all_workers, known_queues, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import datetime

    from zeke_queue.api_client import model as answers
    from zeke_queue.model import Job, Schedule, Throughput
    from zeke_queue.web.api import Api

EVERY: Final = 2.0
"""Seconds between samples."""

BACKLOG_KEPT: Final = 150
"""Number of samples in the line of the backlog."""

FAILURES: Final = 6
"""Number of the latest failures that are shown."""


@dataclass(frozen=True, slots=True)
class Span:
    """The period of a chart and the length of its steps, in seconds."""

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
    """A sample of the storage.

    Attributes:
        mark: equal for equal lists of queues, workers, schedules and counts of jobs.
        queues: without counts if counting takes too long.
        backlog: the number of waiting jobs in the last samples, including this one; None if not counted.
        paces: the counts of ended jobs, by the name of the span; None if counting them takes too long.
        is_old: whether the storage has been unavailable since.
    """

    at: datetime
    queues: Sequence[answers.QueueInfo]
    workers: Sequence[answers.WorkerInfo]
    failures: Sequence[Job]
    paces: Mapping[str, Sequence[Throughput] | None]
    backlog: Sequence[int | None]
    mark: int
    is_old: bool = False

    @property
    def is_counted(self) -> bool:
        """Whether jobs are counted by queue."""
        return all(queue.counts for queue in self.queues)

    @property
    def waiting(self) -> int:
        """Number of waiting jobs, if they are counted."""
        return sum(map(waiting, self.queues))

    @property
    def lag(self) -> float | None:
        """The longest time that a job has been due; None if no job is due."""
        return max((queue.lag for queue in self.queues if queue.lag is not None), default=None)


@dataclass(eq=False, slots=True)
class _Viewer:
    span: Span
    rung: asyncio.Event = field(default_factory=asyncio.Event)


class Sampler:
    """Samples the storage on behalf of all viewers of live pages."""

    def __init__(self, parts: Api) -> None:
        self._parts = parts
        self._viewers: set[_Viewer] = set()
        self._latest: Sample | None = None
        self._backlog: deque[int | None] = deque(maxlen=BACKLOG_KEPT)
        self._task: asyncio.Task[None] | None = None
        self._timer: StoppableTimer | None = None
        self._closed = False

    @property
    def viewers(self) -> int:
        """Number of viewers."""
        return len(self._viewers)

    async def read(self, span: Span) -> Sample:
        """Return a sample for a span.

        Raises:
            StorageError: the storage is unavailable.
        """
        if self._task is not None and (latest := self._latest) is not None and span.name in latest.paces:
            return latest
        return await self._read({span.name: span}, (*self._backlog,))

    async def watch(self, span: Span) -> AsyncGenerator[Sample]:
        """Yield each sample from the next one on; samples that arrive while one is processed are skipped."""
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
            if not self._viewers and self._timer is not None:
                self._timer.stop()

    async def close(self) -> None:
        """Stop sampling."""
        self._closed = True
        if self._timer is not None:
            self._timer.stop()
        if self._task is not None:
            await end(self._task)

    def _begin(self) -> None:
        """Start sampling if there are viewers and it is not running."""
        if self._task is None and self._viewers and not self._closed:
            self._timer = StoppableTimer(self._parts.queue.clock)
            self._backlog.clear()
            self._task = start_detached(self._run(self._timer))

    async def _run(self, timer: StoppableTimer) -> None:
        failures = 0
        try:
            while self._viewers and not timer.stopped:
                try:
                    sample = await self._read({one.span.name: one.span for one in self._viewers}, None)
                except Exception as error:  # noqa: BLE001 - viewers are notified, and the sample is repeated
                    failures += 1
                    get_logger().warning(
                        "dashboard_look_failed",
                        error=str(error),
                        exc_info=None if isinstance(error, ApiError | StorageError) else error,
                    )
                    if self._latest is not None:
                        self._publish(replace(self._latest, is_old=True))
                else:
                    failures = 0
                    self._publish(sample)
                await timer.pause(backoff(EVERY, failures))
        finally:
            self._task, self._latest = None, None
            # A viewer may have arrived during the last sample for viewers that had left.
            self._begin()

    def _publish(self, sample: Sample) -> None:
        self._latest = sample
        for viewer in self._viewers:
            viewer.rung.set()

    async def _read(self, spans: Mapping[str, Span], backlog: Sequence[int | None] | None) -> Sample:
        storage = self._parts.storage
        now = await storage.now()
        queues = await known_queues(self._parts)
        workers = await all_workers(self._parts)
        failed = JobQuery(status=(JobStatus.FAILED,), without=("data", "meta", "history"), limit=FAILURES)
        failures = (await self._parts.find(failed)).jobs
        schedules = await storage.schedules()
        async with self._parts.searches.search():
            paces = {name: await self._count(span) for name, span in spans.items()}
        number = sum(map(waiting, queues)) if all(queue.counts for queue in queues) else None
        if backlog is None:
            self._backlog.append(number)
            backlog = (*self._backlog,)
        else:
            backlog = (*backlog, number)
        return Sample(
            at=now,
            queues=queues,
            workers=workers,
            failures=failures,
            paces=paces,
            backlog=backlog,
            mark=_mark(queues, workers, schedules, failures),
        )

    async def _count(self, span: Span) -> Sequence[Throughput] | None:
        with suppress(ReadTimeoutError):
            return await self._parts.storage.throughput((), span.seconds, span.step)
        return None


def _mark(
    queues: Sequence[answers.QueueInfo],
    workers: Sequence[answers.WorkerInfo],
    schedules: Sequence[Schedule],
    failures: Sequence[Job],
) -> int:
    """Return a number that changes with the content of lists, ignoring values that change in every sample."""
    return hash(
        (
            tuple((one.name, *one.counts.values(), one.paused, one.concurrency_limit) for one in queues),
            tuple((one.id, one.alive, one.asleep, one.holds) for one in workers),
            tuple((one.name, one.cron, one.zone, one.next_tick, one.paused) for one in schedules),
            tuple((one.id, one.attempt) for one in failures),
        )
    )
