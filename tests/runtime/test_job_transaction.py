"""Transactions of jobs, which commit only while their attempt owns the job."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.runtime.workers.place import Place, turns
from zeke_queue.errors import LeaseLostError, UsageError
from zeke_queue.model import RowState
from zeke_queue.storage.memory.transaction import MemoryTransaction
from zeke_queue.task.context import JobContext


async def test_lost_attempt_cannot_open_a_transaction(place: Place) -> None:
    said: list[str] = []

    @place.catalog.task("note", retry_limit=0)
    async def note(job: JobContext) -> None:
        await place.queue.cancel(job.id)
        try:
            async with job.transaction() as transaction:
                await transaction.send("note")
        except LeaseLostError as error:
            said.append(str(error))
            raise

    job = await place.run_one(note)
    assert said == [str(LeaseLostError.of(job.id))]
    assert len(place.storage.dump().jobs) == 1


async def test_unlocked_transaction_of_a_lost_attempt_commits(place: Place) -> None:
    @place.catalog.task("cost")
    async def cost() -> None: ...

    @place.catalog.task("note", retry_limit=0)
    async def note(job: JobContext) -> None:
        await place.queue.cancel(job.id)
        async with job.transaction(lock=False) as transaction:
            await transaction.send("cost")

    await place.run_one(note)
    assert sorted(row.name for row in place.storage.dump().jobs) == ["cost", "note"]


async def test_job_is_not_cancelled_during_its_transaction(place: Place) -> None:
    seen: list[bool] = []

    @place.catalog.task("note", retry_limit=0)
    async def note(job: JobContext) -> None:
        async with job.transaction():
            cancels = asyncio.ensure_future(place.storage.cancel([job.id]))
            await turns()
            seen.append(cancels.done())
        seen.append(await cancels == {job.id})

    assert (await place.run_one(note)).row_state is RowState.CANCELLED
    assert seen == [False, True]


async def test_transaction_may_be_idle_until_the_deadline(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []
    lock = MemoryTransaction.lock_attempt

    async def locks(
        self: MemoryTransaction, job_id: UUID, attempt: int, idle_timeout: float | None = None
    ) -> bool:
        asked.append(idle_timeout)
        return await lock(self, job_id, attempt, idle_timeout)

    monkeypatch.setattr(MemoryTransaction, "lock_attempt", locks)

    @place.catalog.task("note", expire_in=30)
    async def note(job: JobContext) -> None:
        async with job.transaction():
            pass
        place.clock.advance(9.5)
        async with job.transaction():
            pass
        await job.extend(100)
        async with job.transaction():
            pass

    await place.run_one(note)
    assert asked == [30, 21, 100]


@pytest.mark.parametrize("commits", [True, False])
async def test_job_is_extended_from_beside_its_transaction(
    place: Place,
    commits: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A task of the handler extends the job every now and then; it has begun before the block.

    The block raises if it does not commit.
    """
    go, extended = asyncio.Event(), asyncio.Event()
    overdue: list[object] = []

    @place.catalog.task("note", expire_in=30, retry_limit=0)
    async def note(job: JobContext) -> None:
        async def extend() -> None:
            await go.wait()
            await job.extend(30)
            extended.set()

        extending = asyncio.ensure_future(extend())
        await turns()
        try:
            async with job.transaction():
                place.clock.advance(20)
                go.set()
                await extended.wait()
                place.clock.advance(20)
                await turns()
                assert commits
        except AssertionError:
            pass
        await extending
        async with place.storage.transaction(own=True) as sweep:
            overdue.extend(await sweep.lock_expired(10))

    job = await place.run_one(note)
    assert (job.row_state, overdue) == (RowState.COMPLETED, [])


async def test_child_beside_the_transaction_of_its_parent_is_refused_at_once(place: Place) -> None:
    said: list[str] = []

    @place.catalog.task("cost")
    async def cost() -> None: ...

    @place.catalog.task("note", retry_limit=0)
    async def note(job: JobContext) -> None:
        go = asyncio.Event()

        async def start() -> None:
            await go.wait()
            await job.start_child(cost)

        starting = asyncio.ensure_future(start())
        async with job.transaction():
            go.set()
            with pytest.raises(UsageError, match="needs the row of the job") as refused:
                await starting
            said.append(str(refused.value))

    assert (await place.run_one(note)).row_state is RowState.COMPLETED
    assert len(said) == 1
