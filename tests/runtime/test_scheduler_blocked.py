"""A schedule whose key another transaction holds: the others go on, and none of its ticks is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import pytest

from tests.clocks import START, FrozenClock
from tests.conformance.driver import Driver
from tests.conformance.storages import on_both_storages
from tests.runtime.catalogs import mail_catalog
from tests.runtime.intercepted import Intercepted
from tests.runtime.ticking import MINUTE, Ticking, instant, ticks_by_schedule
from tests.runtime.workers.handler import Lines
from tests.runtime.workers.place import turns, until
from zeke_queue.client.queue import Queue
from zeke_queue.core.timeouts import SLOW_MAX, TICK_LOCK_SECONDS
from zeke_queue.errors import StatementTimeoutError
from zeke_queue.maintenance.scheduler import ABSENT_TRIES
from zeke_queue.model import CatchUp, JobQuery
from zeke_queue.storage.forwarding import Call
from zeke_queue.storage.memory import MemoryStorage

RETRY = 5
"""Seconds after which a blocked schedule is tried again."""


@pytest.fixture
def scheduler(queue: Queue, clock: FrozenClock) -> Ticking:
    return Ticking(queue, clock)


class RolledBack(Exception):
    """Ends a transaction without a commit."""


@asynccontextmanager
async def key_held(jobs: Driver, *, commit: bool) -> AsyncIterator[None]:
    """Hold the singleton key of the schedule "blocked" in an open transaction."""
    with suppress(RolledBack):
        async with jobs.storage.transaction() as transaction:
            await transaction.insert([jobs.new("clean", singleton_key="k")])
            yield
            if not commit:
                raise RolledBack


async def tick_beside_a_lock(scheduler: Ticking, after: float) -> None:
    """Serve ticks, some of which wait for a lock that is not released."""
    scheduler.clock.advance(after)
    serving = asyncio.ensure_future(scheduler.scheduler.tick())
    if isinstance(scheduler.parts.storage, MemoryStorage):
        while not serving.done():
            await turns()
            scheduler.clock.advance(TICK_LOCK_SECONDS)
    else:
        await until(serving.done)
    await serving


async def block_once(queue: Queue, scheduler: Ticking, jobs: Driver) -> None:
    """Miss a tick of a schedule whose key another transaction has, which is rolled back afterwards."""
    await store(queue, CatchUp.ONCE)
    await scheduler.tick()
    async with key_held(jobs, commit=False):
        await tick_beside_a_lock(scheduler, MINUTE)


async def store(queue: Queue, catch_up: CatchUp) -> None:
    await queue.schedules.put("blocked", "* * * * *", task="clean", singleton_key="k", catch_up=catch_up)
    await queue.schedules.put("free", "* * * * *", task="clean")


async def last_tick(jobs: Driver) -> datetime | None:
    (schedule,) = [one for one in await jobs.storage.schedules() if one.name == "blocked"]
    return schedule.last_tick


@pytest.mark.nightly
@on_both_storages
@pytest.mark.parametrize("catch_up", CatchUp)
async def test_other_schedules_are_served_and_no_tick_is_missed(
    lines: Lines, queue: Queue, scheduler: Ticking, jobs: Driver, catch_up: CatchUp
) -> None:
    await store(queue, catch_up)
    await scheduler.tick()
    async with key_held(jobs, commit=False):
        for minute in (1, 2, 3):
            await tick_beside_a_lock(scheduler, MINUTE)
            found = await ticks_by_schedule(queue)
            assert found == {"free": [instant(number) for number in range(1, minute + 1)]}
    await scheduler.tick(RETRY)
    # The first one has the key, which refuses the others.
    assert (await ticks_by_schedule(queue))["blocked"] == [instant(1)]
    assert (lines.messages.count("tick_refused"), lines.messages.count("schedule_blocked")) == (2, 1)
    assert (await last_tick(jobs)) == START + timedelta(minutes=3)


@on_both_storages
async def test_ticks_are_refused_once_the_other_transaction_has_the_key(
    queue: Queue, scheduler: Ticking, jobs: Driver
) -> None:
    await store(queue, CatchUp.ALL)
    await scheduler.tick()
    async with key_held(jobs, commit=True):
        await tick_beside_a_lock(scheduler, MINUTE)
    await scheduler.tick(RETRY)
    assert (await last_tick(jobs)) == START + timedelta(minutes=1)
    assert len((await queue.find(JobQuery())).jobs) == 2  # that of the transaction, and that of "free"


async def test_schedule_that_another_scheduler_has_served_follows_its_policy_again(
    queue: Queue, scheduler: Ticking, jobs: Driver
) -> None:
    await store(queue, CatchUp.ONCE)
    await scheduler.tick()
    other = Ticking(queue, scheduler.clock)
    async with key_held(jobs, commit=False):
        await tick_beside_a_lock(scheduler, MINUTE)
    await other.tick()
    assert (await ticks_by_schedule(queue))["blocked"] == [instant(1)]
    (holder,) = await jobs.storage.find_conflicts([jobs.new("clean", singleton_key="k")])
    assert holder is not None
    await queue.cancel(holder)
    await scheduler.tick(5 * MINUTE)
    assert (await ticks_by_schedule(queue))["blocked"] == [instant(1), instant(6)]


async def test_deleted_schedule_is_tried_a_few_times_only(
    queue: Queue, scheduler: Ticking, jobs: Driver
) -> None:
    await block_once(queue, scheduler, jobs)
    await queue.schedules.delete("blocked")
    for _ in range(ABSENT_TRIES + 1):
        await scheduler.tick(RETRY)
    await store(queue, CatchUp.ONCE)
    await scheduler.tick()
    await scheduler.tick(MINUTE)
    assert len((await ticks_by_schedule(queue))["blocked"]) == 1


async def test_stopped_scheduler_tries_no_blocked_schedule(
    queue: Queue, scheduler: Ticking, jobs: Driver
) -> None:
    await block_once(queue, scheduler, jobs)
    scheduler.scheduler.stop()
    await scheduler.tick(RETRY)
    assert "blocked" not in await ticks_by_schedule(queue)


async def test_slow_schedule_is_postponed_and_the_others_are_served(clock: FrozenClock) -> None:
    tries, slow = 0, {"s0"}

    def check(call: Call) -> None:
        nonlocal tries
        if call.verb == "insert" and any(job.singleton_key in slow for job in call.arguments["jobs"]):
            tries += 1
            raise StatementTimeoutError("it took too long")

    intercepted = Intercepted(clock)
    queue = Queue(mail_catalog(), intercepted.storage, clock=clock)
    scheduler = Ticking(queue, clock)
    for number in range(2 * SLOW_MAX):
        await queue.schedules.put(f"s{number}", "* * * * *", task="clean", singleton_key=f"s{number}")
    await scheduler.tick()
    intercepted.before = check
    assert len(await scheduler.tick(MINUTE)) == 2 * SLOW_MAX - 1
    assert tries == 2, "once with the others, and once by itself"
    slow |= {f"s{number}" for number in range(2 * SLOW_MAX)}
    tries = 0
    with pytest.raises(StatementTimeoutError):
        await scheduler.tick(MINUTE)
    assert tries == 1 + SLOW_MAX, "the server is too slow for all"
