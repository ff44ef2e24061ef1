"""What a type checker infers from the public API; pyright and mypy check this file, nothing runs it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, assert_type
from uuid import UUID

import anyio
from pydantic import BaseModel

from zeke_queue import Catalog, Job, JobContext, Queue, Run, SyncQueue, SyncRun, Task, Worker, run_worker
from zeke_queue.worker import drain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session, scoped_session

    from zeke_sim import Client, Zeke


class Order(BaseModel):
    """A payload."""

    number: int


class Receipt(BaseModel):
    """A result."""

    total: int


class Bank:
    """A resource."""


@asynccontextmanager
async def bank() -> AsyncGenerator[Bank]:
    """Open the resource."""
    yield Bank()


catalog = Catalog(resources=bank)
assert_type(catalog, Catalog[Bank])


@catalog.task("charge", retry_limit=3, singleton_key=lambda order: str(order.number))
async def charge(order: Order, job: JobContext[Bank]) -> Receipt:
    """Use payload and context."""
    assert_type(job.resources, Bank)
    assert_type(await job.call(refund, order), int)
    assert_type(await job.call(sweep), None)
    assert_type(await job.call("other"), Any)
    child = await job.start_child(refund, order, key="refund")
    assert_type(child, Run[int])
    ended = await job.wait_for(child)
    assert_type(ended, Job)
    assert_type(child.output_of(ended), int)
    async with job.transaction() as transaction:
        assert_type(await transaction.send(refund, order), Run[int])
    return Receipt(total=order.number)


@catalog.task("refund")
async def refund(order: Order) -> int:
    """Use the payload alone."""
    return order.number


@catalog.task("sweep")
async def sweep(job: JobContext[Bank]) -> None:
    """Use the context alone."""
    job.logger.info("swept")


@catalog.task("tick")
async def tick() -> str:
    """Use neither."""
    return "tick"


@catalog.task("crunch", process=True)
def crunch(order: Order) -> float:
    """Run in a process."""
    return order.number / 2


@catalog.task("count")
def count() -> int:
    """Run in a thread."""
    return 1


@catalog.task("sort")
def sort(order: Order, job: JobContext[Bank]) -> list[int]:
    """Use both in a thread."""
    assert_type(job.resources, Bank)
    return [order.number]


@catalog.task("log")
def log(job: JobContext[Bank]) -> bool:
    """Use the context in a thread."""
    return job.cancelled


@catalog.task("any")
async def anything(payload: dict[str, Any]) -> int:
    """Take any object; a payload of type Any would be taken for the context."""
    return len(payload)


async def program(queue: Queue, job_id: UUID, session: AsyncSession) -> None:
    """Send, wait and read."""
    order = Order(number=1)
    run = await queue.send(charge, order, priority=3)
    assert_type(run, Run[Receipt])
    assert_type(run.created, bool)
    assert_type((await run.result()).total, int)
    assert_type(await (await queue.trigger(refund, order)).result(timeout=1.0), int)
    assert_type(await queue.send(sweep), Run[None])
    assert_type(await queue.send(tick, delay=5), Run[str])
    assert_type(await queue.send(crunch, order), Run[float])
    assert_type(await queue.send(count), Run[int])
    assert_type(await queue.send(sort, order), Run[list[int]])
    assert_type(await queue.send(log), Run[bool])
    assert_type(await queue.send(anything, {"a": 1}), Run[int])
    assert_type(await queue.send("charge", {"number": 1}), Run[Any])
    assert_type(await queue.send_many([charge.job(order), refund.job(order, delay=1)]), list[Run[Any]])
    assert_type(await queue.get_run(job_id, charge), Run[Receipt])
    assert_type(await queue.get_run(job_id), Run[Any])
    assert_type(charge.validate({"number": 1}), Order)
    async with queue.transaction() as transaction:
        assert_type(await transaction.trigger(charge, order), Run[Receipt])
    async with queue.transaction(session) as transaction:
        assert_type(await transaction.send(tick), Run[str])


async def direct(order: Order) -> None:
    """Call handlers directly."""
    assert_type(await refund(order), int)
    assert_type(crunch(order), float)


async def either(queue: Queue, task: Task[Order, int]) -> int:
    """Take any task with these types."""
    return await (await queue.send(task, Order(number=2))).result()


async def passed_on(queue: Queue) -> None:
    """Give a decorated handler where a task is expected."""
    assert_type(await either(queue, refund), int)


def script(
    connection: psycopg.Connection, session: Session, scoped: scoped_session[Session], job_id: UUID
) -> None:
    """Send, wait and read without asyncio."""
    order = Order(number=1)
    with SyncQueue.connect(catalog) as queue:
        assert_type(queue, SyncQueue)
        assert_type(queue.send(charge, order, priority=3), SyncRun[Receipt])
        assert_type(queue.send(charge, order).result().total, int)
        assert_type(queue.trigger(sweep), SyncRun[None])
        assert_type(queue.send("charge", {"number": 1}), SyncRun[Any])
        assert_type(queue.send_many([charge.job(order)]), list[SyncRun[Any]])
        assert_type(queue.get_run(job_id, charge), SyncRun[Receipt])
        assert_type(queue.get(job_id), Job | None)
        for joinable in (connection, session, session.connection(), scoped):
            with queue.transaction(joinable) as transaction:
                assert_type(transaction.send(refund, order), SyncRun[int])
        with queue.transaction() as own:
            assert_type(own.trigger(refund, order), SyncRun[int])


async def work(queue: Queue, sync: SyncQueue, named: dict[str, int]) -> None:
    """Limit tasks by name, by task, and by both."""
    Worker(queue, task_concurrency=None)
    Worker(queue, task_concurrency=named)
    Worker(queue, task_concurrency={"charge": 1, "tick": 2})
    Worker(queue, task_concurrency={charge: 1, tick: 2})
    Worker(queue, task_concurrency={charge: 1, "tick": 2})
    limits = {charge: 1, refund: 2}
    alike = {charge: 1}
    either: dict[str | Task[Any, Any], int] = {charge: 1, "tick": 2}
    Worker(queue, task_concurrency=limits)
    Worker(queue, task_concurrency=alike)
    Worker(queue, task_concurrency=either)
    await run_worker(queue, task_concurrency={charge: 1, "tick": 2})
    drain(sync, task_concurrency={tick: 1})


async def tested(zeke: Zeke, client: Client, order: Order) -> None:
    """Await a test's calls, and run them as tasks."""
    assert_type(await zeke.send(charge, order), Run[Receipt])
    assert_type(await asyncio.create_task(zeke.trigger(refund, order)), Run[int])
    async with asyncio.TaskGroup() as group:
        sent = group.create_task(client.send(charge, order))
    assert_type(sent.result(), Run[Receipt])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(zeke.send, charge, order)
        tasks.start_soon(client.send, charge, order)
    assert_type(await zeke.result(sent.result()), Receipt)
    assert_type(await asyncio.wait_for(zeke.drain(), 60), None)
