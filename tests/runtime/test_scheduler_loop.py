"""The scheduler's loop, and how it stands beside pg-boss's cron."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.runtime.catalogs import mail_catalog
from tests.runtime.intercepted import Intercepted
from tests.runtime.ticking import MINUTE, instant, sent, ticks
from tests.runtime.workers.place import turns
from zeke_queue.errors import PayloadInvalid, StorageError, StorageUnavailable, UsageError
from zeke_queue.model import CatchUp, Schedule
from zeke_queue.queue import Queue
from zeke_queue.rng import SeededEntropy
from zeke_queue.scheduler import Scheduler
from zeke_queue.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Beside pg-boss's own cron, which only a database knows of: here memory is taught to


class Shared(MemoryStorage):
    """A storage on whose tables pg-boss's cron last ran so many seconds ago."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.cron_on: datetime | None = None

    async def foreign_cron_age(self) -> float | None:
        return None if self.cron_on is None else (self.clock.now() - self.cron_on).total_seconds()


async def test_nothing_is_asked_on_another_connection_while_one_is_held(clock: FrozenClock) -> None:
    # Else schedulers that share a small pool wait for each other.
    class Narrow(Shared):
        held = False

        @asynccontextmanager
        async def transaction(self, connection: Any = None) -> AsyncIterator[Any]:
            async with super().transaction(connection) as opened:
                self.held = True
                yield opened
            self.held = False

        async def foreign_cron_age(self) -> float | None:
            assert not self.held
            return await super().foreign_cron_age()

    queue = Queue(mail_catalog(), Narrow(clock), clock=clock)
    await queue.schedule("clean", "* * * * *")
    await Scheduler(queue).tick()
    clock.advance(MINUTE)
    assert len(await Scheduler(queue).tick()) == 1


@pytest.mark.parametrize("catch_up", list(CatchUp))
async def test_while_pg_boss_s_cron_runs_ours_stands_back_and_then_takes_over_where_it_stopped(
    clock: FrozenClock, catch_up: CatchUp
) -> None:
    storage = Shared(clock)
    queue = Queue(mail_catalog(), storage, clock=clock)
    scheduler = Scheduler(queue)
    await queue.schedule("clean", "* * * * *", catch_up=catch_up)
    await scheduler.tick()
    for _ in range(10):
        clock.advance(MINUTE)
        storage.cron_on = clock.now()
        assert await scheduler.tick() == []
    # It has died; what is due before that is known is due to us.
    for _ in range(12):
        clock.advance(10)
        await scheduler.tick()
    assert (await ticks(queue))[-1] == instant(12)
    assert instant(10) not in await ticks(queue)
    if catch_up is CatchUp.ALL:
        assert await ticks(queue) == [instant(11), instant(12)]


# The loop


class Away(MemoryStorage):
    """A storage that goes away and comes back."""

    away = False
    error: Exception = StorageUnavailable("the server is starting up")

    async def declare_queues(self, queues: Any) -> None:
        self._check()
        await super().declare_queues(queues)

    def transaction(self, connection: Any = None) -> Any:
        self._check()
        return super().transaction(connection)

    def _check(self) -> None:
        if self.away:
            raise self.error


class Slow(MemoryStorage):
    """A storage whose transactions take a while."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.clock = clock

    def transaction(self, connection: Any = None) -> Any:
        self.clock.advance(0.03)
        return super().transaction(connection)


async def test_a_tick_each_second_is_served_each_second_however_long_a_look_takes(clock: FrozenClock) -> None:
    queue = Queue(mail_catalog(), Slow(clock), clock=clock)
    await queue.schedule("clean", "* * * * * *")  # by default the latest of missed ticks only
    scheduler = Scheduler(queue)
    running = asyncio.ensure_future(scheduler.run())
    while clock.monotonic() < 100:
        await turns()
        clock.advance(0.05)
    scheduler.stop()
    await soon(running)
    assert len(await ticks(queue)) >= 99


async def test_the_loop_declares_what_the_catalog_says_and_serves_it_until_it_is_stopped(
    clock: FrozenClock,
) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "* * * * *")
    queue = Queue(catalog, MemoryStorage(clock), clock=clock)
    scheduler = Scheduler(queue)
    running = asyncio.ensure_future(scheduler.run())
    for _ in range(125):
        await turns()
        clock.advance(1)
    scheduler.stop()
    await soon(running)
    assert await ticks(queue) == [instant(1), instant(2)]


async def test_a_declared_schedule_that_is_deleted_at_run_time_stays_deleted(clock: FrozenClock) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "* * * * *")
    queue = Queue(catalog, MemoryStorage(clock), clock=clock)
    scheduler = Scheduler(queue)
    running = asyncio.ensure_future(scheduler.run())
    await turns()
    assert await queue.unschedule("clean")
    for _ in range(125):
        await turns()
        clock.advance(1)
    scheduler.stop()
    await soon(running)
    assert await queue.schedules() == []
    assert await ticks(queue) == []


async def test_a_look_that_fails_in_a_way_of_its_own_does_not_end_the_loop(clock: FrozenClock) -> None:
    storage = Away(clock)
    storage.error = UsageError("a trigger of somebody's raised an error")
    queue = Queue(mail_catalog(), storage, clock=clock)
    await queue.schedule("clean", "* * * * *")
    scheduler = Scheduler(queue)
    running = asyncio.ensure_future(scheduler.run())
    await turns()
    for second in range(200):
        storage.away = 10 < second < 20
        await turns()
        clock.advance(1)
    assert not running.done()
    scheduler.stop()
    await soon(running)
    assert len(await ticks(queue)) == 3


async def test_the_loop_survives_outages_from_its_start_on(clock: FrozenClock) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "* * * * *", catch_up="all")
    storage = Away(clock)
    queue = Queue(catalog, storage, clock=clock)
    scheduler = Scheduler(queue)
    running = asyncio.ensure_future(scheduler.run())
    for second in range(1_000):
        storage.away = second % 200 < 100
        await turns()
        clock.advance(1)
    scheduler.stop()
    await soon(running)
    served = await ticks(queue)
    assert len(served) == len(set(served)) >= 13


async def test_a_catalog_whose_schedule_is_wrong_ends_the_loop_at_its_start(clock: FrozenClock) -> None:
    catalog = mail_catalog()
    catalog.schedule("mail", "* * * * *", payload={})
    with pytest.raises(PayloadInvalid):
        await soon(Scheduler(Queue(catalog, MemoryStorage(clock), clock=clock)).run())


async def test_schedule_whose_row_can_not_be_changed_does_not_stop_the_others(clock: FrozenClock) -> None:
    def guard(verb: str, *arguments: Any) -> None:
        if verb == "serve_ticks" and arguments[0] == "a":
            raise StorageError("a trigger of the application raised an error")

    storage = Intercepted(clock)
    queue = Queue(mail_catalog(), storage, clock=clock, entropy=SeededEntropy(1))
    scheduler = Scheduler(queue)
    for name in ("a", "clean", "z"):
        await storage.put_schedule(Schedule(name, "* * * * *", "clean", data=f'"{name}"'))
    await scheduler.tick()
    storage.before = guard
    for _ in range(3):
        clock.advance(MINUTE)
        await scheduler.tick()
    assert Counter(job.data for job in await sent(queue)) == {"clean": 3, "z": 3}
