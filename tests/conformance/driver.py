"""Operations for the tests of a storage: send, claim, complete, read; other arguments have defaults."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from tests.clocks import FrozenClock
from zeke_queue.model import (
    Claimed,
    Completed,
    ExpiredJob,
    Failed,
    Job,
    NewJob,
    QueueCapacity,
    Released,
    RowState,
    Schedule,
    Waiting,
    WorkerInfo,
)
from zeke_queue.storage import Storage
from zeke_queue.storage.jobs import JobWriter, Transaction
from zeke_queue.system.entropy import Ids, SeededEntropy

T = TypeVar("T")

ANNA = UUID("00000000-0000-7000-8000-00000000000a")
BERT = UUID("00000000-0000-7000-8000-00000000000b")

ENDS = [RowState.COMPLETED, RowState.EXPIRED, RowState.CANCELLED, RowState.FAILED]

BOOM = '{"type": "ValueError", "message": "boom", "traceback": null}'


class Driver:
    def __init__(self, storage: Storage, clock: FrozenClock) -> None:
        self.storage = storage
        self.clock = clock
        self.new_id = Ids(clock, SeededEntropy(1))

    def new(self, name: str = "mail", **options: Any) -> NewJob:
        return NewJob(**{"id": self.new_id(), "name": name, **options})

    async def send(self, name: str = "mail", *, within: JobWriter | None = None, **options: Any) -> UUID:
        """Send a job that must not be refused; returns its id."""
        job = self.new(name, **options)
        assert await (within or self.storage).insert([job]) == [job.id]
        return job.id

    async def refused(self, name: str = "mail", **options: Any) -> bool:
        """Send a job; return whether a uniqueness rule refused it."""
        return await self.storage.insert([self.new(name, **options)]) == [None]

    async def claim(
        self, *names: str, worker: UUID = ANNA, free: int = 100, limit: int = 100
    ) -> list[Claimed]:
        """Claim from these queues, or from "mail"."""
        return await self.storage.claim(
            worker, [QueueCapacity(name, free) for name in names or ("mail",)], limit
        )

    async def claim_one(self, name: str = "mail", worker: UUID = ANNA) -> Claimed:
        (claimed,) = await self.claim(name, worker=worker, limit=1)
        return claimed

    async def running(self, name: str = "mail", *, worker: UUID = ANNA, **options: Any) -> Claimed:
        """Send a job and claim it; nothing else may be due in its queue."""
        job_id = await self.send(name, **options)
        claimed = await self.claim_one(name, worker)
        assert claimed.id == job_id
        return claimed

    async def complete(self, job: Claimed, output: str | None = None, **how: Any) -> bool:
        """Complete a job; return whether the attempt was still current."""
        return await self.storage.settle(completed=[Completed(job.id, job.attempt, output)], **how) == {
            job.id
        }

    async def fail(
        self,
        job: Claimed,
        retry_in: float | None = None,
        output: str = BOOM,
        final: Any = RowState.FAILED,
        **how: Any,
    ) -> bool:
        """Fail a job, for good without ``retry_in``; return whether the attempt was still current."""
        failed = Failed(job.id, job.attempt, retry_in, output, final)
        return await self.storage.settle(failed=[failed], **how) == {job.id}

    async def release(self, job: Claimed, delay: float = 0.0, **how: Any) -> bool:
        """Release a job; return whether the attempt was still current."""
        return await self.storage.settle(released=[Released(job.id, job.attempt, delay)], **how) == {job.id}

    async def insert_child(self, parent: Claimed, name: str = "errand", **options: Any) -> UUID:
        """Send a child that its parent is going to wait for, which must not be refused; returns its id."""
        child = self.new(name, parent=parent.id, **options)
        assert await self.storage.insert_child(child, parent.attempt) == child.id
        return child.id

    async def wait_for(self, child: UUID, parent: Claimed, **how: Any) -> bool:
        """Make a running job wait for another one; return whether the attempt was still current."""
        done = await self.storage.suspend([Waiting(parent.id, parent.attempt, child)], **how)
        return done == ({parent.id}, {}, set())

    async def ended(self, state: RowState, name: str = "mail", **options: Any) -> UUID:
        """Send a job and bring it to a final state; returns its id."""
        job = await self.running(name, **options)
        if state is RowState.COMPLETED:
            assert await self.complete(job)
        elif state is RowState.CANCELLED:
            assert await self.storage.cancel([job.id]) == {job.id}
        else:
            assert await self.fail(job, final=state)
        return job.id

    async def look(self, job_id: UUID) -> Job:
        return (await self.storage.get([job_id]))[job_id]

    async def states(self, ids: Iterable[UUID]) -> list[RowState]:
        return [(await self.look(job_id)).row_state for job_id in ids]

    async def heartbeat(self, worker: UUID = ANNA, lease: float = 15.0) -> dict[UUID, int]:
        return await self.storage.heartbeat(WorkerInfo(worker, "host", 1, ("mail",), lease))


class Abandoned(Exception):
    """What a transaction is rolled back with."""


@asynccontextmanager
async def rolled_back(storage: Storage) -> AsyncIterator[Transaction]:
    with suppress(Abandoned):
        async with storage.transaction() as transaction:
            yield transaction
            raise Abandoned


def chosen(
    due: Iterable[NewJob], room: Mapping[str, int], limit: int, bytes_max: int | None
) -> Iterator[NewJob]:
    """Yield the jobs that a claim takes, by its definition, whatever a statement does instead.

    Args:
        due: in the order in which they became due.
        room: how many jobs may be taken of each queue.
    """
    left, bytes_left = dict(room), math.inf if bytes_max is None else bytes_max
    number = 0
    for job in sorted(due, key=lambda job: -job.priority):
        if number == limit or left[job.name] <= 0:
            continue
        bytes_left -= len(job.data or "")
        if number and bytes_left < 0:
            return
        left[job.name] -= 1
        number += 1
        yield job


async def lock_expired(storage: Storage, limit: int) -> list[ExpiredJob]:
    """Find expired jobs, in a transaction of its own."""
    async with storage.transaction() as transaction:
        return await transaction.lock_expired(limit)


async def lock_due_schedules(storage: Storage, limit: int) -> tuple[datetime, list[Schedule]]:
    """Find due schedules, in a transaction of its own."""
    async with storage.transaction() as transaction:
        return await transaction.lock_due_schedules(limit)


async def record_tick(storage: Storage, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
    """Record the ticks of a schedule, in a transaction of its own."""
    async with storage.transaction() as transaction:
        await transaction.record_tick(name, last_tick, next_tick)


async def is_kept_waiting(attempt: Awaitable[Any]) -> bool:
    """Return whether something still waits after a moment in which it could have finished."""
    _, waiting = await asyncio.wait([asyncio.ensure_future(attempt)], timeout=0.05)
    return bool(waiting)


async def soon(attempt: Awaitable[T]) -> T:
    """Return the result, or fail after two minutes: for calls that must not wait."""
    return await asyncio.wait_for(attempt, 120)
