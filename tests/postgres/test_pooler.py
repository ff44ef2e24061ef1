"""Behind a pooler in transaction mode: nothing that is kept with a connection outlives its transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.cases import check_each_async
from tests.postgres.many_jobs import ANNA, Connection, Sender
from tests.postgres.pooler import Pooler, pooled
from zeke_queue.model import (
    Completed,
    Failed,
    JobEvent,
    JobQuery,
    QueueSettings,
    Released,
    Schedule,
    WorkerInfo,
)
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.listener import Listener
from zeke_queue.storage.postgres.session import find_session
from zeke_queue.system.clock import SystemClock

pytestmark = pytest.mark.needs("pgbouncer")


@pytest.fixture
async def storage(dsn: str) -> AsyncIterator[PostgresStorage]:
    with pooled(dsn) as behind:
        async with PostgresStorage.open(
            behind, min_size=1, max_size=4, listen=False, prepare=False
        ) as opened:
            yield opened


async def one_life(storage: PostgresStorage, name: str) -> None:
    """Everything that happens to a queue's jobs, limits and pauses included."""
    sender = Sender(storage, SystemClock())
    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, (name,), 15.0))
    await storage.declare([QueueSettings(name, 5)], [])
    await sender.send(10, name)
    one, other, third, *_ = await sender.claim(5, name)
    await storage.settle(
        [Completed(one.id, 1, "{}")], [Failed(other.id, 1, 0.0, "{}")], [Released(third.id, 1)]
    )
    await storage.append_events([JobEvent(one.id, 1, "log", "{}")])
    await storage.cancel([third.id])
    await storage.resume([third.id])
    async with storage.transaction() as transaction:
        await sender.send(2, name, within=transaction)
        await transaction.lock_expired(10)
        await transaction.lock_due_schedules(10)
    async with storage.subscribe() as watch:
        await watch.add([one.id])
        assert (await storage.get([one.id]))[one.id].output == {}
    assert len((await storage.find(JobQuery(names=(name,)))).jobs) == 12
    assert sum(sum(one.counts.values()) for one in await storage.queue_stats()) >= 12
    await storage.set_idle(ANNA, [name])
    await storage.declare([], [Schedule(name, "* * * * *", name)])


async def test_concurrent_users_work_through_a_pooler(storage: PostgresStorage) -> None:
    await asyncio.gather(*(one_life(storage, f"queue-{number}") for number in range(4)))
    assert await storage.archive(0.0, 10) == 4


async def test_connections_return_to_the_pooler_unchanged(storage: PostgresStorage, sql: Connection) -> None:
    await one_life(storage, "mail")
    async with storage.transaction() as transaction:
        cursor = await transaction.connection.execute("select count(*) from pg_prepared_statements")
        assert await cursor.fetchone() == (0,)
        cursor = await transaction.connection.execute(
            "select name from pg_settings where source = 'session' and name = 'plan_cache_mode'"
        )
        assert await cursor.fetchall() == []
    locks = sql.execute(
        "select count(*) from pg_locks where locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    assert locks.fetchone() == (0,)


async def test_pooler_that_refuses_startup_settings_is_supported(dsn: str) -> None:
    # One that tracks prepared statements may still refuse other settings; then there are none.
    with pooled(dsn) as behind:
        async with PostgresStorage.open(behind, listen=False, prepare=True) as storage:
            assert await storage.queues() == []


async def test_statements_are_prepared_only_where_a_pooler_keeps_them(dsn: str) -> None:
    async def check(mode: str, prepared: int, *, prepares: bool) -> None:
        with Pooler(dsn, mode=mode, prepared=prepared, size=4) as pooler:
            assert (await find_session(pooler.dsn, keep=True)).prepares == prepares
            async with PostgresStorage.open(pooler.dsn, max_size=4, prepare=True) as storage:
                name = f"{mode}-{prepared}"
                await asyncio.gather(*(one_life(storage, f"{name}-{number}") for number in range(3)))

    assert (await find_session(dsn, keep=True)).prepares
    await check_each_async(
        [
            partial(check, "transaction", 0, prepares=False),
            partial(check, "transaction", 50, prepares=True),
            partial(check, "session", 0, prepares=True),
        ],
        lambda one: one(),
    )


LISTENING = (
    "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'"
)


async def test_listener_detects_a_pooler_of_transactions(dsn: str, sql: Connection) -> None:
    async def check(target: str, *, heard: bool) -> None:
        listener = Listener(target, "pgboss", SystemClock(), enabled=True)
        try:
            assert await listener.ready() == listener.enabled == heard
            # A connection that listens would deliver to other clients, and keep the server's queue full.
            assert sql.execute(LISTENING.encode()).fetchone() == (int(heard),)
        finally:
            await listener.stop()

    async def check_behind(mode: str, size: int, *, in_turn: bool) -> None:
        with Pooler(dsn, mode=mode, in_turn=in_turn, size=size) as pooler:
            await check(pooler.dsn, heard=mode == "session")

    await check(dsn, heard=True)
    await check_each_async(
        [
            partial(check_behind, "session", 8, in_turn=False),
            partial(check_behind, "transaction", 4, in_turn=False),
            partial(check_behind, "transaction", 4, in_turn=True),
            partial(check_behind, "transaction", 1, in_turn=False),
        ],
        lambda one: one(),
    )


async def test_listener_needs_no_second_connection_of_a_pooler_of_sessions(dsn: str, sql: Connection) -> None:
    with Pooler(dsn, mode="session", size=1) as pooler:
        listener = Listener(pooler.dsn, "pgboss", SystemClock(), enabled=True)
        listener.start()
        try:
            async with asyncio.timeout(120):
                await listener._ready.wait()
            assert sql.execute(LISTENING.encode()).fetchone() == (1,)
            assert listener.enabled
        finally:
            await listener.stop()


async def test_worker_of_the_same_process_is_woken_without_notifications(dsn: str) -> None:
    async with PostgresStorage.open(dsn, listen=False) as storage:
        waiting = asyncio.create_task(storage.wait_for_jobs(["mail"], 20.0))
        await SystemClock().sleep(0)
        await Sender(storage, SystemClock()).send(1, "mail")
        assert await waiting
