"""The client of a workload: access to the simulated queue, and controls to inject faults."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - each client has its own, seeded by the run
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from uuid import UUID

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobFailedError, StorageError, UsageError
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.storage.inspect import require
from zeke_sim.testing.pending import PendingSender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import datetime

    from zeke_queue.client.queue import Queue
    from zeke_queue.core.options import SendOptions
    from zeke_queue.model import Job
    from zeke_queue.task.run import Run
    from zeke_queue.task.task import Task
    from zeke_sim.testing.pending import Pending
    from zeke_sim.world.node import Node

R = TypeVar("R")
T = TypeVar("T")

TRIES: Final = 100_000
"""Attempts of a call, one second apart: longer than any fault lasts."""


OPEN: Final = JobQuery(status=(JobStatus.QUEUED, JobStatus.EXECUTING), limit=1)

PAUSE_MAX: Final = 60.0
"""Maximum number of seconds between queries for jobs that have not ended."""


async def through_faults(call: Callable[[], Awaitable[Any]], pause: float = 1.0, tries: int = 200) -> Any:
    """Repeat a call until the storage answers."""
    for _ in range(tries):
        try:
            return await call()
        except StorageError:
            await asyncio.sleep(pause)  # noqa: TID251 - of the virtual loop, as an application would
    return await call()


class Client(PendingSender):
    """A client program of the application in a simulated world.

    Its calls are subject to every fault and retry until they are answered. ``queue`` makes the same calls
    without retries, so the program has to handle ``StorageUnavailableError``.

    Attributes:
        queue: the program's own queue.
        resources: the ``job.resources`` of this run's handlers, if the test created them.
        random: a random number generator seeded by the run.
    """

    def __init__(self, node: Node, resources: Any = None) -> None:
        super().__init__()
        self._node = node
        self._world = node.world
        self.queue: Queue = node.queue
        self.resources = resources
        self.random = random.Random(node.world.seed_of(f"{node.name}/workload"))  # noqa: S311

    @property
    def now(self) -> datetime:
        """The program's time, aware, in UTC."""
        return self._node.clock.now()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all processes: workers w1, w2 …, schedulers s1 …, maintenance v1 …."""
        return tuple(self._node.nodes)

    @overload
    def result(self, which: Run[R], timeout: float | None = None) -> Pending[R]: ...
    @overload
    def result(self, which: UUID, timeout: float | None = None) -> Pending[Any]: ...

    def result(self, which: Run[Any] | UUID, timeout: float | None = None) -> Pending[Any]:
        """Wait until a job has ended, and return its output; see ``zeke_queue.Run.result``."""
        return self._with_retries("result", lambda: self._result(which, timeout))

    def wait(self, which: Run[Any] | UUID, timeout: float | None = None) -> Pending[Job]:
        """Wait until a job has ended, in any state, and return it."""
        job_id = which if isinstance(which, UUID) else which.id

        async def wait() -> Job:
            try:
                await self._result(which, timeout)
            except JobFailedError as failed:
                return failed.job
            return await require(parts_of(self.queue).storage, job_id)

        return self._with_retries("wait", wait)

    def drain(self) -> Pending[None]:
        """Wait until all jobs have ended, including those sent by jobs."""

        async def drain() -> None:
            pause = 1.0
            while (await self.queue.find(OPEN)).jobs:
                await self._node.clock.sleep(pause)
                pause = min(2 * pause, PAUSE_MAX)

        return self._with_retries("drain", drain)

    def job(self, which: Run[Any] | UUID) -> Pending[Job]:
        """Return a job in its current state."""
        job_id = which if isinstance(which, UUID) else which.id
        return self._with_retries("job", lambda: require(parts_of(self.queue).storage, job_id))

    def cancel(self, which: Run[Any] | UUID) -> Pending[bool]:
        """Cancel a job, retrying until it is answered; see ``zeke_queue.Queue.cancel``."""
        job_id = which if isinstance(which, UUID) else which.id
        return self._with_retries("cancel", lambda: self.queue.cancel(job_id))

    def sleep(
        self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> Pending[None]:
        """Sleep for a virtual duration."""
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self._pending("sleep", self._node.clock.sleep(span.total_seconds()))

    # Controls of the world.

    def kill(self, node: str, *, back: float = 1.0) -> None:
        """Kill a process at once; a replacement starts ``back`` seconds later."""
        self._named(node).kill(back)

    def pause(self, node: str, seconds: float) -> None:
        """Freeze a process for ``seconds``."""
        self._named(node).pause(seconds)

    def stop(self, node: str) -> None:
        """Stop a process as SIGTERM does; a replacement starts when it has ended."""
        self._named(node).terminate()

    def partition(self, node: str, seconds: float) -> None:
        """Partition a process from the database for ``seconds``."""
        named = self._named(node)
        named.partition("partition")
        self._world.later(seconds, named.partition, None)

    async def _result(self, which: Run[Any] | UUID, timeout: float | None) -> Any:
        run = await self.queue.get_run(which) if isinstance(which, UUID) else which
        return await run.result(timeout)

    def _named(self, name: str) -> Node:
        node = self._node.nodes.get(name)
        if node is None or node.role == "client":
            known = ", ".join(one.name for one in self._node.nodes.values() if one.role != "client")
            raise UsageError(f"process: must be one of {known}, got {name!r}")
        return node

    def _sent(
        self, call: str, task: str | Task[Any, Any], payload: object, options: SendOptions
    ) -> Pending[Run[Any]]:
        options.setdefault("id", parts_of(self.queue).factory.new_id())
        send = getattr(self.queue, call)
        return self._with_retries(call, lambda: send(task, payload, **options))

    def _with_retries(self, name: str, call: Callable[[], Coroutine[Any, Any, T]]) -> Pending[T]:
        return self._pending(name, through_faults(call, tries=TRIES))
