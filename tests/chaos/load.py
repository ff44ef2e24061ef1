"""What the workers have to do: batches of jobs, as fast as they are completed, and streams."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from tests.chaos.executions import RETURNED
from zeke_queue.api_client import JobsClient, Progress, ServerUnavailableError, StatusChange
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobConflictError, StorageUnavailableError, ZekeError
from zeke_queue.task.task import Send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from tests.chaos.executions import Line, Tail
    from zeke_queue.client.queue import Queue

AHEAD: Final[Mapping[str, int]] = {"plain": 4_000, "limited": 120, "parent": 120}
"""Jobs that have not ended, at most, by task.

Each task has as many as the workers can run, also while those that killed workers had claimed (some 450 each)
wait for the end of the lease, and none becomes a backlog of its own.
"""

BATCH: Final = 200
"""Jobs that are sent at once at least."""

STREAMS: Final = 4
"""Jobs that are followed at once, one after another."""

_BETWEEN_TRIES: Final = 0.2
_BETWEEN_READS: Final = 0.2
_STREAM_SECONDS: Final = 120.0
"""Seconds in which a followed job must end; a stream that takes longer counts as stuck."""


class Load:
    """Sends jobs, follows streams, and reads the logs of the workers meanwhile.

    Args:
        queue: connected as an application's is.
        url, token: of the API.
        tails: the workers' logs.

    Attributes:
        sent: the acknowledged jobs, by task.
        acknowledged: when they were.
        lines: all lines of the logs, by node.
        ends: when jobs returned.
        broken: streams that did not show the end of their job, with the reason.
        unshown: streams that ended without their job's last progress, and when: the end of a job does not
            wait until its progress is stored.
        repeated: streams that showed a progress more than once, with how often they showed each value, and
            when: it is stored again if the answer is lost.
        failed: errors of sends that do not say to repeat them later.
    """

    def __init__(self, queue: Queue, url: str, token: str, tails: Sequence[Tail]) -> None:
        self._queue = queue
        self._url = url
        self._token = token
        self._tails = tails
        self._new_id = parts_of(queue).factory.new_id
        self._stopping = False
        self.sent: dict[UUID, str] = {}
        self.acknowledged: dict[UUID, float] = {}
        self.lines: dict[str, list[Line]] = {tail.node: [] for tail in tails}
        self.ends: list[float] = []
        self.broken: dict[UUID, str] = {}
        self.unshown: dict[UUID, float] = {}
        self.repeated: dict[UUID, tuple[Counter[float | None], float]] = {}
        self.failed: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._ended: set[UUID] = set()

    async def run(self) -> None:
        """Send and follow until ``stop``; all streams have ended then."""
        async with JobsClient(self._url, self._token) as client:
            reading = asyncio.ensure_future(self._read_on())
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._feed())
                    for _ in range(STREAMS):
                        group.create_task(self._follow(client))
            finally:
                reading.cancel()

    def stop(self) -> None:
        self._stopping = True

    @property
    def completed(self) -> int:
        return len(self.ends)

    def read(self) -> None:
        """Read what the workers have written since the last time."""
        for tail in self._tails:
            new = tail.read()
            self.lines[tail.node] += new
            ended = [line for line in new if line.what == RETURNED]
            self.ends += [line.at for line in ended]
            fresh = {line.job: line.task for line in ended if line.job not in self._ended}
            self._open.subtract(fresh.values())
            self._ended.update(fresh)

    async def _feed(self) -> None:
        while not self._stopping:
            if batch := self.next_batch():
                await self.send(batch)
            else:
                await self._queue.clock.sleep(_BETWEEN_READS / 4)

    def next_batch(self) -> dict[UUID, str]:
        """Return the jobs that are to be sent now: as many of each task as have ended since."""
        room = {name: most - self._open[name] for name, most in AHEAD.items()}
        if sum(room.values()) < BATCH:
            return {}
        return {self._new_id(): name for name, count in room.items() for _ in range(count)}

    async def send(self, batch: Mapping[UUID, str]) -> None:
        """Send a batch until it is acknowledged; its jobs have ids, so a repetition stores none twice."""
        jobs = [Send(name, {"n": 1}, id=job) for job, name in batch.items()]
        while True:
            try:
                with suppress(JobConflictError):
                    await self._queue.send_many(jobs)
                break
            except StorageUnavailableError:
                pass
            except Exception as error:  # noqa: BLE001 - an application would have to handle it
                self.failed[f"{type(error).__name__}: {error}".partition("\n")[0]] += 1
            await self._queue.clock.sleep(_BETWEEN_TRIES)
        self.sent.update(batch)
        self.acknowledged.update(dict.fromkeys(batch, self._queue.clock.monotonic()))
        self._open.update(batch.values())

    async def _follow(self, client: JobsClient) -> None:
        while not self._stopping:
            job = self._new_id()
            await self.send({job: "streamed"})
            try:
                async with asyncio.timeout(_STREAM_SECONDS):
                    complaint = await self._watch(client, job)
            except TimeoutError:
                complaint = "the stream did not end"
            except ZekeError as error:
                complaint = f"{type(error).__name__}: {error}"
            if complaint is not None:
                self.broken[job] = complaint

    async def _watch(self, client: JobsClient, job: UUID) -> str | None:
        """Follow a job to its end; return what was wrong with the stream."""
        while True:
            try:
                return await self._watch_once(client, job)
            except ServerUnavailableError:
                # The client gives up at once a server that it has never reached.
                await self._queue.clock.sleep(_BETWEEN_TRIES)

    async def _watch_once(self, client: JobsClient, job: UUID) -> str | None:
        shown: list[tuple[int, float | None]] = []
        last: StatusChange | None = None
        async with aclosing(client.watch(job)) as updates:
            async for update in updates:
                if isinstance(update, StatusChange):
                    last = update
                elif isinstance(update, Progress):
                    shown.append((update.attempt, update.value))
        if last is None or not last.ended:
            return "the stream ended before its job"
        if len(set(shown)) < len(shown):
            values = Counter(value for _, value in shown)
            self.repeated[job] = values, self._queue.clock.monotonic()
        if (last.output, 1.0) not in shown:
            self.unshown[job] = self._queue.clock.monotonic()
        return None

    async def _read_on(self) -> None:
        while True:
            self.read()
            await self._queue.clock.sleep(_BETWEEN_READS)
