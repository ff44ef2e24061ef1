"""Transactions of jobs, which commit only while their attempt owns the job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any
from uuid import UUID

import pytest

from tests.runtime.workers.place import Place, advance_until, turns
from zeke_queue.core.timeouts import BLOCK_SECONDS, LOCK_SECONDS
from zeke_queue.errors import LeaseLostError, LockTimeoutError, StorageUnavailableError, UsageError
from zeke_queue.model import Extended, RowState
from zeke_queue.storage.memory import MemoryStorage
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


async def test_transaction_does_not_commit_after_the_lease_has_ended(place: Place) -> None:
    @place.catalog.task("cost")
    async def cost() -> None: ...

    @place.catalog.task("note")
    async def note(job: JobContext) -> None:
        async with job.transaction() as transaction:
            await transaction.send("cost")
            if job.attempt == 1:
                place.clock.advance(60)  # the process hangs

    async with place.working(lease=15, heartbeat_interval=5):
        job_id = await place.send(note)
        await advance_until(lambda: place.state(job_id) is RowState.COMPLETED, place.clock)
    rows = [(row.name, row.attempt) for row in place.storage.dump().jobs]
    assert sorted(name for name, _ in rows) == ["cost", "note"]
    assert ("note", 2) in rows


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
        with nullcontext() if commits else pytest.raises(ZeroDivisionError):
            async with job.transaction():
                place.clock.advance(20)
                go.set()
                await extended.wait()
                place.clock.advance(20)
                await turns()
                if not commits:
                    raise ZeroDivisionError
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


async def test_blocks_of_one_handler_are_opened_one_after_the_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, most, order = 0, 0, list[str]()
    open_transaction = place.storage.transaction

    @asynccontextmanager
    async def counted(*args: Any, **options: Any) -> AsyncIterator[Any]:
        nonlocal opened, most
        async with open_transaction(*args, **options) as transaction:
            opened += 1
            most = max(most, opened)
            try:
                yield transaction
            finally:
                opened -= 1

    @place.catalog.task("note", retry_limit=0)
    async def note(job: JobContext) -> None:
        async def work(name: str) -> None:
            for _ in range(2):
                async with job.transaction():
                    order.append(name)
                    await turns(5)

        working = [asyncio.ensure_future(work(name)) for name in "abcd"]
        await turns(3)
        working[1].cancel()  # while it waits
        working[0].cancel()  # in its block
        await asyncio.wait(working)
        async with job.transaction():
            with pytest.raises(UsageError, match=r"job\.transaction inside a transaction"):
                async with job.transaction():
                    pass

    monkeypatch.setattr(place.storage, "transaction", counted)
    assert (await place.run_one(note)).row_state is RowState.COMPLETED
    assert order == ["a", "c", "d", "c", "d"]
    assert most == 1


async def test_block_that_waits_for_another_task_of_its_handler_does_not_wait_forever(place: Place) -> None:
    said: list[str] = []

    @place.catalog.task("note", retry_limit=0)
    async def note(job: JobContext) -> None:
        async def work() -> None:
            async with job.transaction(lock=False):
                unlocked.set()
            async with job.transaction():
                pass

        unlocked = asyncio.Event()
        working = asyncio.ensure_future(work())
        async with job.transaction():
            await unlocked.wait()
            await turns()
            place.clock.advance(BLOCK_SECONDS)
            with pytest.raises(LockTimeoutError) as refused:
                await working
            said.append(str(refused.value))
        await work()

    assert (await place.run_one(note)).row_state is RowState.COMPLETED
    (text,) = said
    assert text.startswith(
        "job.transaction() waited 60 s for blocks of other tasks of its handler: keep them short"
    )


async def test_deadline_goes_back_when_the_transaction_is_cancelled(place: Place) -> None:
    seen: list[bool] = []

    @place.catalog.task("note", expire_in=30)
    async def note(job: JobContext) -> None:
        extended = asyncio.Event()

        async def write() -> None:
            async with job.transaction():
                await job.extend(600)
                extended.set()
                await asyncio.Event().wait()

        before = job.deadline
        writing = asyncio.ensure_future(write())
        await extended.wait()
        seen.append(job.deadline > before)
        writing.cancel()
        await asyncio.wait([writing])
        seen.append(job.deadline == before)

    await place.run_one(note)
    assert seen == [True, True]


@pytest.mark.parametrize("error", [StorageUnavailableError("away"), RuntimeError("refused by a trigger")])
@pytest.mark.parametrize("passed", [10, 40])
async def test_deadline_goes_back_when_the_job_can_not_be_extended_after_a_rollback(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception, passed: int
) -> None:
    """If the stored deadline has passed, the handler gets the time in which the job can be extended."""
    seen: list[float] = []

    async def fail(*_: Any, **__: Any) -> None:
        raise error

    @place.catalog.task("note", expire_in=30, retry_limit=0)
    async def note(job: JobContext) -> None:
        async def write() -> None:
            async with job.transaction():
                await job.extend(600)
                place.clock.advance(passed)
                monkeypatch.setattr(MemoryStorage, "extend", fail)
                raise ZeroDivisionError

        began = place.clock.monotonic()
        with pytest.raises(ZeroDivisionError):
            await write()
        seen.append(job.deadline - began)

    await place.run_one(note)
    assert seen == [max(30, passed + LOCK_SECONDS)]


async def test_extension_gives_the_transaction_more_time_without_a_statement(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes while the statement of an earlier one is under way does so too."""
    asked: list[float | None] = []
    answers = asyncio.Event()
    lock = MemoryTransaction.lock_attempt

    async def locks(
        self: MemoryTransaction, job_id: UUID, attempt: int, idle_timeout: float | None = None
    ) -> bool:
        asked.append(idle_timeout)
        if len(asked) == 2:
            await answers.wait()
        return await lock(self, job_id, attempt, idle_timeout)

    monkeypatch.setattr(MemoryTransaction, "lock_attempt", locks)

    @place.catalog.task("note", expire_in=30)
    async def note(job: JobContext) -> None:
        async with job.transaction():
            await job.extend(100)
            await turns()
            await job.extend(600)
            answers.set()
            await turns()

    await place.run_one(note)
    assert asked == [30, 100, 600]


