"""A statement waits for another transaction's lock for a limited time, and has then changed nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BOOM, Driver, is_kept_waiting, rolled_back, soon
from tests.conformance.storages import STORAGES
from zeke_queue.core.timeouts import LOCK_SECONDS, LOCKS_TRIED
from zeke_queue.errors import LeaseLostError, LockTimeoutError
from zeke_queue.model import (
    FINAL,
    Completed,
    Extended,
    Failed,
    QueueCapacity,
    QueueSettings,
    Released,
    RowState,
    Settled,
    Waiting,
)
from zeke_queue.storage import Storage
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.memory.locks import Owner, queue_lock
from zeke_queue.storage.memory.transaction import MemoryTransaction
from zeke_queue.storage.postgres import PostgresStorage


@pytest.fixture(params=STORAGES)
async def opened(request: pytest.FixtureRequest, clock: FrozenClock) -> AsyncIterator[Storage]:
    """A storage that gives up locks after ``LOCK_SECONDS`` of the clock, or 50 ms of the server's."""
    if request.param == "memory":
        yield MemoryStorage(clock)
        return
    dsn = make_conninfo(request.getfixturevalue("emptied_dsn"), options="-c lock_timeout=50")
    async with PostgresStorage.open(dsn, min_size=1, max_size=4, now=clock.now) as storage:
        yield storage


async def is_given_up(jobs: Driver, attempt: Awaitable[Any]) -> bool:
    """Return whether a call ends with the error of a lock that is kept."""
    waiting = asyncio.ensure_future(attempt)
    if isinstance(jobs.storage, MemoryStorage):
        assert await is_kept_waiting(waiting)
        jobs.clock.advance(LOCK_SECONDS)
    try:
        await soon(waiting)
    except LockTimeoutError:
        return True
    return False


async def test_statement_gives_up_a_locked_row_and_changes_nothing(jobs: Driver) -> None:
    storage = jobs.storage
    job, parent = await jobs.running(), await jobs.running()
    child = await jobs.insert_child(parent)
    attempts = {
        "settle": lambda: jobs.complete(job),
        "fail": lambda: storage.settle(failed=[Failed(job.id, 1, None, BOOM)]),
        "release": lambda: jobs.release(job),
        "cancel": lambda: storage.cancel([job.id]),
        "extend": lambda: storage.extend([Extended(job.id, 1, 60.0)]),
        "suspend": lambda: jobs.wait_for(child, parent),
        "insert_child": lambda: jobs.insert_child(parent),
    }
    async with rolled_back(storage) as transaction:
        await transaction.cancel([job.id, parent.id])
        await check_each_async(attempts, lambda attempt: _check(jobs, attempt()))
    assert [(await jobs.look(one.id)).row_state for one in (job, parent)] == [RowState.ACTIVE] * 2
    assert await jobs.complete(job)


async def _check(jobs: Driver, attempt: Awaitable[Any]) -> None:
    assert await is_given_up(jobs, attempt)


