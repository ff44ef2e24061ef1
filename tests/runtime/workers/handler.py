"""A task whose jobs wait until they are released, and the log lines of the runtime as a list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any
from uuid import UUID

from tests.clocks import FrozenClock
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.system import logging as log
from zeke_queue.task.context import JobContext


class Handler:
    """A task whose jobs wait until they are released, and what happened to them."""

    def __init__(self, place: Place, **options: Any) -> None:
        self.place = place
        self.started: list[UUID] = []
        self.cancelled: list[UUID] = []
        self.finished: list[UUID] = []
        self.go = asyncio.Event()
        self.task: Any = place.catalog.task("work", **options)(self._run)

    async def begin(self, **options: Any) -> UUID:
        """Send a job, and wait until it has begun; returns its id."""
        job_id = await self.place.send(self.task, **options)
        await until(lambda: job_id in self.started)
        return job_id

    async def _run(self, job: JobContext) -> str:
        self.started.append(job.id)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        self.finished.append(job.id)
        return "done"


class Overlap:
    """A handler that takes a few turns, and the most of its jobs that ran at once."""

    def __init__(self) -> None:
        self.running = self.most = 0

    async def run(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await turns(3)
        self.running -= 1


class Lines:
    """What was logged, read when it is asked for."""

    def __init__(self, stream: StringIO) -> None:
        self._stream = stream

    @property
    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self._stream.getvalue().splitlines()]


@contextmanager
def logged(stream: StringIO | None = None) -> Iterator[Lines]:
    stream, before = stream or StringIO(), log._current[0]
    log._current[0] = log._make_setup("json", log.LEVELS["info"], stream, FrozenClock())
    try:
        yield Lines(stream)
    finally:
        log._current[0] = before
