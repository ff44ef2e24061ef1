"""Ticks: each is served exactly once by any number of schedulers at any times."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import check_each_async
from tests.clocks import START, FrozenClock
from tests.conformance.storages import on_both_storages
from tests.runtime.catalogs import mail_catalog
from tests.runtime.intercepted import Intercepted
from tests.runtime.ticking import HOUR, MINUTE, Ticking, instant, sent, ticks, ticks_by_schedule
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core.cron import Cron
from zeke_queue.errors import StorageError
from zeke_queue.maintenance.scheduler import UNREADABLE_FOR, Scheduler, tick_id
from zeke_queue.model import CatchUp, RowState, Schedule
from zeke_queue.storage.forwarding import Call
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import Ids, SeededEntropy


@pytest.fixture
def scheduler(queue: Queue, clock: FrozenClock) -> Ticking:
    return Ticking(queue, clock)


# One tick


@on_both_storages
async def test_first_tick_is_the_one_after_the_schedule_was_stored(queue: Queue, scheduler: Ticking) -> None:
    await queue.schedules.put("clean", "*/5 * * * *")
    assert await scheduler.tick() == []
    assert await scheduler.tick(5 * MINUTE - 1) == []
    assert len(await scheduler.tick(1)) == 1
    assert await ticks(queue) == [instant(5)]


@on_both_storages
async def test_job_of_a_tick_has_payload_options_and_the_tick_in_its_meta(
    queue: Queue, scheduler: Ticking
) -> None:
    await queue.schedules.put("weekly", "0 13 * * *", task="mail", payload={"to": "ann"}, priority=0)
    await scheduler.tick()
    await scheduler.tick(HOUR)
    (job,) = await sent(queue)
    assert job.id == tick_id("weekly", datetime(2026, 1, 5, 13, tzinfo=UTC))
    assert (job.name, job.data, job.row_state) == ("mail", {"to": "ann", "copies": 1}, RowState.CREATED)
    assert (job.priority, job.retry_limit, job.expire_in) == (0, 5, 60)
    assert job.meta == {"schedule": "weekly", "tick": "2026-01-05T13:00:00+00:00"}


@on_both_storages
async def test_schedule_stored_by_pg_boss_is_served(queue: Queue, scheduler: Ticking) -> None:
    # As pg-boss stores one: the queue is the schedule's name, the options are in its spelling.
    stored = {"tz": "UTC", "retryLimit": 4, "expireInSeconds": 30, "priority": 2}
    await scheduler.store(Schedule("elsewhere", "* * * * *", "elsewhere", options=stored))
    await scheduler.tick()
    await scheduler.tick(MINUTE)
    (job,) = await sent(queue)
    assert (job.name, job.retry_limit, job.expire_in, job.priority) == ("elsewhere", 4, 30, 2)


async def test_slots_of_pg_boss_throttle_and_its_next_slots_debounce(
    queue: Queue, scheduler: Ticking
) -> None:
    for name, more in (("throttled", {}), ("debounced", {"singletonNextSlot": True})):
        options = {"singletonHours": 1, **more}
        await scheduler.store(Schedule(name, "* * * * *", name, options=options))
    await scheduler.tick()
    for _ in range(3):
        await scheduler.tick(MINUTE)
    starts = sorted((job.name, job.start_after) for job in await sent(queue))
    first, next_slot = START + timedelta(minutes=1), START + timedelta(hours=1)
    assert starts == [("debounced", first), ("debounced", next_slot), ("throttled", first)]


async def test_debounced_tick_takes_the_slot_that_begins_between_its_two_tries(clock: FrozenClock) -> None:
    def advance(call: Call) -> None:
        inserts.extend([call.verb] * (call.verb == "insert"))
        if len(inserts) == 3:
            clock.advance(MINUTE)

    place, inserts = Intercepted(clock), list[str]()
    queue = Queue(mail_catalog(), place.storage, clock=clock, entropy=SeededEntropy(1))
    scheduler = Ticking(queue, clock)
    await queue.schedules.put("clean", "* * * * *", debounce=MINUTE)
    await scheduler.tick()
    clock.advance(MINUTE)
    place.before = advance
    await queue.send("clean", debounce=MINUTE)
    await scheduler.tick()
    starts = [job.start_after for job in await sent(queue)]
    assert (sorted(starts), len(inserts)) == ([START + timedelta(minutes=n) for n in (1, 2)], 3)


async def test_schedule_under_an_alias_sends_to_the_queue_of_the_task(
    queue: Queue, scheduler: Ticking
) -> None:
    # Its name is that of a queue of old, and it was stored before the task was renamed.
    await scheduler.store(Schedule("post", "* * * * *", "post", data='{"to": "ann"}'))
    await scheduler.tick()
    await scheduler.tick(MINUTE)
    (job,) = await sent(queue)
    assert (job.name, job.retry_limit) == ("mail", 5)


@on_both_storages
async def test_refused_tick_counts_as_served(queue: Queue, scheduler: Ticking) -> None:
    await queue.schedules.put("clean", "* * * * *", singleton_key="one at a time")
    await scheduler.tick()
    (first,) = await scheduler.tick(MINUTE)
    assert await scheduler.tick(MINUTE) == []
    await queue.cancel(first)
    assert await scheduler.tick() == []
    assert len(await scheduler.tick(MINUTE)) == 1
    assert await ticks(queue) == [instant(1), instant(3)]


@on_both_storages
async def test_paused_schedule_sends_nothing_and_does_not_catch_up(queue: Queue, scheduler: Ticking) -> None:
    await queue.schedules.put("clean", "* * * * *", catch_up="all")
    await scheduler.tick()
    await queue.schedules.put("clean", "* * * * *", catch_up="all", paused=True)
    assert await scheduler.tick(10 * MINUTE) == []
    await queue.schedules.put("clean", "* * * * *", catch_up="all")
    await scheduler.tick()
    await scheduler.tick(MINUTE)
    assert await ticks(queue) == [instant(11)]


@on_both_storages
async def test_schedule_stored_anew_at_its_tick_does_not_repeat_it(queue: Queue, scheduler: Ticking) -> None:
    await queue.schedules.put("clean", "* * * * *")
    await scheduler.tick()
    await scheduler.tick(MINUTE)
    scheduler.clock.advance(-1)
    await queue.schedules.delete("clean")
    await queue.schedules.put("clean", "* * * * *")
    await scheduler.tick()
    await scheduler.tick(1)
    assert await ticks(queue) == [instant(1)]


# Downtime


@on_both_storages
async def test_ticks_missed_during_a_downtime_follow_the_policy(queue: Queue, scheduler: Ticking) -> None:
    policies = {"skip": [], "once": [instant(60)], "all": [instant(minute) for minute in range(10, 61, 10)]}
    for catch_up in policies:
        await queue.schedules.put(catch_up, "*/10 * * * *", task="clean", catch_up=CatchUp(catch_up))
    await scheduler.tick()
    scheduler.restart()
    await scheduler.tick(65 * MINUTE)
    assert await ticks_by_schedule(queue) == {name: served for name, served in policies.items() if served}
    await scheduler.tick(5 * MINUTE)
    expected = {name: [*served, instant(70)] for name, served in policies.items()}
    assert await ticks_by_schedule(queue) == expected


@on_both_storages
async def test_more_ticks_than_one_batch_are_all_served(queue: Queue, scheduler: Ticking) -> None:
    await queue.schedules.put("clean", "* * * * * *", catch_up="all")
    await scheduler.tick()
    scheduler.restart()
    assert len(await scheduler.tick(2_500)) == 2_500


async def six_ticks_a_look(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """A running scheduler with a schedule of every minute, which catches up on six ticks a round."""
    monkeypatch.setattr("zeke_queue.maintenance.scheduler.TICKS", 6)
    monkeypatch.setattr("zeke_queue.maintenance.scheduler.BATCHES", 1)
    scheduler = Scheduler(parts_of(queue))
    await parts_of(queue).storage.put_schedule(Schedule("clean", "* * * * *", "clean", catch_up=CatchUp.ALL))
    await scheduler.tick()
    return scheduler


async def test_scheduler_is_behind_while_ticks_are_left(
    queue: Queue, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = await six_ticks_a_look(queue, monkeypatch)
    assert not scheduler.behind
    clock.advance(10 * MINUTE)
    looks = [(len(await scheduler.tick()), scheduler.behind) for _ in range(2)]
    assert looks == [(6, True), (4, False)]


async def test_catching_up_uses_transactions_of_bounded_size(clock: FrozenClock) -> None:
    place, inserted = Intercepted(clock), list[int]()

    def note(call: Call) -> None:
        if call.verb == "insert":
            inserted.append(len(call.arguments["jobs"]))

    place.before = note
    queue = Queue(mail_catalog(), place.storage, clock=clock)
    for number in range(4):
        await queue.schedules.put(f"clean-{number}", "* * * * * *", task="clean", catch_up="all")
    await Scheduler(parts_of(queue)).tick()
    clock.advance(1_500)
    assert len(await Scheduler(parts_of(queue)).tick()) == 4 * 1_500
    assert max(inserted) <= 1_000


@on_both_storages
async def test_more_schedules_than_one_batch_are_all_served(queue: Queue, scheduler: Ticking) -> None:
    for number in range(120):
        await queue.schedules.put(f"clean-{number}", "* * * * *", task="clean")
    await scheduler.tick()
    scheduler.restart()
    assert len(await scheduler.tick(MINUTE)) == 120


# With concurrent schedulers, and with invalid schedules


@on_both_storages
async def test_concurrent_schedulers_serve_each_tick_once(queue: Queue, clock: FrozenClock) -> None:
    for number in range(8):
        await queue.schedules.put(f"clean-{number}", "* * * * *", task="clean", catch_up="all")
    schedulers = [Scheduler(parts_of(queue)) for _ in range(4)]
    await schedulers[0].tick()
    for _ in range(3):
        clock.advance(MINUTE)
        await asyncio.gather(*(scheduler.tick() for scheduler in schedulers))
    assert Counter(await ticks(queue)) == {instant(minute): 8 for minute in (1, 2, 3)}


@on_both_storages
async def test_unreadable_schedules_do_not_stop_the_others(queue: Queue, scheduler: Ticking) -> None:
    cases: list[dict[str, Any]] = [
        {"cron": "whenever"},
        {"cron": "0 0 30 2 *"},
        {"zone": "Mars/Base"},
        {"task": "no name"},
        {"options": {"retryLimit": "many"}},
        {"options": {"singletonMinutes": "many"}},
    ]

    async def check(wrong: dict[str, Any]) -> None:
        edited_by_hand = {"name": "a", "cron": "* * * * *", "task": "clean", **wrong}
        await scheduler.store(Schedule(**edited_by_hand))
        await queue.schedules.put("clean", "* * * * *")
        begun = scheduler.clock.now()
        for _ in range(3):
            await scheduler.tick()
            scheduler.clock.advance(MINUTE)
        expected = [(begun + timedelta(minutes=minute)).isoformat() for minute in (1, 2)]
        assert [tick for tick in await ticks(queue) if tick > begun.isoformat()] == expected
        for name in ("a", "clean"):
            await queue.schedules.delete(name)

    await check_each_async(cases, check)


@on_both_storages
async def test_unreadable_schedule_is_retried_later(queue: Queue, scheduler: Ticking) -> None:
    await scheduler.store(Schedule("clean", "whenever", "clean"))
    await scheduler.tick()
    (noted,) = await queue.schedules.list()
    assert noted.next_tick == scheduler.clock.now() + UNREADABLE_FOR


async def test_ticks_of_an_unreadable_schedule_are_made_up_once_it_is_repaired(
    queue: Queue, scheduler: Ticking
) -> None:
    right = Schedule("clean", "* * * * *", "clean", catch_up=CatchUp.ALL)
    await scheduler.store(right)
    await scheduler.tick()
    await scheduler.tick(MINUTE)
    await scheduler.store(replace(right, options={"retryLimit": "many"}))
    for _ in range(3):
        await scheduler.tick(MINUTE)
    await scheduler.store(right)
    await scheduler.tick(MINUTE)
    assert await ticks(queue) == [instant(minute) for minute in range(1, 6)]


async def test_exception_in_one_schedule_does_not_stop_the_others(
    queue: Queue, scheduler: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = parts_of(queue).factory.tick

    def make_or_fail(schedule: Schedule, *rest: Any) -> Any:
        if schedule.name == "a":
            raise ZeroDivisionError
        return make(schedule, *rest)

    monkeypatch.setattr(parts_of(queue).factory, "tick", make_or_fail)
    for name in ("a", "clean"):
        await scheduler.store(Schedule(name, "* * * * *", "clean"))
    await scheduler.tick()
    await scheduler.tick(MINUTE)
    assert await ticks(queue) == [instant(1)]


async def test_schedule_that_catches_up_does_not_delay_the_others(
    queue: Queue, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = await six_ticks_a_look(queue, monkeypatch)
    clock.advance(10 * MINUTE)
    for name in ("x", "y"):
        await parts_of(queue).storage.put_schedule(Schedule(name, "* * * * *", "mail"))
    await scheduler.tick()
    clock.advance(MINUTE)

    await scheduler.tick()

    assert Counter((job.meta or {})["schedule"] for job in await sent(queue)) == {"clean": 8, "x": 1, "y": 1}


async def test_failed_insert_of_one_schedule_does_not_stop_the_others(clock: FrozenClock) -> None:
    place, refused = Intercepted(clock), ['"clean"']

    def refuse(call: Call) -> None:
        if call.verb == "insert" and any(job.data in refused for job in call.arguments["jobs"]):
            raise StorageError("a trigger of the application raised an error")

    queue = Queue(mail_catalog(), place.storage, clock=clock, entropy=SeededEntropy(1))
    scheduler = Scheduler(parts_of(queue))
    for name in ("a", "clean", "z"):
        await place.storage.put_schedule(Schedule(name, "* * * * *", "clean", data=f'"{name}"'))
    await scheduler.tick()
    place.before = refuse
    for _ in range(3):
        clock.advance(MINUTE)
        await scheduler.tick()
    assert Counter(job.data for job in await sent(queue)) == {"a": 3, "z": 3}

    refused.clear()
    clock.advance(MINUTE)
    await scheduler.tick()
    assert Counter(job.data for job in await sent(queue)) == {"a": 4, "z": 4, "clean": 1}


# Whatever happens


CRONS = ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "15,45 */3 * * *", "*/20 * * * * *"]
ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe"]


@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(ZONES),
    steps=st.lists(
        st.tuples(
            st.floats(0, 200) | st.floats(0, 20_000),  # seconds that pass
            st.lists(st.integers(0, 2), min_size=1, max_size=4),  # all schedulers check at that time
        ),
        min_size=1,
        max_size=12,
    ),
    days=st.integers(0, 300),
)
@settings(max_examples=50)
def test_with_catch_up_all_each_tick_is_served_exactly_once(
    cron: str, zone: str, steps: Sequence[tuple[float, list[int]]], days: int
) -> None:
    async def live() -> None:
        clock = FrozenClock(START + timedelta(days=days))
        queue = Queue(mail_catalog(), MemoryStorage(clock), clock=clock, entropy=SeededEntropy(1))
        schedulers = [Scheduler(parts_of(queue)) for _ in range(3)]
        await queue.schedules.put("clean", cron, timezone=zone, catch_up="all")
        await schedulers[0].tick()
        begun = clock.now()
        ids: list[UUID] = []
        for seconds, who in steps:
            clock.advance(seconds)
            for found in await asyncio.gather(*(schedulers[number].tick() for number in who)):
                ids += found
        expected, upcoming = list[datetime](), Cron.parse(cron, zone).next_after(begun)
        while upcoming is not None and upcoming <= clock.now():
            expected.append(upcoming)
            upcoming = Cron.parse(cron, zone).next_after(upcoming)
        assert ids == [tick_id("clean", tick) for tick in expected]

    asyncio.run(live())


@given(
    gaps=st.lists(st.integers(1, 7_200), min_size=1, max_size=15),
    catch_up=st.sampled_from([CatchUp.SKIP, CatchUp.ONCE]),
)
@settings(max_examples=50)
def test_with_skip_or_once_at_most_the_latest_tick_is_served(gaps: list[int], catch_up: CatchUp) -> None:
    async def live() -> None:
        clock = FrozenClock()
        queue = Queue(mail_catalog(), MemoryStorage(clock), clock=clock, entropy=SeededEntropy(1))
        scheduler = Scheduler(parts_of(queue))
        await queue.schedules.put("clean", "*/5 * * * *", catch_up=catch_up)
        await scheduler.tick()
        for gap in gaps:
            before = clock.now()
            clock.advance(gap)
            step = timedelta(minutes=5)
            latest = clock.now() - (clock.now() - START) % step
            due = before < latest
            in_time = catch_up is CatchUp.ONCE or clock.now() - latest <= timedelta(seconds=60)
            assert await scheduler.tick() == ([tick_id("clean", latest)] if due and in_time else [])

    asyncio.run(live())


def test_ids_of_ticks_differ_by_schedule_and_sort_with_other_jobs_by_time() -> None:
    moments = [datetime(2026, 1, 5, 13, second, tzinfo=UTC) for second in range(3)]
    ids = [tick_id("weekly", moment) for moment in moments]
    assert ids == sorted(ids)
    assert tick_id("weekly", moments[0]) != tick_id("daily", moments[0])
    assert {(one.version, one.variant) for one in ids} == {(8, RFC_4122)}
    sent = Ids(FrozenClock(moments[1]), SeededEntropy(1))()
    assert ids[0] < sent < ids[2]
