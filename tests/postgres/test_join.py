"""Jobs in a transaction of the application, which commits or rolls it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import product
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine

from tests.cases import check_each_async
from tests.conformance.planting import EMPTY
from tests.postgres.many_jobs import ANNA, Sender
from tests.postgres.sqlalchemy_url import url
from zeke_queue.errors import UsageError
from zeke_queue.model import Failed, RowState
from zeke_queue.storage.postgres import PostgresStorage

Opened = Callable[[], AbstractAsyncContextManager[Any]]
InEach = Callable[[Callable[[Opened], Awaitable[None]]], Awaitable[None]]

KEY = "__pgboss__singleton_queue"


class OwnSession(AsyncSession):
    """As packages on SQLAlchemy have them."""


class Undone(Exception):
    """What a transaction is rolled back with."""


APPLICATIONS = [
    "psycopg",
    "pipeline+psycopg",
    "alchemy+psycopg",
    "alchemy+asyncpg",
    "session+psycopg",
    "session+asyncpg",
    "scoped+psycopg",
]


def application(dsn: str, name: str) -> Opened:
    """Return an application's transaction, begun by its first statement, which ends with its block."""
    kind, _, driver = name.partition("+")

    @asynccontextmanager
    async def on_psycopg() -> AsyncIterator[Any]:
        async with await AsyncConnection.connect(dsn) as connection:
            if kind == "pipeline":
                async with connection.pipeline():
                    yield connection
            else:
                yield connection

    @asynccontextmanager
    async def on_alchemy() -> AsyncIterator[Any]:
        engine = create_async_engine(url(dsn, driver))
        try:
            if kind == "session":
                async with OwnSession(engine) as session, session.begin():
                    yield session
            elif kind == "scoped":
                scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
                async with scoped.begin():
                    yield scoped
                await scoped.remove()
            else:
                async with engine.begin() as connection:
                    yield connection
        finally:
            await engine.dispose()

    return on_alchemy if kind in {"alchemy", "session", "scoped"} else on_psycopg


@pytest.fixture
def in_each_application(dsn: str, sql: psycopg.Connection[Any]) -> InEach:
    """Run a check in an application's transaction of every kind, each time on empty tables."""

    async def check_all(check: Callable[[Opened], Awaitable[None]]) -> None:
        async def check_one(name: str) -> None:
            sql.execute(EMPTY)
            await check(application(dsn, name))

        await check_each_async(APPLICATIONS, check_one)

    return check_all


async def test_jobs_of_each_block_exist_after_the_commit_and_not_before(
    storage: PostgresStorage, jobs: Sender, in_each_application: InEach
) -> None:
    async def check(application: Opened) -> None:
        async with application() as connection:
            async with storage.transaction(connection) as transaction:
                (first,) = await jobs.send(within=transaction, data='{"to": "ann"}', meta='{"a": 1}')
            async with storage.transaction(connection) as transaction:
                (second,) = await jobs.send(within=transaction)
            assert await storage.get([first, second]) == {}
        stored = await storage.get([first, second])
        assert (stored.keys(), stored[first].data) == ({first, second}, {"to": "ann"})

    await in_each_application(check)


async def test_job_sent_first_is_gone_after_the_rollback(
    storage: PostgresStorage, jobs: Sender, in_each_application: InEach
) -> None:
    async def check(application: Opened) -> None:
        with suppress(Undone):
            async with application() as connection:
                async with storage.transaction(connection) as transaction:
                    sent = await jobs.send(2, within=transaction)
                raise Undone
        assert await storage.get(sent) == {}

    await in_each_application(check)


async def test_jobs_and_rows_of_the_application_are_written_together(
    storage: PostgresStorage, jobs: Sender, in_each_application: InEach
) -> None:
    async def check(application: Opened) -> None:
        async with application() as connection:
            statement = "create table page (job uuid)"
            await connection.execute(
                statement if isinstance(connection, AsyncConnection) else text(statement)
            )
            async with storage.transaction(connection) as transaction:
                await jobs.send(within=transaction)
                assert transaction.connection is not None
        async with storage.transaction() as transaction:
            await transaction.connection.execute("drop table page")

    await in_each_application(check)


