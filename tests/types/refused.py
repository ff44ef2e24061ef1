"""Misuses that pyright and mypy must each refuse, one to a line that is marked; nothing runs this file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from zeke_queue import Catalog, JobContext, Queue, SyncQueue, Worker

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session


class Order(BaseModel):
    """A payload."""

    number: int


catalog = Catalog()


@catalog.task("charge")
async def charge(order: Order) -> int:
    """Use the payload."""
    return order.number


@catalog.task("tick")
async def tick() -> str:
    """Use no payload."""
    return "tick"


async def program(queue: Queue, session: Session) -> None:
    """Misuse the queue."""
    await queue.trigger(charge, "an order")  # REFUSED: wrong payload of trigger
    queue.transaction(session)  # REFUSED: a session that is not async
    await queue.send(charge, "an order")  # REFUSED: wrong payload
    await queue.send(charge)  # REFUSED: no payload
    await queue.send(tick, Order(number=1))  # REFUSED: payload for a task without
    await queue.send(charge, Order(number=1), prioritty=1)  # REFUSED: misspelt option
    charge.job("an order")  # REFUSED: wrong payload in Task.job
    total: str = await (await queue.send(charge, Order(number=1))).result()  # REFUSED: wrong result type
    await queue.send(charge, Order(number=len(total)))
    Worker(queue, task_concurrency={"charge": "two"})  # REFUSED: no number


def script(queue: SyncQueue, session: AsyncSession, connection: psycopg.AsyncConnection) -> None:
    """Misuse the queue without asyncio."""
    queue.transaction(session)  # REFUSED: an async session
    queue.transaction(connection)  # REFUSED: an async connection
    queue.transaction(None)  # REFUSED: no connection, as of Django before it is used
    queue.send(charge, "an order")  # REFUSED: wrong payload
    queue.send(charge)  # REFUSED: no payload
    total: str = queue.send(charge, Order(number=1)).result()  # REFUSED: wrong result type
    queue.send(charge, Order(number=len(total)))


@catalog.task("parent")
async def parent(job: JobContext) -> None:
    """Misuse the context."""
    await job.call(charge, "an order")  # REFUSED: wrong payload of call
    await job.start_child(tick, Order(number=1), key="t")  # REFUSED: payload for a child without
    await job.call(charge, Order(number=1), parent=job.id)  # REFUSED: option that children do not have


@catalog.task("late", retry_limit="three")  # REFUSED: wrong type of an option
async def late() -> None:
    """Use a wrong option."""
