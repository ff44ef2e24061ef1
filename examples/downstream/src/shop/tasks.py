"""The shop's tasks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, PositiveInt
from zeke_queue import Catalog, Fail, JobContext, Retry

from shop.payments import Declined, Payments, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def providers() -> AsyncIterator[Payments]:
    """Connect to the payment provider, once a worker."""
    raise NotImplementedError("this example has none; its tests bring a double")
    yield


catalog = Catalog(resources=providers)


class Order(BaseModel):
    """What a customer wants to pay for."""

    number: int
    customer: str
    cents: PositiveInt


class Receipt(BaseModel):
    """What a customer has paid."""

    order: Order
    payment: str


@catalog.task("charge", retry_limit=8, retry_delay=5, retry_delay_max=600, expire_in=60)
async def charge(order: Order, job: JobContext) -> str:
    """Charge an order, and have its receipt written."""
    payments: Payments = job.resources
    try:
        payment = await payments.charge(order.customer, order.cents, key=f"order-{order.number}")
    except Declined as error:
        await job.send(remind, order, delay=timedelta(days=1), singleton_key=f"remind-{order.number}")
        raise Fail(f"declined: {error}") from error
    except Unavailable as error:
        raise Retry(after=30, reason=str(error)) from error
    job.logger.info("charged", order=order.number, payment=payment)
    await job.send(write_receipt, Receipt(order=order, payment=payment))
    return payment


@catalog.task("write-receipt")
def write_receipt(receipt: Receipt) -> str:
    """Write a receipt."""
    today = datetime.now(UTC).date()
    return f"{today}: order {receipt.order.number}, {receipt.order.cents / 100:.2f}, {receipt.payment}"


@catalog.task("remind")
async def remind(order: Order) -> str:
    """Ask a customer to pay in another way."""
    return f"Dear {order.customer}, order {order.number} is still to be paid."


@catalog.task("report")
async def report(job: JobContext) -> str:
    """Report on the day that has ended."""
    job.progress(0.5, "counting")
    day = datetime.now(UTC).date() - timedelta(days=1)
    return f"report of {day}"


catalog.schedule("nightly-report", "0 3 * * *", task=report, timezone="Europe/Berlin")
