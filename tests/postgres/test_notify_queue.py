"""While the server's notification queue is full, everything is written without notifications."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from tests.cases import check_each_async
from tests.database import folder_of, new_run
from tests.postgres.many_jobs import ANNA, Sender
from zeke_queue.cli.database import inspect
from zeke_queue.model import Completed, Failed, JobEvent, QueueSettings, Released, WorkerInfo
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.storage.postgres import PostgresStorage, migrate
from zeke_queue.storage.postgres.notify_queue import NotifyQueue
from zeke_queue.storage.postgres.sync_connection import join
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGES: Final = 64
"""Pages of the queue, the fewest that a server allows."""


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """The DSN of a server whose notification queue has half a megabyte, with our tables."""
    settings = {"max_notify_queue_pages": str(PAGES)}
    folder = folder_of(f"zeke-notify-{new_run()}")
    with EmbeddedPostgres.start(folder, ephemeral=True, fsync=False, settings=settings) as server:
        migrate.migrate(server.dsn)
        yield server.dsn


@contextmanager
def full(dsn: str) -> Iterator[None]:
    """Keep the queue full by a session that listens and does not end its transaction."""
    with psycopg.connect(dsn, autocommit=True) as holder, psycopg.connect(dsn, autocommit=True) as sql:
        holder.execute("listen something")
        holder.execute("begin")
        holder.execute("select 1")
        # Long ones fill most of it, and short ones the rest of the last page.
        for length in (7900, 100, 10):
            with suppress(psycopg.errors.ProgramLimitExceeded):
                while True:
                    sql.execute("select pg_notify('something', left(repeat(%s, 8000), %s))", ["x", length])
        yield
        holder.execute("rollback")


async def sleeping(storage: PostgresStorage) -> None:
    """Register a worker that sleeps, so that each send and each free place notifies."""
    await storage.declare([QueueSettings("mail", 100)], [])
    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("mail",), 3600.0))
    await storage.set_idle(ANNA, ["mail"])


async def test_everything_is_written_while_the_queue_is_full(small: str) -> None:
    async with PostgresStorage.open(small, listen=False) as storage:
        jobs = Sender(storage, SystemClock())
        await sleeping(storage)
        with full(small):
            await jobs.send()
            await jobs.send(9)
            one, other, third, fourth, *rest = await jobs.claim(10)
            async with storage.subscribe() as watch:
                await watch.add([one.id])
                await storage.append_events([JobEvent(one.id, 1, "log", "{}")])
                assert await storage.settle([Completed(one.id, 1, None)]) == {one.id}
            failed, released = [Failed(other.id, 1, 0.0, "{}")], [Released(third.id, 1)]
            assert await storage.settle([], failed, released) == {other.id, third.id}
            assert (await storage.settle_unlocked([Completed(fourth.id, 1, None)])).changed == {fourth.id}
            await storage.cancel([job.id for job in rest])
            await storage.resume([job.id for job in rest])
            await storage.pause_queue("mail", paused=True)
            await storage.pause_queue("mail", paused=False)
        assert len(await jobs.claim()) == 8
        assert await storage.purge(0.0, 100) == 0


async def test_transactions_commit_while_the_queue_is_full(small: str) -> None:
    async with PostgresStorage.open(small, listen=False) as storage:
        jobs = Sender(storage, SystemClock())
        await sleeping(storage)

        async def in_own_transaction() -> None:
            async with storage.transaction() as transaction:
                await jobs.send(2, within=transaction)
                await jobs.send(within=transaction)

        async def in_joined_transaction() -> None:
            async with await psycopg.AsyncConnection.connect(small) as connection:
                async with storage.transaction(connection) as transaction:
                    await jobs.send(within=transaction)
                await connection.commit()

        async def in_synchronous_transaction() -> None:
            with psycopg.connect(small) as connection:
                await jobs.send(within=join(connection, "pgboss"))

        ways: list[Callable[[], object]] = [
            in_own_transaction,
            in_joined_transaction,
            in_synchronous_transaction,
        ]
        with full(small):
            await check_each_async([(way,) for way in ways], lambda way: way())
        assert len(await jobs.claim()) == 5


async def test_full_queue_is_logged_once_and_used_again_when_it_is_not_full(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with PostgresStorage.open(small, listen=False) as storage:
        jobs = Sender(storage, SystemClock())
        await sleeping(storage)
        with psycopg.connect(small, autocommit=True) as listening:
            with full(small):
                for _ in range(3):
                    await jobs.send()
            listening.execute("listen zeke_work_pgboss")
            await jobs.send()
            (notified,) = listening.notifies(timeout=120, stop_after=1)
            assert notified.payload == "mail"
    assert capsys.readouterr().err.count("notify_queue_full") == 1


def test_statements_look_at_the_queue_after_a_failure_and_send_nothing_after_another() -> None:
    class Loop(asyncio.SelectorEventLoop):
        seconds = 0.0

        def time(self) -> float:
            return self.seconds

    loop = Loop()

    async def program() -> None:
        queue, error = NotifyQueue(), psycopg.errors.ProgramLimitExceeded("too many in the NOTIFY queue")
        modes = [queue.mode]
        assert not queue.is_full(psycopg.errors.ProgramLimitExceeded("the string is too long"))
        for seconds, fails in [(1, True), (0, True), (4.9, False), (0.2, False), (55, False)]:
            loop.seconds += seconds
            assert not fails or queue.is_full(error)
            modes.append(queue.mode)
        assert modes == ["always", "unless full", "never", "never", "unless full", "always"]

    loop.run_until_complete(program())
    loop.close()


async def test_doctor_names_the_session_that_keeps_the_queue_full(small: str) -> None:
    with full(small):
        found, _ = await inspect(small, "pgboss")
        (finding,) = [one for one in found if "notification queue" in one.found]
    assert "100% full" in finding.found
    assert "idle in transaction" in (finding.advice or "")
    found, _ = await inspect(small, "pgboss")
    assert [one for one in found if "notification queue" in one.found] == []
