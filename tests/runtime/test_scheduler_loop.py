"""The scheduler's loop, and its coexistence with pg-boss's cron."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.runtime.catalogs import mail_catalog
from tests.runtime.intercepted import Intercepted
from tests.runtime.ticking import MINUTE, instant, pass_seconds, running, sent, ticks, ticks_by_schedule
from tests.runtime.workers.place import turns
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import PayloadValidationError, StorageError, StorageUnavailableError, UsageError
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.model import CatchUp, Schedule
from zeke_queue.storage.forwarding import Call
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.task.catalog import Catalog

# Beside pg-boss's own cron, which only a database knows of: here memory is taught to


class Shared(MemoryStorage):
    """A storage on whose tables pg-boss's cron last ran a number of seconds ago."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.cron_on: datetime | None = None

    async def pgboss_cron_age(self) -> float | None:
        return None if self.cron_on is None else (self.clock.now() - self.cron_on).total_seconds()


async def test_age_of_the_pg_boss_cron_is_read_outside_of_the_transaction(clock: FrozenClock) -> None:
    # Else schedulers that share a small pool wait for each other.
    class Narrow(Shared):
        held = False

        @asynccontextmanager
        async def transaction(self, connection: Any = None) -> AsyncIterator[Any]:
            async with super().transaction(connection) as opened:
                self.held = True
                yield opened
            self.held = False

        async def pgboss_cron_age(self) -> float | None:
            assert not self.held
            return await super().pgboss_cron_age()

    queue = Queue(mail_catalog(), Narrow(clock), clock=clock)
    await queue.schedules.put("clean", "* * * * *")
    await Scheduler(parts_of(queue)).tick()
    clock.advance(MINUTE)
    assert len(await Scheduler(parts_of(queue)).tick()) == 1


async def test_scheduler_pauses_while_the_cron_of_pg_boss_runs_and_then_takes_over(
    clock: FrozenClock,
) -> None:
    storage = Shared(clock)
    queue = Queue(mail_catalog(), storage, clock=clock)
    scheduler = Scheduler(parts_of(queue))
    for catch_up in CatchUp:
        await queue.schedules.put(catch_up.value, "* * * * *", task="clean", catch_up=catch_up)
    await scheduler.tick()
    for _ in range(10):
        clock.advance(MINUTE)
        storage.cron_on = clock.now()
        assert await scheduler.tick() == []
    # The cron has ended; ticks that are due before that is known are served.
    for _ in range(12):
        clock.advance(10)
        await scheduler.tick()
    served = await ticks_by_schedule(queue)
    assert set(served) == {catch_up.value for catch_up in CatchUp}
    for instants in served.values():
        assert instants[-1] == instant(12)
        assert instant(10) not in instants
    assert served["all"] == [instant(11), instant(12)]


# The loop


class Away(MemoryStorage):
    """A storage whose calls for schedules raise ``error`` while it is ``away``."""

    away = False
    error: Exception = StorageUnavailableError("the server is starting up")

    async def declare(self, queues: Any, schedules: Any) -> None:
        self._check()
        await super().declare(queues, schedules)

    def transaction(self, connection: Any = None) -> Any:
        self._check()
        return super().transaction(connection)

    def _check(self) -> None:
        if self.away:
            raise self.error


class Slow(MemoryStorage):
    """A storage whose transactions take 30 ms each."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.clock = clock

    def transaction(self, connection: Any = None) -> Any:
        self.clock.advance(0.03)
        return super().transaction(connection)


async def test_tick_of_each_second_is_served_though_transactions_take_time(clock: FrozenClock) -> None:
    queue = Queue(mail_catalog(), Slow(clock), clock=clock)
    await queue.schedules.put("clean", "* * * * * *")  # by default the latest of missed ticks only
    async with running(Scheduler(parts_of(queue))):
        while clock.monotonic() < 100:
            await turns()
            clock.advance(0.05)
    assert len(await ticks(queue)) >= 99


def scheduled_catalog(**options: Any) -> Catalog:
    catalog = mail_catalog()
    catalog.schedule("clean", "* * * * *", **options)
    return catalog


async def test_loop_declares_the_schedules_of_the_catalog_and_serves_them(clock: FrozenClock) -> None:
    queue = Queue(scheduled_catalog(), MemoryStorage(clock), clock=clock)
    async with running(Scheduler(parts_of(queue))):
        await pass_seconds(clock, 125)
    assert await ticks(queue) == [instant(1), instant(2)]


async def test_declared_schedule_deleted_at_run_time_stays_deleted(clock: FrozenClock) -> None:
    queue = Queue(scheduled_catalog(), MemoryStorage(clock), clock=clock)
    async with running(Scheduler(parts_of(queue))):
        await turns()
        assert await queue.schedules.delete("clean")
        await pass_seconds(clock, 125)
    assert await queue.schedules.list() == []
    assert await ticks(queue) == []


async def test_exception_in_a_tick_does_not_end_the_loop(clock: FrozenClock) -> None:
    storage = Away(clock)
    storage.error = UsageError("a trigger of the application raised an error")
    queue = Queue(mail_catalog(), storage, clock=clock)
    await queue.schedules.put("clean", "* * * * *")
    async with running(Scheduler(parts_of(queue))):
        await turns()
        for away, seconds in ((False, 11), (True, 9), (False, 180)):
            storage.away = away
            await pass_seconds(clock, seconds)
    assert len(await ticks(queue)) == 3


async def test_loop_survives_outages_from_its_start_on(clock: FrozenClock) -> None:
    storage = Away(clock)
    queue = Queue(scheduled_catalog(catch_up="all"), storage, clock=clock)
    storage.away = True
    async with running(Scheduler(parts_of(queue))):
        for _ in range(5):
            for away in (True, False):
                storage.away = away
                await pass_seconds(clock, 100)
    served = await ticks(queue)
    assert len(served) == len(set(served)) >= 13


async def test_invalid_declared_schedule_ends_the_loop_at_its_start(clock: FrozenClock) -> None:
    catalog = mail_catalog()
    catalog.schedule("mail", "* * * * *", payload={})
    with pytest.raises(PayloadValidationError):
        await soon(Scheduler(parts_of(Queue(catalog, MemoryStorage(clock), clock=clock))).run())


async def test_schedule_whose_row_can_not_be_changed_does_not_stop_the_others(clock: FrozenClock) -> None:
    def guard(call: Call) -> None:
        if call.verb == "record_tick" and call.arguments["name"] == "a":
            raise StorageError("a trigger of the application raised an error")

    place = Intercepted(clock)
    queue = Queue(mail_catalog(), place.storage, clock=clock, entropy=SeededEntropy(1))
    scheduler = Scheduler(parts_of(queue))
    for name in ("a", "clean", "z"):
        await place.storage.put_schedule(Schedule(name, "* * * * *", "clean", data=f'"{name}"'))
    await scheduler.tick()
    place.before = guard
    for _ in range(3):
        clock.advance(MINUTE)
        await scheduler.tick()
    assert Counter(job.data for job in await sent(queue)) == {"clean": 3, "z": 3}