async def test_attempt_that_has_ended_is_not_waited_for(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.release(job)
    assert (await jobs.claim_one()).attempt == 2
    async with rolled_back(storage) as transaction, rolled_back(storage) as other:
        assert await transaction.lock_attempt(job.id, 2)
        assert not await soon(other.lock_attempt(job.id, 1))
        with pytest.raises(LeaseLostError):
            await soon(jobs.insert_child(job))


async def test_insert_gives_up_a_key_of_an_open_transaction(storage: Storage, jobs: Driver) -> None:
    async with rolled_back(storage) as transaction:
        await jobs.send(within=transaction, singleton_key="anna")
        assert await is_given_up(jobs, jobs.send(singleton_key="anna"))
    await jobs.send(singleton_key="anna")


async def test_own_transaction_gives_up_and_an_application_waits(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()

    async def cancel_in_own() -> None:
        async with storage.transaction(own=True) as mine:
            await mine.cancel([job.id])

    async def cancel_in_application() -> None:
        async with storage.transaction() as theirs:
            await theirs.cancel([job.id])

    async with storage.transaction() as transaction:
        await transaction.lock_attempt(job.id, 1)
        assert await is_given_up(jobs, cancel_in_own())
        if isinstance(storage, MemoryStorage):  # Postgres applies the DSN's limit to applications too
            waiting = asyncio.ensure_future(cancel_in_application())
            assert await is_kept_waiting(waiting)
            jobs.clock.advance(LOCK_SECONDS)
            assert await is_kept_waiting(waiting)
            waiting.cancel()
    assert (await jobs.look(job.id)).row_state is RowState.ACTIVE


@asynccontextmanager
async def queue_locked(storage: Storage, name: str, dsn: str) -> AsyncIterator[None]:
    """Lock the row of a queue within the block, as an application's own statement may."""
    if isinstance(storage, MemoryStorage):
        async with rolled_back(storage) as transaction:
            assert isinstance(transaction, MemoryTransaction)
            assert transaction.lock(queue_lock(name))
            yield
    else:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute("select from pgboss.queue where name = %s for update", [name])
            yield
            await connection.rollback()


async def test_claim_says_if_it_left_out_a_locked_queue(
    storage: Storage, jobs: Driver, request: pytest.FixtureRequest
) -> None:
    dsn = "" if isinstance(storage, MemoryStorage) else request.getfixturevalue("emptied_dsn")

    async def claim(*names: str) -> tuple[list[str], bool]:
        claimed = await storage.claim(ANNA, [QueueCapacity(name, 9) for name in names], 9)
        return [job.name for job in claimed], claimed.left_out

    await storage.declare([QueueSettings("mail", 2), QueueSettings("free", None)], [])
    for name in ("mail", "free"):
        await jobs.send(name=name)
    async with queue_locked(storage, "mail", dsn):
        assert await claim("free") == (["free"], False)
        assert await claim("free", "mail") == ([], True)
        assert await claim("free") == ([], False)


async def test_locked_job_of_a_limited_queue_delays_no_other_queue(
    storage: Storage, jobs: Driver, request: pytest.FixtureRequest
) -> None:
    await storage.declare([QueueSettings("mail", 1), QueueSettings("other", 1)], [])
    locked, free = await jobs.send("mail"), await jobs.send("other")
    with row_locked(storage, locked, request):
        assert [job.id for job in await jobs.claim("mail", "other", limit=1)] == [free]


async def test_change_of_a_locked_queue_is_given_up(
    storage: Storage, jobs: Driver, request: pytest.FixtureRequest
) -> None:
    dsn = "" if isinstance(storage, MemoryStorage) else request.getfixturevalue("emptied_dsn")
    mail, other = QueueSettings("mail", 2), QueueSettings("other", 1)
    await storage.declare([mail], [])
    async with queue_locked(storage, "mail", dsn):
        await soon(storage.declare([mail, other], []))  # its row need not change
        assert await is_given_up(jobs, storage.declare([replace(mail, concurrency_limit=3)], []))
        assert await is_given_up(jobs, storage.pause_queue("mail", paused=True))
    assert await storage.queues() == [mail, other]


@pytest.mark.parametrize("opened", ["memory"], indirect=True)
async def test_time_for_a_lock_counts_from_the_first_wait(jobs: Driver) -> None:
    first, second = await jobs.running(), await jobs.running()
    async with rolled_back(jobs.storage) as outer:
        await outer.lock_attempt(second.id, 1)
        async with rolled_back(jobs.storage) as inner:
            await inner.lock_attempt(first.id, 1)
            cancelling = asyncio.ensure_future(jobs.storage.cancel([first.id, second.id]))
            assert await is_kept_waiting(cancelling)
            jobs.clock.advance(LOCK_SECONDS / 2)
        assert await is_kept_waiting(cancelling)
        jobs.clock.advance(LOCK_SECONDS / 2)
        with pytest.raises(LockTimeoutError):
            await soon(cancelling)


@contextmanager
def row_locked(storage: Storage, job_id: UUID, request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep a waiting job's row locked, and nothing else."""
    if isinstance(storage, MemoryStorage):
        owner = Owner()
        storage._locks.take(job_id, owner)
        yield
        storage._locks.release(owner)
        return
    with psycopg.connect(request.getfixturevalue("emptied_dsn")) as connection:
        connection.execute("select from pgboss.job where id = %s for update", [job_id])
        yield


async def test_locked_job_is_archived_later(
    storage: Storage, jobs: Driver, request: pytest.FixtureRequest
) -> None:
    locked, free = [await jobs.ended(RowState.COMPLETED) for _ in range(2)]
    jobs.clock.advance(60)
    with row_locked(storage, locked, request):
        assert await soon(storage.archive(30, 1)) == 1
        assert (await jobs.look(free)).archived_on is not None
        assert await soon(storage.archive(30, 1)) == 0
    assert await storage.archive(30, 1) == 1


# Settlements that skip locked jobs


async def settle(jobs: Driver, *outcomes: Completed | Failed | Released, repeated: bool = False) -> Settled:
    return await soon(
        jobs.storage.settle_unlocked(
            [one for one in outcomes if type(one) is Completed],
            [one for one in outcomes if type(one) is Failed],
            [one for one in outcomes if type(one) is Released],
            repeated=repeated,
        )
    )


async def test_locked_job_is_skipped_and_the_others_are_settled(storage: Storage, jobs: Driver) -> None:
    locked, done, failed, back, gone = [await jobs.running(f"queue-{n}") for n in range(5)]
    await storage.cancel([gone.id])
    outcomes = [
        Completed(locked.id, 1, "1"),
        Completed(done.id, 1, "2"),
        Failed(failed.id, 1, None, BOOM),
        Released(back.id, 1),
        Completed(gone.id, 1, None),
        Completed(done.id, 7, "3"),
    ]
    async with rolled_back(storage) as transaction:
        await transaction.lock_attempt(locked.id, 1)
        # The job that was cancelled and the one of another attempt are neither changed nor locked.
        settled = Settled({done.id, failed.id, back.id}, {locked.id})
        assert await settle(jobs, *outcomes) == settled
        # Repeated, those that were settled count again.
        assert await settle(jobs, *outcomes[:4], repeated=True) == settled
    states = [(await jobs.look(job.id)).row_state for job in (locked, done, failed, back, gone)]
    assert states == [
        RowState.ACTIVE,
        RowState.COMPLETED,
        RowState.FAILED,
        RowState.CREATED,
        RowState.CANCELLED,
    ]
    assert await settle(jobs, outcomes[0]) == ({locked.id}, set())
    assert (await jobs.look(done.id)).output == 2


async def test_job_locked_at_another_attempt_is_not_reported(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with rolled_back(storage) as transaction:
        await transaction.lock_attempt(job.id, 1)
        assert await settle(jobs, Completed(job.id, 2, None)) == (set(), set())


async def test_job_whose_slot_is_locked_is_skipped(storage: Storage, jobs: Driver) -> None:
    key = "__pgboss__singleton_queue"
    slotted, other, ended = await jobs.running(singleton_key=key), await jobs.running(), await jobs.running()
    async with rolled_back(storage) as transaction:
        await jobs.send(within=transaction, singleton_key=key)
        settled = await settle(
            jobs, Released(slotted.id, 1), Released(other.id, 1), Completed(ended.id, 1, None)
        )
        assert settled == ({other.id, ended.id}, {slotted.id})
    assert (await jobs.look(slotted.id)).row_state is RowState.ACTIVE
    assert await settle(jobs, Released(slotted.id, 1)) == ({slotted.id}, set())


@pytest.mark.nightly
async def test_many_locked_jobs_keep_no_free_one_from_being_stored(storage: Storage, jobs: Driver) -> None:
    key = "__pgboss__singleton_queue"
    number = LOCKS_TRIED + 2
    slotted = [await jobs.running(f"queue-{n}", singleton_key=key) for n in range(number)]
    parents = [await jobs.running(f"parents-{n}") for n in range(number)]
    children = [await jobs.insert_child(parent) for parent in parents]
    free, last = slotted.pop().id, parents[-1].id
    assert free == max(free, *(job.id for job in slotted))
    async with rolled_back(storage) as transaction:
        for job in slotted:
            await jobs.send(job.name, within=transaction, singleton_key=key)
        await transaction.cancel(children[:-1])
        settled = await settle(jobs, *(Released(job.id, 1) for job in slotted), Released(free, 1))
        assert settled == ({free}, {job.id for job in slotted})
        waiting = [Waiting(parent.id, 1, child) for parent, child in zip(parents, children, strict=True)]
        done = await soon(storage.suspend(waiting, skip_locked=True))
        assert done == ({last}, {}, {parent.id for parent in parents} - {last})


async def test_settlement_that_skips_locked_jobs_resumes_the_parent_unless_it_is_locked(
    storage: Storage, jobs: Driver, request: pytest.FixtureRequest
) -> None:
    for is_locked in (False, True):
        parent = await jobs.running()
        child_id = await jobs.insert_child(parent)
        assert await jobs.wait_for(child_id, parent)
        child = await jobs.claim_one("errand")
        with row_locked(storage, parent.id, request) if is_locked else nullcontext():
            assert await settle(jobs, Completed(child.id, 1, None)) == ({child.id}, set())
            assert [job.id for job in await jobs.claim()] == ([] if is_locked else [parent.id])
        assert await storage.resume_waiting(10) == is_locked


async def test_locked_job_is_not_suspended_and_the_others_are(storage: Storage, jobs: Driver) -> None:
    parents = [await jobs.running(f"queue-{n}") for n in range(4)]
    children = [await jobs.insert_child(parent) for parent in parents]
    waiting = [Waiting(parent.id, 1, child) for parent, child in zip(parents, children, strict=True)]
    async with rolled_back(storage) as transaction:
        await transaction.lock_attempt(parents[0].id, 1)
        await transaction.cancel([children[1]])
        missing = UUID(int=4711)
        asked = [*waiting[:3], Waiting(parents[3].id, 1, missing), Waiting(parents[2].id, 7, missing)]
        done = await soon(storage.suspend(asked, skip_locked=True))
        locked = {parents[0].id, parents[1].id}
        assert done == ({parents[2].id}, {parents[3].id: ()}, locked)
    done = await storage.suspend(waiting, repeated=True, skip_locked=True)
    assert done == ({parent.id for parent in parents}, {}, set())


async def test_end_is_stored_although_the_parent_stays_locked(
    storage: Storage, jobs: Driver, request: pytest.FixtureRequest
) -> None:
    parent = await jobs.running()
    child_id = await jobs.insert_child(parent)
    assert await jobs.wait_for(child_id, parent)
    child = await jobs.claim_one("errand")
    with row_locked(storage, parent.id, request):
        settling = asyncio.ensure_future(jobs.complete(child))
        if isinstance(storage, MemoryStorage):
            assert await is_kept_waiting(settling)
            jobs.clock.advance(LOCK_SECONDS)
        assert await soon(settling)
    assert await storage.resume_waiting(10) == 1


async def test_other_ends_of_a_job_wait_for_no_parent(
    storage: Storage, jobs: Driver, request: pytest.FixtureRequest
) -> None:
    key = "__pgboss__singleton_queue"

    async def check(how: str) -> None:
        parent = await jobs.running()
        child_id = await jobs.insert_child(parent, singleton_key=key)
        assert await jobs.wait_for(child_id, parent)
        child = await jobs.claim_one("errand")
        with row_locked(storage, parent.id, request):
            if how == "is cancelled":
                assert await soon(storage.cancel([child.id])) == {child.id}
            else:
                other = await jobs.send("errand", singleton_key=key)
                assert await soon(jobs.wait_for(await jobs.insert_child(child, "third"), child))
                assert await storage.cancel([other]) == {other}
        assert (await jobs.look(child.id)).row_state in FINAL
        assert await storage.resume_waiting(10) == 1
        assert [job.id for job in await jobs.claim()] == [parent.id]

    cases = ("is cancelled", "cannot return to waiting")
    await check_each_async({how: how for how in cases}, check)
