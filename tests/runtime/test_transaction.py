"""Transactions of a queue: jobs and the rows of the application are stored together or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest

from tests.cases import check_each_async
from tests.conformance.driver import is_kept_waiting, soon
from tests.conformance.storages import on_both_storages, on_postgres
from tests.runtime.catalogs import mail_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.errors import JobConflictError, PayloadValidationError, StorageUnavailableError, UsageError
from zeke_queue.model import JobQuery
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.prepare import Send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.clocks import FrozenClock
    from zeke_queue.client.transaction import QueueTransaction
    from zeke_queue.model import NewJob

PARENT = UUID("0193aaaa-0000-7000-8000-000000000009")


class Abandoned(Exception):
    """What ends a transaction of a test."""


async def abandon(queue: Queue, work: Callable[[QueueTransaction], Awaitable[object]]) -> None:
    """Do some work in a transaction, and then let it fail."""
    async with queue.transaction() as transaction:
        await work(transaction)
        raise Abandoned


async def number_of_jobs(queue: Queue) -> int:
    return len(await queue.find(JobQuery(limit=1000)))


@on_both_storages
async def test_jobs_of_a_transaction_exist_once_it_commits(queue: Queue) -> None:
    async with queue.transaction() as transaction:
        sent = await transaction.send("mail", {"to": "ann"})
        many = await transaction.send_many([Send("clean"), Send("clean")])
        run = await transaction.trigger("clean")
        assert await number_of_jobs(queue) == 0
    assert sent is not None
    assert await queue.storage.get([sent, run.id, *filter(None, many)])
    assert await number_of_jobs(queue) == 4


@on_both_storages
async def test_jobs_of_a_failed_transaction_are_not_stored(queue: Queue) -> None:
    with pytest.raises(Abandoned):
        await abandon(queue, lambda transaction: transaction.send("clean"))
    assert await number_of_jobs(queue) == 0


@on_both_storages
async def test_invalid_payload_rolls_the_transaction_back(queue: Queue) -> None:
    with pytest.raises(PayloadValidationError):
        await abandon(queue, lambda transaction: transaction.send_many([Send("clean"), Send("mail", {})]))
    assert await number_of_jobs(queue) == 0


@on_both_storages
async def test_transaction_goes_on_after_a_refused_job(queue: Queue) -> None:
    holder = await queue.send("clean", singleton_key="k")
    async with queue.transaction() as transaction:
        assert await transaction.send("clean", singleton_key="k") is None
        with pytest.raises(JobConflictError) as caught:
            await transaction.trigger("clean", singleton_key="k")
        await transaction.send("clean")
    assert caught.value.holder == holder
    assert await number_of_jobs(queue) == 2


@on_both_storages
async def test_second_debounced_job_of_a_transaction_takes_the_next_slot(queue: Queue) -> None:
    async with queue.transaction() as transaction:
        sent = [await transaction.send("clean", debounce=60) for _ in range(3)]
    assert [job_id is None for job_id in sent] == [False, False, True]


@on_both_storages
async def test_jobs_of_a_transaction_take_its_parent_and_meta_by_default(
    queue: Queue,
) -> None:
    async with queue.transaction(parent=PARENT, meta={"trace": "t"}) as transaction:
        heir = await transaction.send("clean")
        own = await transaction.send("clean", parent=heir, meta={"trace": "u"})
    assert heir is not None
    assert own is not None
    found = await queue.storage.get([heir, own])
    assert (found[heir].parent, found[heir].meta) == (PARENT, {"trace": "t"})
    assert (found[own].parent, found[own].meta) == (heir, {"trace": "u"})


@on_both_storages
async def test_callbacks_run_when_the_transaction_ends(queue: Queue) -> None:
    called: list[str] = []

    async def fail(transaction: QueueTransaction) -> None:
        transaction.on_commit(lambda: called.append("committed"))
        transaction.on_rollback(lambda: called.append("undone first"))
        transaction.on_rollback(lambda: called.append("undone last"))

    async with queue.transaction() as transaction:
        transaction.on_commit(lambda: called.append("committed"))
        transaction.on_rollback(lambda: called.append("undone"))
        assert called == []
    assert called == ["committed"]
    with pytest.raises(Abandoned):
        await abandon(queue, fail)
    assert called == ["committed", "undone last", "undone first"]


@on_both_storages
async def test_every_call_after_the_end_of_a_transaction_is_refused(queue: Queue) -> None:
    kept: list[QueueTransaction] = []

    async def keep(transaction: QueueTransaction) -> None:
        kept.append(transaction)

    async with queue.transaction() as transaction:
        await keep(transaction)
    with pytest.raises(Abandoned):
        await abandon(queue, keep)

    async def check(ended: QueueTransaction) -> None:
        for attempt in (ended.send("clean"), ended.send_many([Send("clean")]), ended.trigger("clean")):
            with pytest.raises(UsageError, match="has ended"):
                await attempt
        for register in (ended.on_commit, ended.on_rollback):
            with pytest.raises(UsageError, match="has ended"):
                register(lambda: None)
        with pytest.raises(UsageError, match="has ended"):
            _ = ended.connection

    await check_each_async(dict(zip(["committed", "rolled back"], kept, strict=True)), check)
    assert await number_of_jobs(queue) == 0


@on_both_storages
async def test_job_that_conflicts_within_its_transaction_is_refused(queue: Queue) -> None:
    async with queue.transaction() as transaction:
        await transaction.send("clean", singleton_key="k")
        with pytest.raises(JobConflictError) as caught:
            await transaction.trigger("clean", singleton_key="k")
    assert caught.value.holder is None
    assert "ended" not in str(caught.value)


@pytest.mark.parametrize("answer", ["none", "error"])
async def test_job_is_refused_though_the_conflicting_one_stays_unknown(
    clock: FrozenClock, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    # On a database, transactions that hold every connection of the pool would wait here for each other.
    async def holder(job: NewJob) -> UUID | None:
        if answer == "error":
            raise StorageUnavailableError("no connection could be had")
        await asyncio.Event().wait()

    storage = MemoryStorage(clock)
    monkeypatch.setattr(storage, "holder", holder)
    queue = Queue(mail_catalog(), storage, clock=clock)
    await queue.send("clean", singleton_key="k")
    async with queue.transaction() as transaction:
        triggering = asyncio.ensure_future(transaction.trigger("clean", singleton_key="k"))
        for _ in range(3):
            await is_kept_waiting(asyncio.shield(asyncio.gather(triggering, return_exceptions=True)))
            clock.advance(1)
        with pytest.raises(JobConflictError) as caught:
            await soon(triggering)
    assert caught.value.holder is None


# In a transaction of the caller's, which only a database has


@pytest.fixture
async def connection(emptied_dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection of the application's own, with a table of its own."""
    async with await psycopg.AsyncConnection.connect(emptied_dsn) as connection:
        await connection.execute("create table letter (id uuid)")
        await connection.commit()
        yield connection
        await connection.rollback()
        await connection.execute("drop table letter")


