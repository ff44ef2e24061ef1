"""A transaction that locks its attempt, in a process that hangs: the server rolls it back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.cases import check_each_async
from tests.runtime.workers.place import turns, until
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import Completed

if TYPE_CHECKING:
    from tests.postgres.many_jobs import Connection, Sender
    from zeke_queue.storage.postgres import PostgresStorage

ALIVE = "select from pg_stat_activity where pid = %s"


async def test_idle_transaction_of_an_attempt_is_rolled_back_by_the_server(
    jobs: Sender, storage: PostgresStorage, sql: Connection
) -> None:
    await jobs.send(1)
    (job,) = await jobs.claim(1)

    async def freeze() -> None:
        async with storage.transaction() as transaction:
            assert await transaction.lock_attempt(job.id, job.attempt, 0.05)
            pid = transaction.connection.info.backend_pid
            await until(lambda: sql.execute(ALIVE, [pid]).fetchone() is None)

    with pytest.raises(StorageUnavailableError):
        await freeze()
    assert await storage.settle([Completed(job.id, job.attempt, None)]) == {job.id}


async def test_shorter_timeout_of_the_server_stays(jobs: Sender, storage: PostgresStorage) -> None:
    async def check(setting: str) -> None:
        await jobs.send(1)
        (job,) = await jobs.claim(1)
        async with storage.transaction() as transaction:
            connection = transaction.connection
            await connection.execute(f"set local idle_in_transaction_session_timeout = '{setting}'")
            assert await transaction.lock_attempt(job.id, job.attempt, 100)
            found = await connection.execute("show idle_in_transaction_session_timeout")
            assert await found.fetchone() == ("50s" if setting == "50s" else "100s",)
        async with storage.transaction() as transaction:
            found = await transaction.connection.execute("show idle_in_transaction_session_timeout")
            assert await found.fetchone() != ("100s",)

    await check_each_async(["0", "50s", "1h"], check)


async def test_later_call_gives_the_transaction_more_time(jobs: Sender, storage: PostgresStorage) -> None:
    async def check(setting: str) -> None:
        await jobs.send(1)
        (job,) = await jobs.claim(1)
        found: list[str] = []
        async with storage.transaction() as transaction:
            connection = transaction.connection
            await connection.execute(f"set local idle_in_transaction_session_timeout = '{setting}'")
            for seconds in (30, 600, 40):
                assert await transaction.lock_attempt(job.id, job.attempt, seconds)
                cursor = await connection.execute("show idle_in_transaction_session_timeout")
                found += await cursor.fetchone()
        assert found == (["30s", "50s", "40s"] if setting == "50s" else ["30s", "10min", "40s"])

    await check_each_async(["0", "50s", "1h"], check)


async def test_longest_deadline_can_be_a_timeout(jobs: Sender, storage: PostgresStorage) -> None:
    await jobs.send(1)
    (job,) = await jobs.claim(1)
    async with storage.transaction() as transaction:
        assert await transaction.lock_attempt(job.id, job.attempt, 2**31)


async def test_call_during_a_copy_takes_effect_after_it(jobs: Sender, storage: PostgresStorage) -> None:
    await jobs.send(1)
    (job,) = await jobs.claim(1)
    async with storage.transaction() as transaction:
        connection = transaction.connection
        await connection.execute("create temporary table copied (number int)")
        async with connection.cursor() as cursor:
            async with cursor.copy("copy copied from stdin") as copy:
                locking = asyncio.ensure_future(transaction.lock_attempt(job.id, job.attempt, 100))
                await turns()
                assert not locking.done()
                await copy.write("1\n")
            assert await locking
        found = await connection.execute("show idle_in_transaction_session_timeout")
        assert await found.fetchone() == ("100s",)
