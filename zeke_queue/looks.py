"""Looks that many share: what is asked for while a query runs goes into the next one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from zeke_queue.pacing import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from zeke_queue.model import Job, JobEvent
    from zeke_queue.storage.store import Reader

Q = TypeVar("Q")
A = TypeVar("A")

LINES_AT_ONCE: Final = 1000
"""How many lines the storage returns by one look at most."""


class Looks:
    """Looks at a storage for many who ask at about the same time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._jobs = _Shared["UUID", "dict[UUID, Job]"](lambda asked: reader.get(list(dict.fromkeys(asked))))
        self._lines = _Shared["tuple[UUID, int]", "_Lines"](self._look_for_lines)

    async def job(self, job_id: UUID) -> Job | None:
        """Return a job."""
        return (await self._jobs.ask(job_id)).get(job_id)

    async def lines(self, job_id: UUID, after: int) -> tuple[list[JobEvent], bool]:
        """Return lines of a job with ``seq`` above ``after``, and whether there may be more."""
        found = await self._lines.ask((job_id, after))
        return [line for line in found.by_job.get(job_id, ()) if line.seq > after], found.cut

    async def close(self) -> None:
        """Let nobody wait any longer."""
        await self._jobs.close()
        await self._lines.close()

    async def _look_for_lines(self, asked: list[tuple[UUID, int]]) -> _Lines:
        """Look once for all, each job's from where the one begins who is farthest behind."""
        begin: dict[UUID, int] = {}
        for job_id, after in asked:
            begin[job_id] = min(after, begin.get(job_id, after))
        return _Lines(await self._reader.events_of(begin))


class _Lines:
    """What one look found."""

    def __init__(self, lines: list[JobEvent]) -> None:
        self.cut = len(lines) >= LINES_AT_ONCE
        self.by_job: dict[UUID, list[JobEvent]] = {}
        for line in lines:
            self.by_job.setdefault(line.job_id, []).append(line)


class _Shared(Generic[Q, A]):
    """One query at a time for all who ask."""

    def __init__(self, query: Callable[[list[Q]], Awaitable[A]]) -> None:
        self._query = query
        self._asked: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: asyncio.Task[Any] | None = None

    async def ask(self, question: Q) -> A:
        """Return the answer to all that is asked for together.

        Raises:
            StorageError: there is none.
        """
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._asked.append((question, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        return await answer

    async def close(self) -> None:
        if self._running is not None:
            await end(self._running)

    async def _run(self) -> None:
        asked: list[tuple[Q, asyncio.Future[A]]] = []
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                try:
                    answer = await self._query([question for question, _ in asked])
                except Exception as error:  # noqa: BLE001 - it is raised again, by all who asked
                    _tell(asked, lambda waiting, error=error: waiting.set_exception(error))
                else:
                    _tell(asked, lambda waiting, answer=answer: waiting.set_result(answer))
        finally:
            _tell([*asked, *self._asked], lambda waiting: waiting.cancel())


def _tell(asked: list[tuple[Q, asyncio.Future[A]]], how: Callable[[asyncio.Future[A]], object]) -> None:
    for _, waiting in asked:
        if not waiting.done():
            how(waiting)
