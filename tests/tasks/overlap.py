"""Two jobs on one story at a time, of which the second has its answer when the first keeps its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted import ScriptedAI
from zeke_queue.task.signals import Signal
from zeke_tasks.testing.web import ScriptedWeb

ASKS = ("analyze-story", "generate-brief")


@dataclass(frozen=True, slots=True)
class Started:
    """A job: its task, its payload, the AI that it asks, and its id."""

    task: str
    payload: dict[str, Any]
    ai: ScriptedAI
    id: UUID


async def overlap(domain: Domain, first: Started, second: Started) -> tuple[Any, Any]:
    """Run two jobs, and return what each returned, or the signal that it raised.

    The second waits with its answer until the first, also with an answer, has read the analysis of the
    story. Then the first pauses until the second has read it as well, or waits for the story's lock; so
    a reader without the lock has outdated rows when it writes.
    """
    asked, read, met = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def second_has_asked() -> None:
        if second.ai.asked[-1].what in ASKS:
            asked.set()
            await read.wait()

    async def first_reads(verb: str) -> None:
        if verb == "overlay" and first.ai.asked and first.ai.asked[-1].what in ASKS and not read.is_set():
            read.set()
            await met.wait()

    async def second_reads(verb: str) -> None:
        if verb == "overlay" and read.is_set():
            met.set()

    def second_begins(verb: str) -> None:
        if verb == "lock_story":
            met.set()

    second.ai.before = second_has_asked
    later = asyncio.create_task(_end(_Watched(domain, second.ai, second_begins, second_reads), second))
    later.add_done_callback(lambda _: (asked.set(), met.set()))
    await asked.wait()
    told = await _end(_Watched(domain, first.ai, _nothing, first_reads), first)
    read.set()
    return told, await later


class _Watched(Jobs):
    """Runs handlers, and reports when a verb of the store begins and ends."""

    def __init__(
        self,
        domain: Domain,
        ai: ScriptedAI,
        begins: Callable[[str], None],
        ended: Callable[[str], Awaitable[None]],
    ) -> None:
        super().__init__(domain, ScriptedWeb(), ai)
        self._begins = begins
        self._ended = ended
        watched: Any = self
        self.resources = replace(self.resources, repository=watched)

    def within(self, transaction: Any) -> Any:
        """Return the verbs of a transaction: it is the repository too."""
        return _Verbs(self.domain.repository.within(transaction), self._begins, self._ended)


class _Verbs:
    def __init__(
        self, inner: Any, begins: Callable[[str], None], ended: Callable[[str], Awaitable[None]]
    ) -> None:
        self._inner = inner
        self._begins = begins
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)

        async def watched(*args: Any, **kwargs: Any) -> Any:
            self._begins(name)
            answer = await verb(*args, **kwargs)
            await self._ended(name)
            return answer

        return watched


async def _end(jobs: Jobs, job: Started) -> Any:
    try:
        return await jobs.run(job.task, job.payload, job_id=job.id)
    except Signal as signal:
        return signal


def _nothing(_: str) -> None:
    pass
