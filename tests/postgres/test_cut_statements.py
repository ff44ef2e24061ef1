"""A statement that the server interrupts is not at fault: a worker repeats it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cases import check_each_async
from zeke_queue.core.timeouts import LOCKS_TRIED
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.postgres import PostgresStorage

if TYPE_CHECKING:
    from tests.postgres.many_jobs import Connection, Sender


CANCEL_WHO_WAITS = (
    "select pg_cancel_backend(pid) from pg_stat_activity"
    " where datname = current_database() and wait_event_type = 'Lock'"
)


async def test_timeout_of_the_server_is_a_temporary_failure(dsn: str, sql: Connection) -> None:
    async def check(setting: str) -> None:
        async with PostgresStorage.open(make_conninfo(dsn, options=f"-c {setting}=50")) as storage:
            with sql.transaction():
                sql.execute("lock table pgboss.queue in access exclusive mode")
                with pytest.raises(StorageUnavailableError, match=f"{setting.partition('_')[0]} timeout.*"):
                    await storage.queues()
            assert await storage.queues() == []

    await check_each_async(["lock_timeout", "statement_timeout"], check)


async def test_cancelled_statement_is_a_temporary_failure(jobs: Sender, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        other.execute("lock table pgboss.job in access exclusive mode")
        claiming = asyncio.create_task(jobs.claim(1))
        async with asyncio.timeout(30), await psycopg.AsyncConnection.connect(dsn, autocommit=True) as third:
            while not await (await third.execute(CANCEL_WHO_WAITS)).fetchall():
                pass
        with pytest.raises(StorageUnavailableError, match=r"at a time limit: .*user request"):
            await claiming
        other.rollback()
    (sent,) = await jobs.send(1)
    assert [job.id for job in await jobs.claim(1)] == [sent]


async def test_settlement_beside_many_locks_waits_hardly_for_the_rest(storage: PostgresStorage) -> None:
    waits: list[str] = []
    async with storage.transaction(own=True) as transaction:
        for tried in (LOCKS_TRIED - 1, LOCKS_TRIED):
            await transaction.wait_briefly(tried)
            cursor = await transaction.connection.execute("show lock_timeout")
            waits += [wait for (wait,) in await cursor.fetchall()]
    assert waits == ["100ms", "1ms"]


async def test_timeout_set_by_the_application_raises_its_own_error(storage: PostgresStorage) -> None:
    async def too_long() -> None:
        async with storage.transaction() as transaction:
            await transaction.connection.execute("set local statement_timeout = 20")
            await transaction.connection.execute("select pg_sleep(30)")

    with pytest.raises(psycopg.errors.QueryCanceled):
        await too_long()
