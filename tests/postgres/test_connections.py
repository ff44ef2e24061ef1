"""One connection is kept out of the pool for the next caller; others are not affected."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from psycopg import OperationalError

from tests.cases import check_each_async
from tests.postgres.many_jobs import ANNA, Connection, Sender
from tests.postgres.opening import END_ALL, WAITERS, opened
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import turns, until
from zeke_queue.core.timeouts import SILENCE_SECONDS, STATEMENT_SECONDS
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import Completed, NewJob, WorkerInfo
from zeke_queue.storage.postgres import PostgresStorage, connections
from zeke_queue.storage.postgres.connections import KEPT_SECONDS
from zeke_queue.system.clock import SystemClock


async def test_single_connection_serves_sequential_and_concurrent_calls(dsn: str) -> None:
    async with PostgresStorage.open(dsn, min_size=1, max_size=1, listen=False) as storage:
        jobs = Sender(storage, SystemClock())
        await jobs.send()
        async with storage.transaction() as transaction:
            await transaction.insert([jobs.new()])
        async with asyncio.timeout(120):
            await asyncio.gather(*(jobs.send() for _ in range(50)), *(storage.queues() for _ in range(50)))
        assert len(await jobs.claim(100)) == 52


async def test_application_transactions_leave_a_connection_for_the_heartbeat(dsn: str) -> None:
    async with PostgresStorage.open(dsn, min_size=3, max_size=3, listen=False) as storage:
        second, third = storage.transaction(), storage.transaction()
        async with storage.transaction():
            await second.__aenter__()
            waiting = asyncio.ensure_future(third.__aenter__())
            async with asyncio.timeout(120):
                for _ in range(20):  # time enough for the third to take the last one
                    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("mail",), 15.0))
            assert not waiting.done()
        await waiting
        await third.__aexit__(None, None, None)
        await second.__aexit__(None, None, None)


async def test_transaction_that_waits_too_long_names_the_pool_setting(dsn: str) -> None:
    async with opened(dsn, max_size=2) as parts:
        storage, patience = parts.storage, parts.pool.timeout
        async with storage.transaction():
            parts.pool.timeout = 0.02
            with pytest.raises(StorageUnavailableError, match="JOBS_POOL_MAX"):
                await storage.transaction().__aenter__()
            parts.pool.timeout = patience
        async with storage.transaction():
            pass


async def test_caller_that_waits_gets_a_connection_after_an_outage(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is longer than the pool tries to connect on its own, so only an asking caller makes it try again."""
    monkeypatch.setattr("zeke_queue.storage.postgres.connections.RECONNECT_SECONDS", 0.05)
    async with opened(dsn, min_size=1, max_size=1) as parts:
        pool, connect, failures = parts.pool, parts.pool._connect, 5

        async def fail_at_first() -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise OperationalError("away")
            return await connect()

        pool.reconnect_timeout = 0.01
        monkeypatch.setattr(pool, "_connect", fail_at_first)
        async with parts.connections.one() as connection:
            await connection.close()
        assert await parts.storage.queues() == []
        assert failures == 0