async def test_extension_under_way_when_the_transaction_locks_the_job_waits_for_one_lock_at_most(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, go = asyncio.Event(), asyncio.Event()
    extended: list[bool] = []
    lock = MemoryTransaction.lock_attempt

    async def locks(
        self: MemoryTransaction, job_id: UUID, attempt: int, idle_timeout: float | None = None
    ) -> bool:
        answer = await lock(self, job_id, attempt, idle_timeout)
        locked.set()
        await go.wait()
        return answer

    monkeypatch.setattr(MemoryTransaction, "lock_attempt", locks)

    @place.catalog.task("note", expire_in=30, retry_limit=0)
    async def note(job: JobContext) -> None:
        async def extend() -> None:
            await locked.wait()
            await job.extend(600)

        extending = asyncio.ensure_future(extend())
        await turns()  # so that it begins outside of the block
        opening = job.transaction()
        locking = asyncio.ensure_future(opening.__aenter__())
        await locked.wait()
        await turns()
        go.set()
        await locking
        await place.advance(1, LOCK_SECONDS)
        extended.append(extending.done())
        await opening.__aexit__(None, None, None)
        await extending

    await place.run_one(note)
    assert extended == [True]


@pytest.mark.parametrize("begins", ["before", "inside"])
async def test_extension_during_the_last_statement_of_the_transaction_is_stored(
    place: Place, monkeypatch: pytest.MonkeyPatch, begins: str
) -> None:
    """The task that extends the job begins before the block or inside it, whose transaction it inherits."""
    storing, go = asyncio.Event(), asyncio.Event()
    overdue: list[object] = []
    extend = MemoryTransaction.extend

    async def extends(self: MemoryTransaction, extended: Sequence[Extended]) -> set[UUID]:
        changed = await extend(self, extended)
        storing.set()
        await go.wait()
        return changed

    monkeypatch.setattr(MemoryTransaction, "extend", extends)

    @place.catalog.task("note", expire_in=30, retry_limit=0)
    async def note(job: JobContext) -> None:
        async def extend_again() -> None:
            await storing.wait()
            await job.extend(600)

        async def answer() -> None:
            await storing.wait()
            await turns()
            go.set()

        answering = asyncio.ensure_future(answer())
        tasks = [asyncio.ensure_future(extend_again())] if begins == "before" else []
        await turns()
        async with job.transaction():
            if begins == "inside":
                tasks.append(asyncio.ensure_future(extend_again()))
            await job.extend(30)
        await asyncio.gather(answering, *tasks)
        place.clock.advance(500)
        async with place.storage.transaction(own=True) as sweep:
            overdue.extend(await sweep.lock_expired(10))

    assert (await place.run_one(note)).row_state is RowState.COMPLETED
    assert overdue == []