async def letters(connection: psycopg.AsyncConnection) -> int:
    cursor = await connection.execute("select count(*) from letter")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


@on_postgres
async def test_job_sent_on_a_connection_exists_once_the_caller_commits(
    queue: Queue, connection: psycopg.AsyncConnection
) -> None:
    job_id = await queue.send("clean", connection=connection)
    await connection.execute("insert into letter values (%s)", [job_id])
    assert await number_of_jobs(queue) == 0
    await connection.commit()
    assert await number_of_jobs(queue) == await letters(connection) == 1


@on_postgres
async def test_job_sent_on_a_connection_is_not_stored_if_the_caller_rolls_back(
    queue: Queue, connection: psycopg.AsyncConnection
) -> None:
    await queue.send("clean", connection=connection)
    await queue.send_many([Send("clean")], connection=connection)
    await queue.trigger("clean", connection=connection)
    await connection.rollback()
    assert await number_of_jobs(queue) == 0


@on_postgres
async def test_transaction_joins_the_one_on_the_connection(
    queue: Queue, connection: psycopg.AsyncConnection
) -> None:
    async with connection.transaction():
        async with queue.transaction(connection) as transaction:
            assert transaction.connection is connection
            await transaction.send("clean")
            await transaction.connection.execute("insert into letter values (null)")
        assert await number_of_jobs(queue) == 0
    assert await number_of_jobs(queue) == await letters(connection) == 1


@on_postgres
async def test_rows_of_the_application_are_stored_with_the_jobs(
    queue: Queue, connection: psycopg.AsyncConnection
) -> None:
    async def write(transaction: QueueTransaction) -> None:
        await transaction.send("clean")
        await transaction.connection.execute("insert into letter values (null)")

    with pytest.raises(Abandoned):
        await abandon(queue, write)
    assert await number_of_jobs(queue) == await letters(connection) == 0
    async with queue.transaction() as transaction:
        await write(transaction)
    assert await number_of_jobs(queue) == await letters(connection) == 1


async def test_connection_is_refused_in_memory(queue: Queue) -> None:
    with pytest.raises(UsageError, match="connection"):
        await queue.send("clean", connection=object())
