"""Words for the tests of the Postgres storage: send and claim many jobs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import psycopg

from zeke_queue.model import Completed, NewJob, QueueCapacity
from zeke_queue.system.entropy import Ids, SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.model import Claimed
    from zeke_queue.storage.jobs import JobStore, JobWriter
    from zeke_queue.system.clock import Clock

ANNA = UUID("00000000-0000-7000-8000-00000000000a")
BERT = UUID("00000000-0000-7000-8000-00000000000b")


Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


class Sender:
    """A storage, in the words of the tests."""

    def __init__(self, storage: JobStore, clock: Clock) -> None:
        self.storage = storage
        self.new_id = Ids(clock, SystemEntropy())

    def new(self, name: str = "mail", **options: Any) -> NewJob:
        return NewJob(**{"id": self.new_id(), "name": name, "fresh": True, **options})

    async def send(
        self, times: int = 1, name: str = "mail", *, within: JobWriter | None = None, **options: Any
    ) -> list[UUID]:
        """Send ``number`` equal jobs, none of which may be refused; return their ids."""
        jobs = [self.new(name, **options) for _ in range(times)]
        sent = await (within or self.storage).insert(jobs)
        assert sent == [job.id for job in jobs]
        return [job.id for job in jobs]

    async def claim(
        self, limit: int = 100, *names: str, worker: UUID = ANNA, storage: JobStore | None = None
    ) -> list[Claimed]:
        """Claim ``number`` jobs from these queues, or from "mail"."""
        capacity = [QueueCapacity(name, limit) for name in names or ("mail",)]
        return await (storage or self.storage).claim(worker, capacity, limit)

    async def complete(self, claimed: Sequence[Claimed]) -> set[UUID]:
        return await self.storage.settle([Completed(job.id, job.attempt, '{"ok": true}') for job in claimed])
