"""A connection that keeps its socket registered with the event loop works like any other."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import uvloop
from psycopg import AsyncConnection
from psycopg.pq import PipelineStatus, TransactionStatus

from tests.postgres.many_jobs import Sender
from tests.postgres.opening import opened
from zeke_queue.storage.postgres.waiting import WaitingConnection
from zeke_queue.system.clock import SystemClock

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
    while await ask(other, "select wait_event from pg_stat_activity where pid = %s", process) != "PgSleep":
        pass


async def breaks_in_a_wait(connection: WaitingConnection, other: AsyncConnection[Any]) -> None:
    """End the server's process while a statement sleeps there."""
    process = await ask(connection, "select pg_backend_pid()")
    sleeping = asyncio.ensure_future(ask(connection, "select pg_sleep(100)"))
    async with asyncio.timeout(120):
        await sleeps(process, other)
        await other.execute("select pg_terminate_backend(%s)", [process])
        with pytest.raises(psycopg.OperationalError):
            await sleeping


async def let_time_pass(other: AsyncConnection[Any]) -> None:
    """Turn the event loop as often as some round trips take."""
    for _ in range(20):
        await other.execute("select 1")


async def until_it_breaks(connection: AsyncConnection[Any]) -> None:
    async with asyncio.timeout(120):
        while True:
            await ask(connection, "select 1")


def is_registered(connection: WaitingConnection) -> bool:
    return connection._registered is not None


