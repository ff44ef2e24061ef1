"""The scheduler's loop, and its coexistence with pg-boss's cron."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.runtime.catalogs import mail_catalog
from tests.runtime.intercepted import Intercepted
from tests.runtime.ticking import MINUTE, instant, pass_seconds, running, sent, ticks
from tests.runtime.workers.place import turns
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import PayloadValidationError, StorageError, StorageUnavailableError, UsageError
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.model import Schedule
from zeke_queue.storage.forwarding import Call
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.task.catalog import Catalog

# The loop


class Away(MemoryStorage):
    """A storage whose calls for schedules raise ``error`` while it is ``away``."""

    away = False
    error: Exception = StorageUnavailableError("the server is starting up")

    async def declare(self, queues: Any, schedules: Any) -> None:
        self._check()
        await super().declare(queues, schedules)

    def transaction(self, connection: Any = None, *, own: bool = False) -> Any:
        self._check()
        return super().transaction(connection, own=own)

    def _check(self) -> None:
        if self.away:
            raise self.error


class Slow(MemoryStorage):
    """A storage whose transactions take 30 ms each."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.clock = clock

    def transaction(self, connection: Any = None, *, own: bool = False) -> Any:
        self.clock.advance(0.03)
        return super().transaction(connection, own=own)


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
