"""Taking orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shop.tasks import Order, charge

if TYPE_CHECKING:
    from zeke_queue import Queue, Run


async def take(queue: Queue, order: Order) -> Run:
    """Take an order: its charge is sent once, however often the customer clicks."""
    return await queue.trigger(charge, order, singleton_key=f"order-{order.number}")


async def take_and_keep(queue: Queue, order: Order) -> None:
    """Take an order with its row: neither is there without the other. It takes a Postgres."""
    async with queue.transaction() as transaction:
        await transaction.connection.execute(
            "insert into shop_order (number, customer, cents) values (%s, %s, %s)",
            [order.number, order.customer, order.cents],
        )
        await transaction.send(charge, order)
