"""Levels 2 and 4: the queue in virtual time, in memory and on a real Postgres."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given, settings
from zeke_queue import JobConflictError, JobFailedError
from zeke_sim.strategies import payloads

from shop.orders import take, take_and_keep
from shop.payments import Declined, Unavailable
from shop.tasks import Order, charge, remind, report, write_receipt

if TYPE_CHECKING:
    from zeke_sim import BlockingZeke, Scripted, Zeke

ORDER = Order(number=7, customer="Ada", cents=1999)


class Orders:
    """What holds of orders, wherever jobs are kept."""

    async def test_an_order_is_charged_and_has_a_receipt(self, zeke: Zeke, payments: Scripted) -> None:
        payments.on("charge").answers("pay_1")
        await take(zeke.queue, ORDER)
        zeke.assert_enqueued(charge, ORDER, count=1, singleton_key="order-7")
        await zeke.drain()
        (receipt,) = zeke.jobs(write_receipt)
        assert receipt.output == "2026-03-02: order 7, 19.99, pay_1"

    async def test_a_second_click_is_no_second_order(self, zeke: Zeke) -> None:
        run = await take(zeke.queue, ORDER)
        with pytest.raises(JobConflictError) as refused:
            await take(zeke.queue, ORDER)
        assert refused.value.holder == run.id
        zeke.assert_enqueued(charge, count=1)

    async def test_a_provider_that_is_away_is_asked_every_half_minute(
        self, zeke: Zeke, payments: Scripted
    ) -> None:
        payments.on("charge").raises(Unavailable("busy"))
        payments.on("charge").raises(Unavailable("busy"))
        payments.on("charge").answers("pay_1")
        await take(zeke.queue, ORDER)
        await zeke.drain()
        zeke.assert_enqueued(charge, delay=30)
        await zeke.advance(seconds=70)
        assert len(payments.called("charge")) == 3
        assert zeke.jobs(charge, status="COMPLETED")

    async def test_who_can_not_pay_is_reminded_a_day_later(self, zeke: Zeke, payments: Scripted) -> None:
        payments.on("charge").raises(Declined("no funds"))
        run = await take(zeke.queue, ORDER)
        with pytest.raises(JobFailedError, match="no funds"):
            await run.result(timeout=60)
        await zeke.advance(hours=23)
        zeke.assert_enqueued(remind, {"number": 7})
        await zeke.advance(hours=2)
        assert zeke.jobs(remind, status="COMPLETED")

    async def test_each_night_has_a_report(self, zeke: Zeke) -> None:
        assert await zeke.next_tick() == datetime(2026, 3, 3, 2, tzinfo=UTC)  # 3 o'clock in Berlin
        await zeke.advance(days=2)
        assert [job.output for job in zeke.jobs(report)] == [
            "report of 2026-03-02",
            "report of 2026-03-03",
            "report of 2026-03-04",
        ]

    @pytest.mark.zeke_options(start="2026-03-28T12:00:00+01:00")
    async def test_the_night_on_which_clocks_change_has_one_too(self, zeke: Zeke) -> None:
        assert await zeke.next_tick() == datetime(2026, 3, 29, 1, tzinfo=UTC)
        assert await zeke.next_tick() == datetime(2026, 3, 30, 1, tzinfo=UTC)
        assert len(zeke.jobs(report)) == 2


class TestInMemory(Orders):
    """Level 2."""


@pytest.mark.zeke_backend("postgres")
class TestOnPostgres(Orders):
    """Level 4: the same, on a real server."""

    async def test_order_and_charge_are_stored_together(self, zeke: Zeke) -> None:
        async with await psycopg.AsyncConnection.connect(zeke.dsn or "") as connection:
            await connection.execute("create table shop_order (number int, customer text, cents int)")
        await take_and_keep(zeke.queue, ORDER)
        zeke.assert_enqueued(charge, ORDER)
        async with await psycopg.AsyncConnection.connect(zeke.dsn or "") as connection:
            rows = await connection.execute("select customer from shop_order")
            assert await rows.fetchall() == [("Ada",)]


@settings(max_examples=20)
@given(order=payloads(charge))
async def test_any_order_has_a_receipt(zeke: Zeke, payments: Scripted, order: Order) -> None:
    payments.on("charge", order.customer, order.cents).answers("pay_1")
    await zeke.send(charge, order)
    await zeke.drain()
    (receipt,) = zeke.jobs(write_receipt)  # of this example only
    assert receipt.output == f"2026-03-02: order {order.number}, {order.cents / 100:.2f}, pay_1"


def test_sync_test_uses_every_method(zeke_sync: BlockingZeke, payments: Scripted) -> None:
    payments.on("charge").answers("pay_1")
    run = zeke_sync.trigger(charge, ORDER)
    zeke_sync.drain()
    assert zeke_sync.result(run) == "pay_1"
