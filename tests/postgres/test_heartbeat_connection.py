"""Heartbeats on a connection of their own: concurrent ones, broken ones, abandoned ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import psycopg
import pytest

from tests.postgres.many_jobs import ANNA
from tests.postgres.opening import END_ALL, until_one_waits
from zeke_queue.errors import StatementFailedError, StorageUnavailableError
from zeke_queue.model import QueueCapacity, QueueSettings, WorkerInfo
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.heartbeat_connection import HeartbeatConnection
from zeke_queue.storage.postgres.session import Session, find_session

WORKER = WorkerInfo(ANNA, "host", 1, ("mail",), 15.0)
OTHERS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@pytest.fixture
async def heartbeats(dsn: str) -> AsyncIterator[HeartbeatConnection]:
    connection = HeartbeatConnection(await find_session(dsn, keep=True), "pgboss")
    yield connection
    await connection.close()


@pytest.fixture
async def admin(dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def _beat_on(admin: psycopg.AsyncConnection) -> datetime:
    cursor = await admin.execute("select beat_on from pgboss.worker where id = %s", (ANNA,))
    (found,) = await cursor.fetchall()
    return found[0]


async def _connections(admin: psycopg.AsyncConnection) -> set[int]:
    return {pid for (pid,) in await (await admin.execute(OTHERS)).fetchall()}


async def test_heartbeats_in_a_row_use_one_connection(
    heartbeats: HeartbeatConnection, admin: psycopg.AsyncConnection
) -> None:
    assert await heartbeats.heartbeat(WORKER) == {}
    async with asyncio.timeout(120):
        while len(await _connections(admin)) > 1:  # those that found the settings end a moment later
            pass
    one, first = await _connections(admin), await _beat_on(admin)
    await heartbeats.heartbeat(WORKER)
    assert await _connections(admin) == one
    assert len(one) == 1
    assert await _beat_on(admin) > first


async def test_answer_has_the_attempts_of_active_jobs(
    heartbeats: HeartbeatConnection, admin: psycopg.AsyncConnection
) -> None:
    await admin.execute(
        "insert into pgboss.job (id, name, state, startedon, attempt, worker)"
        " values (%s, 'mail', 'active', now(), 3, %s)",
        (UUID(int=7), ANNA),
    )
    assert await heartbeats.heartbeat(WORKER) == {UUID(int=7): 3}


async def test_heartbeat_does_not_wait_for_one_without_an_answer(
    heartbeats: HeartbeatConnection, admin: psycopg.AsyncConnection, dsn: str
) -> None:
    await heartbeats.heartbeat(WORKER)
    async with await psycopg.AsyncConnection.connect(dsn) as locking:
        await locking.execute("select from pgboss.worker where id = %s for update", (ANNA,))
        waiting = asyncio.ensure_future(heartbeats.heartbeat(WORKER))
        async with asyncio.timeout(120):
            await until_one_waits(admin)
            other = WorkerInfo(UUID(int=5), "host", 1, ("mail",), 15.0)
            assert await heartbeats.heartbeat(other) == {}
        await locking.rollback()
        await asyncio.wait([waiting])
    async with asyncio.timeout(120):
        while len(await _connections(admin)) > 1:  # the server ends a closed connection a moment later
            pass


async def test_abandoned_heartbeat_ends_with_its_connection(
    heartbeats: HeartbeatConnection, admin: psycopg.AsyncConnection, dsn: str
) -> None:
    await heartbeats.heartbeat(WORKER)
    before = await _connections(admin)
    async with await psycopg.AsyncConnection.connect(dsn) as locking:
        await locking.execute("select from pgboss.worker where id = %s for update", (ANNA,))
        waiting = asyncio.ensure_future(heartbeats.heartbeat(WORKER))
        async with asyncio.timeout(120):
            await until_one_waits(admin)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            while before & await _connections(admin):
                pass
    assert await heartbeats.heartbeat(WORKER) == {}


async def test_heartbeat_abandoned_right_after_connecting_ends_with_its_connection(
    heartbeats: HeartbeatConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[psycopg.AsyncConnection] = []

    async def hang(self: psycopg.AsyncConnection, _level: object) -> None:
        opened.append(self)
        raise asyncio.CancelledError

    monkeypatch.setattr(psycopg.AsyncConnection, "set_isolation_level", hang)
    with pytest.raises(asyncio.CancelledError):
        await heartbeats.heartbeat(WORKER)
    assert [connection.closed for connection in opened] == [True]


async def test_broken_connection_is_replaced_after_one_error(
    heartbeats: HeartbeatConnection, admin: psycopg.AsyncConnection
) -> None:
    await heartbeats.heartbeat(WORKER)
    await admin.execute(END_ALL)
    with pytest.raises(StorageUnavailableError):
        await heartbeats.heartbeat(WORKER)
    assert await heartbeats.heartbeat(WORKER) == {}


async def test_option_that_a_pooler_refuses_later_fails_one_heartbeat(
    heartbeats: HeartbeatConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_arguments: object, **_options: object) -> None:
        raise psycopg.OperationalError("connection failed: FATAL: unsupported startup parameter: options")

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.AsyncConnection, "connect", refuse)
        with pytest.raises(StorageUnavailableError, match="unsupported startup parameter"):
            await heartbeats.heartbeat(WORKER)
    assert await heartbeats.heartbeat(WORKER) == {}


FAILING = """
create function {name}() returns trigger language plpgsql as $$
begin raise exception 'planned' using errcode = '{state}'; end $$;
create trigger {name} before update or delete on pgboss.{table} for each row execute function {name}();
"""
"""Makes every change of a table fail, as an error in the server or in a trigger of another program does."""


@pytest.mark.parametrize("state", ["40P01", "XX000", "P0001", "22012"])
async def test_error_of_the_server_fails_one_heartbeat(
    heartbeats: HeartbeatConnection, admin: psycopg.AsyncConnection, state: str
) -> None:
    await heartbeats.heartbeat(WORKER)
    await admin.execute(FAILING.format(name="failing", table="worker", state=state).encode())
    with pytest.raises(StatementFailedError, match=f"{state}.*planned"):
        await heartbeats.heartbeat(WORKER)
    await admin.execute("drop function failing cascade")
    assert await heartbeats.heartbeat(WORKER) == {}


@pytest.mark.parametrize("state", ["XX000", "P0001"])
async def test_error_of_the_server_is_a_storage_error_to_a_worker(
    dsn: str, admin: psycopg.AsyncConnection, state: str
) -> None:
    await admin.execute("insert into pgboss.job (name, startafter) values ('mail', now() - interval '1 s')")
    async with PostgresStorage.open(dsn, listen=False) as storage:
        await storage.heartbeat(WORKER)
        await storage.declare([QueueSettings("mail", 1)], [])
        for table in ("worker", "job", "queue"):
            name = f"failing_{table}"
            await admin.execute(FAILING.format(name=name, table=table, state=state).encode())
        for call in (
            storage.heartbeat(WORKER),
            storage.set_idle(ANNA, ["mail"]),
            storage.claim(ANNA, [QueueCapacity("mail", 1)], 1),
            storage.deregister(ANNA),
            storage.declare([QueueSettings("mail", 2)], []),
        ):
            with pytest.raises(StatementFailedError, match="planned"):
                await call


async def test_hosts_share_the_time_to_connect() -> None:
    for hosts, seconds in (("a", 5), ("a,b", 2), ("a,b,c,d", 2)):
        conninfo = f"postgresql://{hosts}/db?connect_timeout=30"
        connection = HeartbeatConnection(
            Session(conninfo, kept=True, prepares=True, ours={}, elsewhere={}), "pgboss"
        )
        assert f"connect_timeout={seconds}" in connection._conninfo


async def test_storage_with_a_test_clock_has_no_heartbeat_connection(dsn: str) -> None:
    async with PostgresStorage.open(dsn, listen=False) as storage:
        assert isinstance(storage.heartbeat_connection(), HeartbeatConnection)
        now = await storage.now()
    async with PostgresStorage.open(dsn, listen=False, now=lambda: now) as storage:
        assert storage.heartbeat_connection() is None
