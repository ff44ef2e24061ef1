"""Level 1: tasks by themselves, without a queue."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from zeke_queue import Fail, PayloadValidationError, Retry
from zeke_sim import Unscripted

from shop.payments import Declined, Unavailable
from shop.tasks import Order, charge, remind, report, write_receipt

if TYPE_CHECKING:
    from zeke_sim import Scripted, Zeke

ORDER = Order(number=7, customer="Ada", cents=1999)


async def test_charge_sends_a_receipt(zeke: Zeke, payments: Scripted) -> None:
    payments.on("charge", "Ada", 1999, key="order-7").answers("pay_1")
    assert await zeke.run_task(charge, ORDER) == "pay_1"
    (receipt,) = zeke.last_run.children
    assert (receipt.task, receipt.payload["payment"]) == ("write-receipt", "pay_1")
    assert [line.message for line in zeke.last_run.log] == ["charged"]
    payments.assert_all_used()


async def test_a_declined_charge_is_not_tried_again(zeke: Zeke, payments: Scripted) -> None:
    payments.on("charge").raises(Declined("no funds"))
    with pytest.raises(Fail, match="declined: no funds"):
        await zeke.run_task(charge, ORDER)
    (reminder,) = zeke.last_run.children
    assert (reminder.task, reminder.options["delay"]) == ("remind", timedelta(days=1))


async def test_a_provider_that_is_away_is_asked_again(zeke: Zeke, payments: Scripted) -> None:
    payments.on("charge").raises(Unavailable)
    with pytest.raises(Retry):
        await zeke.run_task(charge, ORDER)


async def test_a_call_that_nobody_wrote_an_answer_for_fails(zeke: Zeke) -> None:
    with pytest.raises(Unscripted, match=r"payments\.charge\('Ada', 1999, key='order-7'\)"):
        await zeke.run_task(charge, ORDER)


async def test_what_is_no_order_is_refused(zeke: Zeke) -> None:
    with pytest.raises(PayloadValidationError, match="cents"):
        await zeke.run_task(charge, {"number": 7, "customer": "Ada", "cents": 0})


async def test_texts(zeke: Zeke) -> None:
    receipt = {"order": ORDER.model_dump(), "payment": "pay_1"}
    assert await zeke.run_task(write_receipt, receipt) == "2026-03-02: order 7, 19.99, pay_1"
    assert await zeke.run_task(remind, ORDER) == "Dear Ada, order 7 is still to be paid."
    assert await zeke.run_task(report) == "report of 2026-03-01"
    assert zeke.last_run.progress == [(0.5, "counting")]
