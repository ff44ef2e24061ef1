"""A statement waits for another transaction's lock for a limited time, and has then changed nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import BOOM, Driver, is_kept_waiting, rolled_back, soon
from tests.conformance.storages import STORAGES
from zeke_queue.core.timeouts import LOCK_SECONDS
from zeke_queue.errors import LockTimeoutError
from zeke_queue.model import Extended, Failed, RowState
from zeke_queue.storage import Storage
from zeke_queue.storage.memory import MemoryStorage
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
