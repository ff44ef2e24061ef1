"""Handlers that run other tasks, tested by their developers: by themselves, and with a queue of each kind."""

from __future__ import annotations

import pytest

from tests.sim.plugging import application, run

pytest_plugins = ["pytester"]

TESTS = """
from datetime import timedelta

import pytest
from pydantic import BaseModel

from shop import Order, catalog, charge
from zeke_queue import JobContext, JobFailedError, UsageError
from zeke_queue.model import RowState

{mark}


class Rate(BaseModel):
    cents: int


@catalog.task("bill")
async def bill(order: Order, job: JobContext) -> dict[str, object]:
    charged = await job.wait_for(await job.start_child(charge, order, retry_limit=0))
    return {{"state": str(charged.row_state), "output": charged.output, "child": str(charged.id)}}


@catalog.task("bills")
async def bills(job: JobContext) -> list[str]:
    runs = [
        await job.start_child(charge, Order(number=n), key=f"order/{{n}}", retry_limit=0) for n in (1, 13)
    ]
    return [str((await job.wait_for(run)).row_state) for run in runs]


async def test_child_of_run_task_has_the_configured_result(zeke):
    given = {{"charge": {{"charged": 1}}}}
    said = await zeke.run_task(bill, Order(number=1), results=given)
    (child,) = zeke.last_run.children
    assert (child.task, child.payload) == ("charge", {{"number": 1}})
    assert said == {{"state": "completed", "output": given["charge"], "child": str(child.id)}}
    assert child.id == zeke.last_run.job.child_id("charge")


async def test_failed_child_is_returned_as_an_outcome(zeke):
    said = await zeke.run_task(bill, Order(number=1), results={{"charge": RuntimeError("declined")}})
    assert said["state"] == "failed"
    assert said["output"]["message"] == "declined"
    assert await zeke.run_task(bills, results={{"charge": None}}) == ["completed", "completed"]


@catalog.task("order")
async def order(order: Order, job: JobContext) -> object:
    return await job.call(charge, order)


async def test_call_returns_the_configured_result_or_raises_a_failed_child(zeke):
    results = {{"charge": {{"charged": 1}}}}
    assert await zeke.run_task(order, Order(number=1), results=results) == {{"charged": 1}}
    with pytest.raises(JobFailedError, match="declined"):
        await zeke.run_task(order, Order(number=1), results={{"charge": RuntimeError("declined")}})


@catalog.task("rate")
async def rate(order: Order) -> Rate:
    return Rate(cents=order.number)


@catalog.task("rates")
async def rates(job: JobContext) -> list[int]:
    started = await job.start_child(rate, Order(number=1), key="started")
    sent = await job.send(rate, Order(number=2))
    called = await job.call(rate, Order(number=3))
    return [called.cents, (await started.result()).cents, (await sent.result()).cents]


async def test_results_of_children_have_their_type(zeke):
    assert await zeke.run_task(rates, results={{"rate": {{"cents": 5}}}}) == [5, 5, 5]


@catalog.task("resent")
async def resent(order: Order, job: JobContext) -> str:
    run = await job.send(charge, order)
    try:
        await run.result()
    except JobFailedError as failed:
        return failed.job.output["message"]
    return "charged"


async def test_failure_of_a_sent_job_is_a_failed_job_as_on_a_queue(zeke):
    results = {{"charge": RuntimeError("declined")}}
    assert await zeke.run_task(resent, Order(number=1), results=results) == "declined"


async def test_child_without_a_configured_result_is_reported(zeke):
    with pytest.raises(UsageError, match="must have the result of the child 'charge'"):
        await zeke.run_task(bill, Order(number=1))


async def test_parent_waits_and_continues(zeke):
    run = await zeke.trigger(bill, Order(number=7))
    await zeke.advance(seconds=5)
    waiting = zeke.job(run)
    (child,) = zeke.jobs(charge, parent=run)
    assert (waiting.row_state, waiting.waits_for) == (RowState.CREATED, child.id)
    assert child.row_state is RowState.ACTIVE
    await zeke.drain()
    job = zeke.job(run)
    assert (job.row_state, job.attempt, job.retry_count) == (RowState.COMPLETED, 2, 0)
    assert job.output == {{"state": "completed", "output": {{"charged": 7}}, "child": str(child.id)}}


async def test_time_passes_until_the_parent_has_a_result(zeke):
    before = zeke.now
    run = await zeke.trigger(bills)
    assert await zeke.result(run) == ["completed", "failed"]
    assert zeke.now - before < timedelta(minutes=5)


async def test_children_are_cancelled_with_their_parent(zeke):
    run = await zeke.trigger(bills)
    await zeke.advance(seconds=5)
    assert await zeke.cancel(run)
    await zeke.drain()
    (child,) = zeke.jobs(charge, parent=run, status="CANCELLED")
    assert zeke.job(run).row_state is RowState.CANCELLED
    assert zeke.jobs(status="QUEUED") == []
"""


@pytest.mark.nightly
@pytest.mark.parametrize("backend", ["memory", "postgres"])
def test_handlers_that_wait_for_others(pytester: pytest.Pytester, postgres: str, backend: str) -> None:
    application(pytester, TESTS.format(mark=f'pytestmark = pytest.mark.zeke_backend("{backend}")'))
    pytester.makeini(f"[pytest]\nzeke_postgres = {postgres}\n")
    run(pytester, "-o", "asyncio_mode=auto").assert_outcomes(passed=9)