def number_of_looks(connection: WaitingConnection, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows each time the loop says that the socket can be read."""
    looks: list[None] = []
    can_be_read = connection._can_be_read

    def look() -> None:
        looks.append(None)
        can_be_read()

    monkeypatch.setattr(connection, "_can_be_read", look)
    return looks


async def test_statements_and_results_of_all_sizes_are_sent(connection: WaitingConnection) -> None:
    for size in (0, 1, 10_000, 20_000_000):
        for _ in range(3):
            assert await ask(connection, "select %s::text", "x" * size) == "x" * size
            assert await ask(connection, "select length(repeat('x', %s::int))", size) == size


async def test_error_belongs_to_its_statement(connection: WaitingConnection) -> None:
    for number in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await ask(connection, "select 1 / %s::int", 0)
        assert await ask(connection, "select %s::int", number) == number


async def test_cancellation_cancels_the_statement_and_keeps_the_connection(
    connection: WaitingConnection, other: AsyncConnection[Any]
) -> None:
    await ask(connection, "select 1")
    sleeping = asyncio.ensure_future(ask(connection, "select pg_sleep(100)"))
    process = connection.info.backend_pid
    async with asyncio.timeout(120):
        await sleeps(process, other)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert await ask(other, "select state from pg_stat_activity where pid = %s", process) == "idle"
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
        assert await ask(connection, "select 2") == 2


async def test_unsolicited_message_is_read_once(
    connection: WaitingConnection, other: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = number_of_looks(connection, monkeypatch)
    heard: list[str] = []
    connection.add_notify_handler(lambda notify: heard.append(notify.payload))
    await connection.execute("listen here")
    await let_time_pass(other)
    before = len(looks)
    await other.execute("notify here, 'once'")
    async with asyncio.timeout(120):
        while len(looks) == before:
            await other.execute("select 1")  # until the other server process has passed it on
    await let_time_pass(other)
    before = len(looks)
    await let_time_pass(other)
    assert len(looks) == before
    assert await ask(connection, "select 3") == 3
    assert heard == ["once"]


async def test_closed_connection_ends_the_wait(
    connection: WaitingConnection, other: AsyncConnection[Any]
) -> None:
    await breaks_in_a_wait(connection, other)


async def test_closed_socket_number_can_be_reused_at_once(dsn: str, other: AsyncConnection[Any]) -> None:
    for _ in range(3):
        async with await WaitingConnection.connect(dsn, autocommit=True) as first:
            number = first.pgconn.socket
            process = await ask(first, "select pg_backend_pid()")
            await other.execute("select pg_terminate_backend(%s)", [process])
            with pytest.raises(psycopg.OperationalError):
                await until_it_breaks(first)
            async with await WaitingConnection.connect(dsn, autocommit=True) as second:
                assert second.pgconn.socket == number
                async with asyncio.timeout(120):
                    assert await ask(second, "select 4") == 4


async def test_connection_broken_during_a_send_leaves_no_callback(
    connection: WaitingConnection, other: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = number_of_looks(connection, monkeypatch)
    await ask(connection, "select 1")
    # The loop has no turn to notice it before a statement is sent that fills more than one packet.
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as double:
        double.shutdown(socket.SHUT_RDWR)
    with pytest.raises(psycopg.OperationalError):
        await ask(connection, "select %s::text", "x" * 30_000)
    assert not is_registered(connection)  # a pool throws it away without closing it
    before = len(looks)
    await let_time_pass(other)
    assert len(looks) == before


async def test_socket_shared_with_another_process_does_not_block_the_loop(
    connection: WaitingConnection, other: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = number_of_looks(connection, monkeypatch)
    holds = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(holds, stdin=subprocess.PIPE, pass_fds=[connection.pgconn.socket]):  # noqa: ASYNC220 - it only holds it
        await breaks_in_a_wait(connection, other)
        await connection.close()
        before = len(looks)
        await let_time_pass(other)
        assert len(looks) == before


@pytest.mark.parametrize("cancelled", [True, False])
async def test_close_during_a_statement_raises_or_is_cancelled(
    connection: WaitingConnection, *, cancelled: bool
) -> None:
    await ask(connection, "select 1")
    sleeping = asyncio.ensure_future(ask(connection, "select pg_sleep(100)"))
    assert await asyncio.wait([sleeping], timeout=0) == (set(), {sleeping})
    await connection.close()
    if cancelled:
        sleeping.cancel()
    async with asyncio.timeout(120):
        with pytest.raises(asyncio.CancelledError if cancelled else psycopg.OperationalError) as raised:
            await sleeping
    assert cancelled or "closed" in str(raised.value)


def test_other_event_loops_use_the_wait_of_psycopg(dsn: str) -> None:
    async def work() -> None:
        async with opened(dsn, max_size=2) as parts:
            storage, jobs = parts.storage, Sender(parts.storage, SystemClock())
            for _ in range(5):
                await jobs.send()
            async with storage.transaction() as transaction:
                await jobs.send(2, within=transaction)
            waiting = asyncio.ensure_future(jobs.send())
            assert await asyncio.wait([waiting], timeout=0) == (set(), {waiting})
            waiting.cancel()
            await asyncio.wait([waiting])
            assert len(await jobs.claim(100)) in {7, 8}
            async with parts.connections.one() as connection:
                assert not is_registered(connection)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


async def test_pipelines_copies_and_notifications_work(
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
        assert [n.payload async for n in connection.notifies(timeout=120, stop_after=1)] == ["yes"]
    assert await ask(connection, "select count(*) from place") == 20_000


async def test_copy_that_never_waits_yields_to_other_tasks(
    connection: WaitingConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psycopg.waiting.MAX_BUSY_TIME", 0.0)
    await connection.execute("create temp table place (number int)")
    turns: list[None] = []
    async with connection.cursor() as cursor, cursor.copy("copy place from stdin") as copy:
        for _ in range(3):
            asyncio.get_running_loop().call_soon(turns.append, None)
            had = len(turns)
            await copy.write(b"1\n" * 5)  # few enough that nothing is in the way
            assert len(turns) > had


async def test_open_pipeline_does_not_affect_other_connections(dsn: str) -> None:
    async with opened(dsn) as parts:
        storage, connections = parts.storage, parts.connections
        connection = await connections.take()
        await connection.pipeline().__aenter__()
        assert connection.pgconn.pipeline_status == PipelineStatus.ON
        await connections.give(connection)
        async with asyncio.timeout(120):
            await Sender(storage, SystemClock()).send(2)


async def test_idle_connection_that_broke_is_skipped(dsn: str) -> None:
    async with opened(dsn) as parts:
        connections, jobs = parts.connections, Sender(parts.storage, SystemClock())
        await jobs.send()
        broken = connections.at_hand()
        assert broken is not None
        assert connections.keep(broken)
        with socket.socket(fileno=os.dup(broken.pgconn.socket)) as double:
            double.shutdown(socket.SHUT_RDWR)
        assert connections.at_hand() is None
        assert not is_registered(broken)  # the pool will throw it away without closing it
        async with asyncio.timeout(120):
            await jobs.send()
        assert broken.closed
