"""One job at a time, without a worker: a handler runs as in a worker, and a test sees where it stops.

What a worker adds (claims, retries, concurrency) is tested with one; here a test wants to stop a handler
between any two statements, or to inspect its error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, Final, TypeVar
from uuid import UUID

from tests.tasks.domain import Domain, memory_domain
from tests.tasks.scripted import ScriptedAI, scripted_youtube
from zeke_queue.client.queue import Queue
from zeke_queue.core.options import SendOptions
from zeke_queue.model import Claimed, Job, JobQuery
from zeke_queue.storage.inspect import require
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.run import Run
from zeke_queue.task.senders import Transaction
from zeke_tasks.ai.client import AIClient
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import Context, inline
from zeke_tasks.fetch import Fetcher
from zeke_tasks.store.retention import Retention
from zeke_tasks.testing.web import ScriptedWeb
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch
from zeke_tasks.youtube import YouTube

T = TypeVar("T")

EVERYTHING_IS_OLD: Final = Retention.model_construct(
    zeke_delete_stories_after=-1.0, zeke_delete_runs_after=-1.0, zeke_delete_spending_after=-1.0
)
"""Makes ``apply-retention`` delete also what was written at this moment."""

CALM: Final[dict[str, Any]] = {"watchdog": None, "lease": 1e9, "heartbeat_interval": 1e8}
"""Options of a worker on a clock that jumps."""


@cache
def _catalog_and_settings() -> tuple[Catalog, Settings]:
    """Return the parts that all jobs share and that are slow to create."""
    return build_catalog(scheduled=False), Settings.load()


class Jobs:
    """Runs the catalog's handlers on a domain store, a web, an AI and YouTube."""

    def __init__(
        self,
        domain: Domain,
        web: Fetcher | None = None,
        ai: AIClient | None = None,
        youtube: YouTube | None = None,
    ) -> None:
        self.domain = domain
        self.resources = Context(
            domain.repository,
            web or ScriptedWeb(),
            domain.clock,
            inline,
            ai or StubClient(),
            youtube=youtube or scripted_youtube(),
            retention=EVERYTHING_IS_OLD,
        )
        catalog, settings = _catalog_and_settings()
        self.queue = Queue(catalog, domain.storage, clock=domain.clock, settings=settings)

    @property
    def web(self) -> ScriptedWeb:
        return _scripted(self.resources.web, ScriptedWeb)

    @property
    def ai(self) -> ScriptedAI:
        return _scripted(self.resources.ai, ScriptedAI)

    @property
    def captions(self) -> ScriptedCaptions:
        return _scripted(self.resources.youtube and self.resources.youtube.captions, ScriptedCaptions)

    @property
    def search(self) -> ScriptedSearch:
        return _scripted(self.resources.youtube and self.resources.youtube.search, ScriptedSearch)

    async def run(
        self,
        task: str,
        payload: Any = None,
        *,
        job_id: UUID | None = None,
        retries: int = 0,
        attempt: int | None = None,
    ) -> Any:
        """Run a task's handler once; return its result or raise its error."""
        found = self.queue.catalog.get(task)
        claimed = Claimed(
            id=job_id or self.domain.new_id(),
            name=found.name,
            data=None,
            attempt=retries + 1 if attempt is None else attempt,
            priority=0,
            retry_count=retries,
            retry_limit=3,
            retry_delay=1,
            retry_backoff=True,
            retry_delay_max=None,
            expire_in=60.0,
            start_after=self.domain.clock.now(),
            parent=None,
            meta=None,
        )
        job = StandaloneContext(claimed, found.name, self)
        return await found.handler(found.validate(payload), job)

    async def sent(self, task: str) -> list[Job]:
        """Return the jobs of a task that were sent, oldest first."""
        return ((await self.queue.find(JobQuery(names=(task,), limit=1000))).jobs)[::-1]

    def worked(self) -> Queue:
        """Return a queue whose workers run the handlers on these resources."""

        @asynccontextmanager
        async def resources() -> AsyncIterator[Context]:
            yield self.resources

        return queue_of(build_catalog(resources, scheduled=False), self.domain)

    # What its jobs do, for tests to intercept

    @asynccontextmanager
    async def transaction(
        self, job: JobContext, connection: Any = None, *, lock: bool = True
    ) -> AsyncGenerator[Transaction]:
        """Open a transaction whose jobs are children; it locks the job, if that is stored."""
        async with self.queue.transaction(connection, parent=job.id) as transaction:
            if lock and await self.domain.storage.get([job.id]):
                await transaction.lock_attempt(job.id, job.attempt)
            yield transaction

    async def child(self, job: JobContext, task: Any, payload: object, key: str, options: Any) -> Run[Any]:
        """Send a child that the job waits for."""
        merged: Any = {"id": job.child_id(key), **options}
        return await job.trigger(task, payload, **merged)

    async def look(self, job: JobContext, job_id: UUID) -> Job:
        """Return a stored job."""
        del job
        return await require(self.domain.storage, job_id)


def queue_of(catalog: Catalog, domain: Domain) -> Queue:
    settings = Settings.load()
    return Queue(catalog, domain.storage, clock=domain.clock, entropy=SeededEntropy(1), settings=settings)


class StandaloneContext(JobContext[Context]):
    """The context of a job that no worker runs: jobs that it sends are inserted, the rest is discarded."""

    def __init__(self, claimed: Claimed, task: str, jobs: Jobs) -> None:
        super().__init__(claimed, task, jobs.domain.clock.monotonic() + 60)
        self._jobs = jobs

    @property
    def resources(self) -> Context:
        return self._jobs.resources

    def transaction(
        self, connection: Any = None, *, lock: bool = True
    ) -> AbstractAsyncContextManager[Transaction]:
        return self._jobs.transaction(self, connection, lock=lock)

    def run_coroutine(self, coroutine: Any) -> Any:
        raise NotImplementedError  # no handler here runs in a thread

    def _report(self, value: float, message: str | None) -> None: ...

    def _store_line(self, level: str, message: str, fields: Mapping[str, Any]) -> None: ...

    async def _extend(self, seconds: float) -> None: ...

    async def _send(self, task: Any, payload: object, options: SendOptions, *, insist: bool) -> Run[Any]:
        send = self._jobs.queue.trigger if insist else self._jobs.queue.send
        return await send(task, payload, **{"parent": self.id, **options})

    async def _start_child(self, task: Any, payload: object, key: str, options: Any) -> Run[Any]:
        return await self._jobs.child(self, task, payload, key, options)

    async def _get(self, job_id: UUID) -> Job:
        return await self._jobs.look(self, job_id)


def memory_jobs(domain: Domain | None = None) -> Jobs:
    """Return jobs on a store in memory, by default an empty one, over doubles that a test scripts."""
    youtube = YouTube(ScriptedCaptions(), ScriptedSearch())
    return Jobs(domain or memory_domain(), ScriptedWeb(), ScriptedAI(), youtube)


def _scripted(part: object, kind: type[T]) -> T:
    assert isinstance(part, kind)
    return part
