"""A fuse that ends a handler at a chosen point: around any statement, commit, child, fetch or question."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.cases import check_each_async
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted import scripted_youtube
from zeke_queue.task.context import JobContext
from zeke_tasks.ai.client import AIClient
from zeke_tasks.fetch import Fetcher
from zeke_tasks.youtube import YouTube


class Killed(BaseException):
    """The process ended here; as with a real end, no error handler may see it."""


class Fuse:
    """Counts the points that a handler passes, and ends it at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self._at = at
        self.passed = 0

    def burn(self) -> None:
        if self.passed == self._at:
            raise Killed
        self.passed += 1

    def around(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return a call with a point before and one after it."""

        async def burning(*args: Any, **kwargs: Any) -> Any:
            self.burn()
            answer = await call(*args, **kwargs)
            self.burn()
            return answer

        return burning


class Burning:
    """An object whose coroutine methods have points around them; ``within`` gives another such object."""

    def __init__(self, inner: Any, fuse: Fuse, *calls: str) -> None:
        self._inner = inner
        self._fuse = fuse
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if self._calls and name not in self._calls:
            return found
        return self._fuse.around(found)


class BurningRepository:
    """A repository whose verbs have points around them."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def within(self, transaction: Any) -> Any:
        """Return the verbs of a transaction that has points itself."""
        return Burning(self._inner.within(transaction._inner), self._fuse)


class BurningJobs(Jobs):
    """Runs handlers with a fuse in everything that they touch."""

    def __init__(
        self,
        domain: Domain,
        web: Fetcher,
        fuse: Fuse,
        ai: AIClient | None = None,
        youtube: YouTube | None = None,
    ) -> None:
        youtube = youtube or scripted_youtube()
        captions: Any = Burning(youtube.captions, fuse, "captions")
        search: Any = Burning(youtube.search, fuse, "search")
        super().__init__(domain, web, ai, YouTube(captions, search))
        self._fuse = fuse
        self.resources = replace(
            self.resources,
            repository=BurningRepository(domain.repository, fuse),
            web=Burning(web, fuse, "fetch"),
            ai=Burning(self.resources.ai, fuse, "ask", "embed"),
        )

    async def child(self, job: JobContext, task: Any, payload: object, key: str, options: Any) -> Any:
        """Send a child that the job waits for, with a point before and after."""
        return await self._fuse.around(super().child)(job, task, payload, key, options)

    async def look(self, job: JobContext, job_id: UUID) -> Any:
        """Read a job, with a stopping point before and after: after it, a job reports that it waits."""
        return await self._fuse.around(super().look)(job, job_id)

    @asynccontextmanager
    async def transaction(
        self, job: JobContext, connection: Any = None, *, lock: bool = True
    ) -> AsyncGenerator[Any]:
        """Open a transaction with points around its sends and its commit."""
        async with super().transaction(job, connection, lock=lock) as transaction:
            yield Burning(transaction, self._fuse, "send", "send_many")
            self._fuse.burn()
        self._fuse.burn()


async def check_every_point(run: Callable[..., Awaitable[Any]]) -> Any:
    """Return what a whole run leaves, which one that is killed at any point and repeated leaves too."""
    whole = Fuse()
    once = await run(whole)
    # The shortest handler passes four: before and after its commit and one call in it.
    assert whole.passed > 3

    async def check(point: int) -> None:
        assert await run(Fuse(point), Fuse()) == once

    await check_each_async(range(whole.passed), check)
    return once