async def test_callers_are_served_in_the_order_in_which_they_came(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(dsn, min_size=1, max_size=1) as parts:
        served: list[int] = []

        async def call(number: int) -> None:
            async with parts.connections.one():
                served.append(number)

        async with parts.connections.one():
            # A caller that asks the pool meanwhile does so again after a few turns of the loop.
            monkeypatch.setattr(connections, "RECONNECT_SECONDS", 1e-6)
            waiting: list[asyncio.Task[None]] = []
            for number in range(5):
                waiting.append(asyncio.create_task(call(number)))
                await turns()
            assert not [one for one in waiting if one.done()]
            monkeypatch.undo()
        await asyncio.gather(*waiting)
        assert served == [0, 1, 2, 3, 4]
        assert parts.pool.get_stats().get("requests_errors", 0) == 0


async def test_statement_without_an_answer_ends_with_its_connection(dsn: str, sql: Connection) -> None:
    """A row that stays locked stands for a server that hangs: no limit of the server ends the wait."""

    async def check(call: Callable[[PostgresStorage], Awaitable[object]], *, ends: bool) -> None:
        async with opened(dsn, max_size=2) as parts:
            with sql.transaction():
                sql.execute("lock table pgboss.job in access exclusive mode")
                calling = asyncio.ensure_future(call(parts.storage))
                await until(lambda: sql.execute(WAITERS).fetchone() == (1,))
                asked = max(connection.asked_at for connection in parts.connections._taken)
                with logged() as lines:
                    parts.connections.end_waits(asked + STATEMENT_SECONDS + SILENCE_SECONDS - 1)
                    assert lines.messages == []
                    parts.connections.end_waits(asked + STATEMENT_SECONDS + SILENCE_SECONDS + 1)
                    assert lines.messages == ["statement_unanswered"] * ends
                if ends:
                    with pytest.raises(StorageUnavailableError):
                        await asyncio.wait_for(calling, 120)
            if not ends:
                await calling
            await parts.storage.queue_stats()

    pending = NewJob(UUID(int=2), "mail", fresh=False)  # inserted by several statements in one round trip

    async def own(storage: PostgresStorage) -> None:
        async with storage.transaction(own=True) as transaction:
            await transaction.cancel([UUID(int=1)])

    async def lent(storage: PostgresStorage) -> None:
        async with storage.transaction() as transaction:
            await transaction.cancel([UUID(int=1)])

    await check_each_async(
        [
            partial(check, lambda storage: storage.settle([Completed(UUID(int=1), 1, None)]), ends=True),
            partial(check, lambda storage: storage.insert([pending]), ends=True),
            partial(check, own, ends=True),
            partial(check, lent, ends=False),
        ],
        lambda one: one(),
    )


async def test_waits_for_answers_are_checked_at_intervals(dsn: str, sql: Connection) -> None:
    async with opened(dsn) as parts:
        parts.connections.answer_timeout = 0.05
        with sql.transaction():
            sql.execute("lock table pgboss.job in access exclusive mode")
            with pytest.raises(StorageUnavailableError):
                await asyncio.wait_for(parts.storage.cancel([UUID(int=1)]), 120)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_returned_connection_goes_to_a_caller_that_still_waits(dsn: str, *, cancelled: bool) -> None:
    async with opened(dsn, min_size=1, max_size=1) as parts:
        connections = parts.connections
        connection = await connections.take()
        waiting = asyncio.ensure_future(connections.take())
        assert await asyncio.wait([waiting], timeout=0) == (set(), {waiting})
        if cancelled:
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await connections.give(connection)
        async with asyncio.timeout(120):
            assert await (connections.take() if cancelled else waiting) is connection
        await connections.give(connection)


async def test_connection_returns_to_the_pool_in_time_even_in_a_transaction(dsn: str) -> None:
    async with opened(dsn, min_size=1, max_size=1) as parts:
        storage, connections = parts.storage, parts.connections
        available = lambda: parts.pool.get_stats()["pool_available"]  # noqa: E731
        await storage.queues()
        kept = await connections.take()
        await connections.give(kept)
        before = available()
        old = await connections.take()
        old.taken_at -= KEPT_SECONDS
        await connections.give(old)
        assert available() == before + 1
        left = await connections.take()
        await left.execute("begin")
        await connections.give(left)
        async with connections.one() as again:
            assert again.pgconn.transaction_status == 0


async def test_broken_connection_is_not_kept(storage: PostgresStorage, sql: Connection) -> None:
    await storage.queues()
    sql.execute(END_ALL)
    jobs = Sender(storage, SystemClock())
    failures = 0
    for _ in range(5):
        try:
            await jobs.send()
        except StorageUnavailableError:
            failures += 1
    assert failures < 5
    await jobs.send()


async def test_idle_connections_closed_by_the_server_are_skipped(dsn: str, sql: Connection) -> None:
    async with opened(dsn, min_size=1, max_size=4) as parts:
        storage, connections = parts.storage, parts.connections
        taken = [await connections.take() for _ in range(4)]
        closings: list[select.poll] = []
        for connection in taken:
            closing = select.poll()
            closing.register(connection.fileno(), select.POLLHUP | getattr(select, "POLLRDHUP", 0))
            closings.append(closing)
            await connections.give(connection)
        sql.execute(END_ALL)
        assert all(closing.poll(120_000) for closing in closings)
        async with asyncio.timeout(120):
            assert await asyncio.gather(*(storage.queues() for _ in range(4))) == [[]] * 4


async def test_closing_the_storage_closes_connections_in_use(dsn: str) -> None:
    async with opened(dsn, min_size=2, max_size=4) as parts:
        storage, connections = parts.storage, parts.connections
        await asyncio.gather(*(storage.queues() for _ in range(4)))
        kept, used = await connections.take(), await connections.take()
        await connections.give(kept)
        await storage.close()
        await connections.give(used)
        assert (kept.closed, used.closed) == (True, True)