async def test_refused_send_and_superseded_job_do_not_abort_the_transaction(
    storage: PostgresStorage, jobs: Sender, in_each_application: InEach
) -> None:
    async def check(application: Opened) -> None:
        await jobs.send(singleton_key=KEY)
        (job,) = await jobs.claim(1)
        (other,) = await jobs.send(singleton_key=KEY)
        async with application() as connection, storage.transaction(connection) as transaction:
            assert await transaction.insert([jobs.new(singleton_key=KEY)]) == [None]
            assert await transaction.settle(failed=[Failed(job.id, 1, 0.0, "{}")]) == {job.id}
            (last,) = await jobs.send(within=transaction)
        stored = await storage.get([job.id, last])
        ended = stored[job.id]
        assert (ended.row_state, ended.output) == (RowState.FAILED, {"superseded_by": str(other)})
        assert last in stored

    await in_each_application(check)


async def test_every_verb_and_callback_of_a_transaction_can_be_used(
    storage: PostgresStorage, jobs: Sender, in_each_application: InEach
) -> None:
    async def check(application: Opened) -> None:
        await jobs.send(3)
        one, two = await jobs.claim(2)
        said: list[str] = []
        async with application() as connection, storage.transaction(connection) as transaction:
            transaction.on_commit(lambda: said.append("committed"))
            transaction.on_rollback(lambda: said.append("rolled back"))
            assert {job.id for job in await transaction.lock_expired(10)} == {one.id, two.id}
            assert await transaction.cancel([one.id]) == {one.id}
            now, due = await transaction.lock_due_schedules(10)
            await transaction.record_tick("nightly", now, now)
            assert due == []
        assert said == ["committed"], "at the end of the joined block"

    await in_each_application(check)


async def test_conversions_of_the_application_do_not_reach_ours(
    dsn: str, storage: PostgresStorage, jobs: Sender
) -> None:
    async with await AsyncConnection[DictRow].connect(dsn, row_factory=dict_row) as connection:
        set_json_loads(lambda data: "mine", connection)
        await connection.execute("set timezone = 'America/New_York'")
        async with storage.transaction(connection) as transaction:
            (job,) = await jobs.send(within=transaction, slot_seconds=3600, delay=5.0)
    (slot,) = await jobs.send(slot_seconds=3600, name="other")
    stored, other = (await storage.get([job]))[job], (await storage.get([slot]))[slot]
    assert (stored.start_after - stored.created_on).total_seconds() == 5.0
    assert stored.keep_until - stored.created_on == other.keep_until - other.created_on
    assert stored.singleton_on == other.singleton_on


async def test_connection_in_autocommit_is_rejected(dsn: str, storage: PostgresStorage) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(UsageError, match="autocommit"):
            async with storage.transaction(connection):
                pass
        async with connection.transaction(), storage.transaction(connection):
            pass


async def test_connection_of_sqlalchemy_in_autocommit_is_rejected(dsn: str, storage: PostgresStorage) -> None:
    autocommit = {"isolation_level": "AUTOCOMMIT"}

    async def check(driver: str, engine_options: dict[str, Any]) -> None:
        engine = create_async_engine(url(dsn, driver), **engine_options)
        for opened in (engine.connect(), AsyncSession(engine)):
            async with opened as connection:
                with pytest.raises(UsageError, match="AUTOCOMMIT"):
                    async with storage.transaction(connection):
                        pass
        await engine.dispose()

    options = [autocommit, {"execution_options": autocommit}]
    await check_each_async(list(product(["psycopg", "asyncpg"], options)), check)


async def test_object_other_than_a_connection_is_refused_by_name(dsn: str, storage: PostgresStorage) -> None:
    with psycopg.connect(dsn) as connection, pytest.raises(UsageError, match=r"psycopg\.Connection"):
        async with storage.transaction(connection):
            pass
    engine = create_async_engine(url(dsn, "psycopg"))
    with pytest.raises(UsageError, match="AsyncEngine"):
        async with storage.transaction(engine):
            pass
    await engine.dispose()


async def test_joined_sweep_locks_the_worker_that_it_finds(
    dsn: str, storage: PostgresStorage, jobs: Sender
) -> None:
    await jobs.send()
    await jobs.claim(1, worker=ANNA)
    async with await AsyncConnection.connect(dsn) as connection:
        async with storage.transaction(connection) as transaction:
            assert len(await transaction.lock_expired(10)) == 1
        async with storage.transaction() as other:
            assert await other.lock_expired(10) == []
