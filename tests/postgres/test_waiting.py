"""A connection that keeps its socket with the event loop works like one that doesn't, come what may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import PipelineStatus, TransactionStatus

from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.waiting import WaitingConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Rows = list[tuple[Any, ...]]


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[WaitingConnection]:
    async with await WaitingConnection.connect(dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as opened:
        yield opened


async def ask(connection: AsyncConnection[Any], question: str, *values: object) -> Any:
    cursor = await connection.execute(question.encode(), values)
    row = await cursor.fetchone()
    return row and row[0]


async def sleeps(process: int, other: AsyncConnection[Any]) -> None:
    """Wait until a server process is in the middle of its statement, which is to sleep."""
    while await ask(other, "select wait_event from pg_stat_activity where pid = %s", process) != "PgSleep":
        pass


async def let_time_pass(other: AsyncConnection[Any]) -> None:
    """Turn the event loop as often as some round trips take."""
    for _ in range(20):
        await other.execute("select 1")


async def until_it_breaks(connection: AsyncConnection[Any]) -> None:
    async with asyncio.timeout(20):
        while True:
            await ask(connection, "select 1")


def number_of_looks(connection: WaitingConnection, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows each time the loop says that the socket can be read."""
    looks: list[None] = []
    can_be_read = connection._can_be_read

    def look() -> None:
        looks.append(None)
        can_be_read()

    monkeypatch.setattr(connection, "_can_be_read", look)
    return looks


@pytest.mark.parametrize("size", [0, 1, 10_000, 20_000_000])
async def test_statements_and_answers_of_all_sizes_come_through(
    connection: WaitingConnection, size: int
) -> None:
    for _ in range(3):
        assert await ask(connection, "select %s::text", "x" * size) == "x" * size
        assert await ask(connection, "select length(repeat('x', %s::int))", size) == size


async def test_an_error_of_a_statement_is_its_own(connection: WaitingConnection) -> None:
    for number in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await ask(connection, "select 1 / %s::int", 0)
        assert await ask(connection, "select %s::int", number) == number


async def test_who_is_cancelled_withdraws_his_statement_and_leaves_the_connection_usable(
    connection: WaitingConnection, other: AsyncConnection[Any]
) -> None:
    await ask(connection, "select 1")
    sleeping = asyncio.ensure_future(ask(connection, "select pg_sleep(100)"))
    process = connection.info.backend_pid
    async with asyncio.timeout(20):
        while (
            await ask(other, "select wait_event from pg_stat_activity where pid = %s", process) != "PgSleep"
        ):
            pass
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert await ask(other, "select state from pg_stat_activity where pid = %s", process) == "idle"
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
        assert await ask(connection, "select 2") == 2


async def test_what_the_server_says_unasked_is_heard_once_and_not_again_and_again(
    connection: WaitingConnection, other: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = number_of_looks(connection, monkeypatch)
    heard: list[str] = []
    connection.add_notify_handler(lambda notify: heard.append(notify.payload))
    await connection.execute("listen here")
    await other.execute("notify here, 'once'")
    await let_time_pass(other)
    before = len(looks)
    await let_time_pass(other)
    assert len(looks) == before
    assert await ask(connection, "select 3") == 3
    assert heard == ["once"]


async def test_the_end_of_a_connection_is_heard_by_who_waits(
    connection: WaitingConnection, other: AsyncConnection[Any]
) -> None:
    process = await ask(connection, "select pg_backend_pid()")
    sleeping = asyncio.ensure_future(ask(connection, "select pg_sleep(100)"))
    async with asyncio.timeout(20):
        while (
            await ask(other, "select wait_event from pg_stat_activity where pid = %s", process) != "PgSleep"
        ):
            pass
        await other.execute("select pg_terminate_backend(%s)", [process])
        with pytest.raises(psycopg.OperationalError):
            await sleeping


async def test_a_socket_that_the_server_closed_may_be_another_connection_s_at_once(
    dsn: str, other: AsyncConnection[Any]
) -> None:
    for _ in range(3):
        async with await WaitingConnection.connect(dsn, autocommit=True) as first:
            socket = first.pgconn.socket
            process = await ask(first, "select pg_backend_pid()")
            await other.execute("select pg_terminate_backend(%s)", [process])
            with pytest.raises(psycopg.OperationalError):
                await until_it_breaks(first)
            async with await WaitingConnection.connect(dsn, autocommit=True) as second:
                assert second.pgconn.socket == socket
                async with asyncio.timeout(20):
                    assert await ask(second, "select 4") == 4


async def test_a_connection_that_is_closed_under_a_statement_says_so(connection: WaitingConnection) -> None:
    await ask(connection, "select 1")
    sleeping = asyncio.ensure_future(ask(connection, "select pg_sleep(100)"))
    assert await asyncio.wait([sleeping], timeout=0) == (set(), {sleeping})
    await connection.close()
    async with asyncio.timeout(20):
        with pytest.raises(psycopg.OperationalError, match="closed"):
            await sleeping


async def test_pipelines_copies_and_notifications_go_on_as_ever(
    connection: WaitingConnection, other: AsyncConnection[Any]
) -> None:
    await connection.execute("create temp table place (number int)")
    for _ in range(2):
        async with connection.pipeline():
            cursors = [await connection.execute("select %s::int", [number]) for number in range(5)]
        answers: list[Rows] = [await cursor.fetchall() for cursor in cursors]
        assert answers == [[(number,)] for number in range(5)]
        async with connection.cursor() as cursor, cursor.copy("copy place from stdin") as copy:
            for number in range(10_000):
                await copy.write_row([number])
        await connection.execute("listen there")
        await other.execute("notify there, 'yes'")
        assert [n.payload async for n in connection.notifies(timeout=20, stop_after=1)] == ["yes"]
    assert await ask(connection, "select count(*) from place") == 20_000


async def test_a_pipeline_that_was_left_open_is_no_other_s(dsn: str) -> None:
    async with PostgresStorage.open(dsn, min_size=1, max_size=1, listen=False) as storage:
        connections = storage._session._connections
        connection = await connections.take()
        await connection.pipeline().__aenter__()
        assert connection.pgconn.pipeline_status == PipelineStatus.ON
        await connections.give(connection)
        async with asyncio.timeout(20):
            assert await storage.queues() == []
