"""A shop that charges orders at a bank, a double whose calls take time, fail, or lose their answers.

Its handler first reads whether the order is charged, and charges with the order's idempotency key, so
whatever happens to a process, a call or an answer, each order is charged once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

import zeke_sim
from tests.workloads import Known, doing, leased, sending, tending
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Snooze
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Change, Effect
from zeke_sim.history.state import Broken
from zeke_sim.properties import ALL, holds
from zeke_sim.properties.user import unique_calls, unique_effects
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.history.state import RunState
    from zeke_sim.loop.decisions import RandomStream

PHASE: Final = 60.0

ERRORS: Final = (ConnectionError, TimeoutError)
"""What calls of the bank raise."""


class Order(BaseModel):
    """An order, by its number."""

    number: int
    cents: int


class Bank:
    """A provider of payments."""

    def __init__(self) -> None:
        self._charged: dict[int, int] = {}

    async def charge(self, order: int, cents: int, *, key: str) -> int:
        """Charge an order, and return the number of the payment; once for each key."""
        del cents, key
        return self._charged.setdefault(order, 1 + len(self._charged))

    async def payment(self, order: int) -> int | None:
        """Return the number of an order's payment; None if it has not been charged."""
        return self._charged.get(order)


async def pay(order: Order, job: JobContext) -> int:
    """Charge an order, unless that is done."""
    bank: Bank = job.resources
    payment: int | None = 0
    try:
        payment = await bank.payment(order.number)
        if payment is None:
            payment = await bank.charge(order.number, order.cents, key=f"order-{order.number}")
    except ERRORS as error:
        raise Snooze(1.0) from error
    return payment or 0


def _order(effect: Effect) -> str:
    """Return which order a call has charged: ``Bank.charge(order=3, cents=500, key='order-3')``."""
    return effect.key.partition(", ")[0]


each_order_is_charged_once = unique_effects("each order is charged once", key=_order)


@holds("what is paid has been charged", Effect, Change)
def what_is_paid_has_been_charged(event: Effect | Change, state: RunState) -> None:
    """A job completes only if its order has been charged."""
    charged = state.of("charged", set[str])
    if isinstance(event, Effect):
        charged.add(_order(event))
        return
    row = event.after
    if row is None or event.table != "job" or row.state is not RowState.COMPLETED or row.data is None:
        return
    number = Order.model_validate_json(row.data).number
    if f"Bank.charge(order={number}" not in charged:
        raise Broken(f"order {number} is paid, and the bank has not charged it", job=row.id)


def build(draws: RandomStream) -> Setup:
    """Draw a few orders, some of which a user cancels, or pays again by hand."""

    @asynccontextmanager
    async def resources() -> AsyncGenerator[Bank]:
        yield bank

    bank = zeke_sim.double(Bank, reads=["payment"])
    catalog = Catalog(resources=resources)
    catalog.task("pay", retry_limit=5, retry_delay=1, expire_in=draws.pick((60.0, 300.0)))(pay)
    known = Known()
    actions = []
    for number in range(4 + draws.below(6)):
        at = draws.uniform(0.0, 0.8 * PHASE)
        order = Order(number=number, cents=100 * (1 + draws.below(9)))
        actions.append((at, sending(known, number, "pay", order)))
        if draws.chance(0.3):
            what = draws.pick(("cancel", "retry"))
            actions.append((at + draws.uniform(0.0, 5.0), tending(known, number, what)))
            actions.append((at + draws.uniform(5.0, 12.0), tending(known, number, "resume")))
    return Setup(
        catalog,
        clients={"c1": doing(actions)},
        worker=leased(1 + draws.below(3), 12.0),
        phase=PHASE,
        quiet=1200.0,
        archive_after=20.0,
        delete_after=20.0,
    )


SCENARIO = Scenario(
    __name__,
    "orders that are charged at a bank, once each, whatever happens to calls and processes",
    build,
    properties=(*ALL, unique_calls, each_order_is_charged_once, what_is_paid_has_been_charged),
)
