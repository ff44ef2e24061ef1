"""A statement that makes jobs of several queues due, or makes room in them, wakes idle workers of each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.conformance.driver import ANNA, BOOM, Driver, soon
from tests.conformance.planting import Plant
from tests.conformance.test_wakeups import sleeper
from zeke_queue.model import (
    Claimed,
    Completed,
    Failed,
    QueueSettings,
    Released,
    RowState,
    Waiting,
    WorkerInfo,
)

NAMES = ("mail", "post")

Way = Callable[[Driver, list[Claimed], Plant], AsyncGenerator[None]]
"""Prepares a running job of each queue; wakes workers when it is continued."""


async def _inserted(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    await jobs.storage.insert([jobs.new(job.name, fresh=True) for job in running])


async def _inserted_in_a_transaction(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    async with jobs.storage.transaction() as transaction:
        for job in running:
            await transaction.insert([jobs.new(job.name)])


async def _released(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    await jobs.storage.settle(released=[Released(job.id, job.attempt) for job in running])


async def _retried_at_once(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    await jobs.storage.settle_unlocked(failed=[Failed(job.id, job.attempt, 0.0, BOOM) for job in running])


async def _retried_by_hand(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    await jobs.storage.settle(failed=[Failed(job.id, job.attempt, None, BOOM) for job in running])
    yield
    await jobs.storage.retry([job.id for job in running])


async def _resumed(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    await jobs.storage.cancel([job.id for job in running])
    yield
    await jobs.storage.resume([job.id for job in running])


async def _woken_by_a_child(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    child = await jobs.running("errand")
    await jobs.storage.suspend([Waiting(job.id, job.attempt, child.id) for job in running])
    yield
    await jobs.complete(child)


async def _woken_by_a_sweep(jobs: Driver, running: list[Claimed], plant: Plant) -> AsyncGenerator[None]:
    child = await jobs.running("errand")
    await jobs.storage.suspend([Waiting(job.id, job.attempt, child.id) for job in running])
    ended = replace(await jobs.look(child.id), row_state=RowState.COMPLETED, completed_on=jobs.clock.now())
    await plant(ended)  # as pg-boss 9 completes a job
    yield
    jobs.clock.advance(1)
    assert await jobs.storage.resume_waiting(10) == len(running)


async def _waiting_for_an_ended_job(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    child = await jobs.ended(RowState.COMPLETED, "errand")
    jobs.clock.advance(1)
    yield
    await jobs.storage.suspend([Waiting(job.id, job.attempt, child) for job in running])


async def _completed(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    await jobs.storage.settle(completed=[Completed(job.id, job.attempt, None) for job in running])


async def _completed_in_a_transaction(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    async with jobs.storage.transaction() as transaction:
        for job in running:
            await transaction.settle(completed=[Completed(job.id, job.attempt, None)])


async def _expired(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    expired = [Failed(job.id, job.attempt, None, BOOM, RowState.EXPIRED) for job in running]
    await jobs.storage.settle(failed=expired)


async def _cancelled(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    yield
    await jobs.storage.cancel([job.id for job in running])


async def _cancelled_with_a_parent(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    parent = await jobs.running("errand")
    child = jobs.new("mail", parent=parent.id)
    await jobs.storage.settle(completed=[Completed(running[0].id, running[0].attempt, None)])
    await jobs.storage.insert_child(child, parent.attempt)
    assert await jobs.wait_for(child.id, parent)
    assert (await jobs.claim_one("mail")).id == child.id
    yield
    assert await jobs.storage.cancel([parent.id, running[1].id]) == {parent.id, child.id, running[1].id}


async def _suspended(jobs: Driver, running: list[Claimed], _: Plant) -> AsyncGenerator[None]:
    child = await jobs.send("errand")
    yield
    await jobs.storage.suspend([Waiting(job.id, job.attempt, child) for job in running])


DUE: tuple[Way, ...] = (
    _inserted,
    _inserted_in_a_transaction,
    _released,
    _retried_at_once,
    _retried_by_hand,
    _resumed,
    _woken_by_a_child,
    _woken_by_a_sweep,
    _waiting_for_an_ended_job,
)
ROOM: tuple[Way, ...] = (
    _completed,
    _completed_in_a_transaction,
    _expired,
    _cancelled,
    _cancelled_with_a_parent,
    _suspended,
)


@pytest.mark.parametrize("way", [*DUE, *ROOM])
async def test_idle_workers_of_each_queue_are_woken(jobs: Driver, plant: Plant, way: Way) -> None:
    storage = jobs.storage
    # A worker of all of them, none of which is its first.
    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("other", *NAMES), 15.0))
    if way in ROOM:
        await storage.declare([QueueSettings(name, concurrency_limit=1) for name in NAMES], [])
    steps = way(jobs, [await jobs.running(name) for name in NAMES], plant)
    await anext(steps)
    async with sleeper(storage, "mail") as one, sleeper(storage, "post") as another:
        with suppress(StopAsyncIteration):
            await anext(steps)
        assert [await soon(one), await soon(another)] == [True, True]
