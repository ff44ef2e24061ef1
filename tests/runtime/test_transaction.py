"""Transactions of a queue: jobs and the rows of the application are stored together or not at all."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, cast
from uuid import UUID

import httpx2
import psycopg
import pytest
from fastapi import Depends, FastAPI, Request

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.conformance.storages import on_both_storages, on_postgres
from tests.runtime.catalogs import nothing
from zeke_queue.client import open_transactions
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import JobConflictError, PayloadValidationError, UsageError
from zeke_queue.model import JobQuery, RowState
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.senders import Transaction
from zeke_queue.task.task import Send
from zeke_queue.worker import Worker

PARENT = UUID("0193aaaa-0000-7000-8000-000000000009")


class Abandoned(Exception):
    """What ends a transaction of a test."""


async def abandon(queue: Queue, work: Callable[[Transaction], Awaitable[object]]) -> None:
    """Do some work in a transaction, and then make it fail."""
    async with queue.transaction() as transaction:
        await work(transaction)
        raise Abandoned


async def number_of_jobs(queue: Queue) -> int:
    return len((await queue.find(JobQuery(limit=1000))).jobs)


@on_both_storages
async def test_jobs_of_a_transaction_exist_once_it_commits(queue: Queue) -> None:
    async with queue.transaction() as transaction:
        sent = (await transaction.send("mail", {"to": "ann"})).id
        many = [run.id for run in await transaction.send_many([Send("clean"), Send("clean")])]
        run = await transaction.trigger("clean")
        assert await number_of_jobs(queue) == 0
    assert sent is not None
    assert await parts_of(queue).storage.get([sent, run.id, *filter(None, many)])
    assert await number_of_jobs(queue) == 4


@on_both_storages
async def test_invalid_payload_rolls_the_transaction_back(queue: Queue) -> None:
    with pytest.raises(PayloadValidationError):
        await abandon(queue, lambda transaction: transaction.send_many([Send("clean"), Send("mail", {})]))
    assert await number_of_jobs(queue) == 0


@on_both_storages
async def test_transaction_continues_after_a_refused_job(queue: Queue) -> None:
    holder = (await queue.send("clean", singleton_key="k")).id
    async with queue.transaction() as transaction:
        assert not (await transaction.send("clean", singleton_key="k")).created
        with pytest.raises(JobConflictError) as caught:
            await transaction.trigger("clean", singleton_key="k")
        await transaction.send("clean")
    assert caught.value.holder == holder
    assert await number_of_jobs(queue) == 2


@on_both_storages
async def test_second_debounced_job_of_a_transaction_takes_the_next_slot(queue: Queue) -> None:
    async with queue.transaction() as transaction:
        runs = [await transaction.send("clean", debounce=60) for _ in range(3)]
    assert [run.created for run in runs] == [True, True, False]
    assert runs[2].id == runs[1].id


@on_both_storages
async def test_jobs_of_a_transaction_take_its_parent_and_meta_by_default(queue: Queue) -> None:
    async with queue.transaction(parent=PARENT, meta={"trace": "t"}) as transaction:
        heir = (await transaction.send("clean")).id
        own = (await transaction.send("clean", parent=heir, meta={"trace": "u"})).id
    assert heir is not None
    assert own is not None
    found = await parts_of(queue).storage.get([heir, own])
    assert (found[heir].parent, found[heir].meta) == (PARENT, {"trace": "t"})
    assert (found[own].parent, found[own].meta) == (heir, {"trace": "u"})


@on_both_storages
async def test_callbacks_run_when_the_transaction_ends(queue: Queue) -> None:
    called: list[str] = []

    async def fail(transaction: Transaction) -> None:
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
    kept: list[Transaction] = []

    async def keep(transaction: Transaction) -> None:
        kept.append(transaction)

    async with queue.transaction() as transaction:
        await keep(transaction)
    with pytest.raises(Abandoned):
        await abandon(queue, keep)

    async def check(ended: Transaction) -> None:
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
        first = await transaction.send("clean", singleton_key="k")
        with pytest.raises(JobConflictError) as caught:
            await transaction.trigger("clean", singleton_key="k")
    assert caught.value.holder == first.id


@on_both_storages
async def test_transaction_cancels_jobs_with_its_rows(queue: Queue) -> None:
    first, second = await queue.send("clean"), await queue.send("clean")

    async def cancel(transaction: Transaction) -> None:
        assert await transaction.cancel(first.id)

    with pytest.raises(Abandoned):
        await abandon(queue, cancel)
    assert (await first.job()).row_state is RowState.CREATED
    async with queue.transaction() as transaction:
        own = await transaction.send("clean")
        for run in (second, own):
            assert await transaction.cancel(run.id)
            assert not await transaction.cancel(run.id)
        assert not await transaction.cancel(PARENT)
    for run in (second, own):
        assert (await run.job()).row_state is RowState.CANCELLED


# Sends beside an open transaction


@on_both_storages
async def test_send_beside_an_open_transaction_is_refused(queue: Queue) -> None:
    other = Queue(queue.catalog, MemoryStorage(FrozenClock()), clock=queue.clock)
    same = Queue(queue.catalog, parts_of(queue).storage, clock=queue.clock)

    run = await queue.send("clean")
    await queue.schedules.put("daily", "0 0 * * *", task="clean")

    async def check(call: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises(UsageError, match=r"^[\w.]+ inside a transaction of the same storage"):
            await call()

    async with queue.transaction() as transaction, other.transaction():
        await check_each_async(
            {
                "send": lambda: queue.send("clean"),
                "trigger": lambda: queue.trigger("clean"),
                "send_many": lambda: queue.send_many([Send("clean")]),
                "transaction": lambda: queue.transaction().__aenter__(),
                "cancel": lambda: queue.cancel(run.id),
                "cancel of a run": run.cancel,
                "retry": lambda: queue.retry(run.id),
                "resume": lambda: queue.resume(run.id),
                "trigger of a schedule": lambda: queue.schedules.trigger("daily"),
                "drain": lambda: Worker(queue).drain(),
                "another queue": lambda: same.send("clean"),
                "gather in the block": lambda: asyncio.gather(queue.send("clean")),
                "a thread": lambda: asyncio.to_thread(asyncio.run, queue.send("clean")),
                "storages nest": lambda: other.send("clean"),
            },
            check,
        )
        async with queue.outside_transaction():
            if parts_of(queue).storage.__class__ is not MemoryStorage:  # in memory it would wait
                await queue.send("clean")
        await transaction.send("clean")
    assert (await queue.send("clean")).created
    assert (await other.send("clean")).created


async def test_task_that_outlives_the_transaction_of_its_creator_can_send(queue: Queue) -> None:
    ended = asyncio.Event()

    async def later() -> bool:
        await ended.wait()
        return (await queue.send("clean")).created

    async with queue.transaction():
        task = asyncio.ensure_future(later())
    ended.set()
    assert await soon(task)


async def test_task_that_outlives_a_transaction_does_not_keep_its_storage(clock: FrozenClock) -> None:
    storage = MemoryStorage(clock)
    collected, ended = weakref.ref(storage), asyncio.Event()
    with open_transactions.inside(storage):
        task = asyncio.ensure_future(ended.wait())
    del storage
    gc.collect()
    assert collected() is None
    ended.set()
    await task


@pytest.fixture
async def open_in_fixture(queue: Queue) -> AsyncIterator[Transaction]:
    async with queue.transaction() as transaction:
        yield transaction
    assert (await queue.send("clean")).created


async def test_transaction_of_a_fixture_is_open_in_the_test(
    queue: Queue, open_in_fixture: Transaction
) -> None:
    await open_in_fixture.send("clean")
    with pytest.raises(UsageError, match=r"^queue\.send inside"):
        await queue.send("clean")


async def opened_by_dependency(request: Request) -> AsyncIterator[Transaction]:
    async with request.app.state.queue.transaction() as transaction:
        yield transaction


async def order(request: Request, transaction: Annotated[Any, Depends(opened_by_dependency)]) -> None:
    await transaction.send("clean")
    with pytest.raises(UsageError, match=r"^queue\.send inside"):
        await request.app.state.queue.send("clean")


async def test_transaction_of_a_fastapi_dependency_is_open_in_the_endpoint(queue: Queue) -> None:
    app = FastAPI()
    app.state.queue = queue
    app.add_api_route("/orders", order, methods=["POST"])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://app") as client:
        assert (await client.post("/orders")).status_code == 200
    assert (await queue.send("clean")).created
    assert await number_of_jobs(queue) == 2


@on_postgres
async def test_outside_transaction_ends_with_its_block_and_survives_a_rollback(queue: Queue) -> None:
    sent: list[UUID] = []

    async def work(transaction: Transaction) -> None:
        async with queue.outside_transaction():
            sent.append((await queue.send("clean")).id)
        with pytest.raises(UsageError, match=r"^queue\.send inside"):
            await queue.send("clean")

    with pytest.raises(Abandoned):
        await abandon(queue, work)
    assert [job.id for job in (await queue.find(JobQuery())).jobs] == sent


async def test_blocks_may_end_in_any_order_and_context(queue: Queue) -> None:
    other = Queue(queue.catalog, MemoryStorage(FrozenClock()), clock=queue.clock)
    first, second = queue.transaction(), other.transaction()
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert (await queue.send("clean")).created
    with pytest.raises(UsageError):
        await other.send("clean")
    await asyncio.ensure_future(second.__aexit__(None, None, None))  # as a fixture is closed
    assert (await other.send("clean")).created
    async with queue.transaction():
        pass
    assert not any(block.storage for block in open_transactions.OPEN.get())


async def test_worker_that_starts_inside_a_transaction_is_not_part_of_it(clock: FrozenClock) -> None:
    catalog = Catalog()

    @catalog.task("parent")
    async def parent(job: JobContext) -> str:
        return str((await job.send("child")).id)

    catalog.task("child")(nothing)
    blocks: dict[str, tuple[object, ...]] = {}

    async def record(call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
        blocks[call.verb] = open_transactions.OPEN.get()
        return await do()

    storage = forward(MemoryStorage(clock), record)
    queue = Queue(catalog, storage, clock=clock)
    run = await queue.send(parent)
    with open_transactions.inside(storage):
        async with Worker(queue) as worker:
            with open_transactions.outside():
                await worker.drain()
            for verb in ("claim", "settle", "lock_expired", "wait_for_jobs"):
                assert blocks[verb] == (), verb
    assert await run.result(0)


async def test_handler_with_an_open_transaction_changes_jobs_through_it(clock: FrozenClock) -> None:
    catalog = Catalog()
    refused: dict[str, str] = {}

    @catalog.task("parent")
    async def parent(job: JobContext) -> None:
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "job.send": lambda: job.send("child"),
            "job.trigger": lambda: job.trigger("child"),
            "job.start_child": lambda: job.start_child("child", key="c"),
            "job.extend": lambda: job.extend(60),
        }
        async with job.transaction(lock=False) as transaction:
            for name, call in calls.items():
                with pytest.raises(UsageError) as caught:
                    await call()
                refused[name] = str(caught.value).partition(" ")[0]
            await transaction.send("child")

    catalog.task("child")(nothing)
    queue = Queue(catalog, MemoryStorage(clock), clock=clock)
    run = await queue.send(parent)
    async with Worker(queue) as worker:
        await worker.drain()
    await run.result(0)
    assert refused == {name: name for name in refused}
    assert len(refused) == 4


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
    async def write(transaction: Transaction) -> None:
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
        async with queue.transaction(cast("Any", object())):
            pass
