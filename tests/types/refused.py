"""Misuses that pyright and mypy must each refuse, one to a line that is marked; nothing runs this file."""

from __future__ import annotations

from pydantic import BaseModel

from zeke_queue import Catalog, Queue


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


async def program(queue: Queue) -> None:
    """Misuse the queue."""
    await queue.send(charge, "an order")  # REFUSED: wrong payload
    await queue.send(charge)  # REFUSED: no payload
    await queue.send(tick, Order(number=1))  # REFUSED: payload for a task without
    await queue.send(charge, Order(number=1), prioritty=1)  # REFUSED: misspelt option
    charge.job("an order")  # REFUSED: wrong payload in Task.job
    total: str = await (await queue.send(charge, Order(number=1))).result()  # REFUSED: wrong result type
    await queue.send(charge, Order(number=len(total)))


@catalog.task("late", retry_limit="three")  # REFUSED: wrong type of an option
async def late() -> None:
    """Use a wrong option."""
