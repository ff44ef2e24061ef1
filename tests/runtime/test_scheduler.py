"""Ticks: each exactly once, whatever number of schedulers looks, whenever they look."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import START, FrozenClock
from tests.runtime.catalogs import mail_catalog
from tests.runtime.ticking import HOUR, MINUTE, instant, sent, ticks
from zeke_queue.core.cron import Cron
from zeke_queue.errors import StorageError
from zeke_queue.model import CatchUp, JobState, Schedule
from zeke_queue.queue import Queue
from zeke_queue.rng import Ids, SeededEntropy
from zeke_queue.scheduler import UNREADABLE_FOR, Scheduler, tick_id
from zeke_queue.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from zeke_queue.model import NewJob


class Noted(MemoryStorage):
    """A storage that notes how many jobs each insert of a transaction brings."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.inserted: list[int] = []

    @asynccontextmanager
    async def transaction(self, connection: Any = None) -> AsyncIterator[Any]:
        async with super().transaction(connection) as opened:
            insert = opened.insert

            async def noted(jobs: Sequence[NewJob]) -> list[UUID | None]:
                self.inserted.append(len(jobs))
                return await insert(jobs)

            opened.insert = noted
            yield opened


class Picky(MemoryStorage):
    """A storage in which somebody's trigger raises an error for jobs of one payload."""

    refused: str | None = None

    @asynccontextmanager
    async def transaction(self, connection: Any = None) -> AsyncIterator[Any]:
        async with super().transaction(connection) as opened:
            insert = opened.insert

            async def picky(jobs: Sequence[NewJob]) -> list[UUID | None]:
                if any(job.data == self.refused for job in jobs):
                    raise StorageError("a trigger of somebody's raised an error")
                return await insert(jobs)

            opened.insert = picky
            yield opened


# One tick


async def test_a_schedule_begins_with_the_first_tick_after_it_was_made(
    queue: Queue, clock: FrozenClock
) -> None:
    scheduler = Scheduler(queue)
    await queue.schedule("clean", "*/5 * * * *")
    assert await scheduler.tick() == []
    clock.advance(5 * MINUTE - 1)
    assert await scheduler.tick() == []
    clock.advance(1)
    assert len(await scheduler.tick()) == 1
    assert await ticks(queue) == [instant(5)]


async def test_a_tick_s_job_is_the_task_s_with_payload_options_and_a_note_of_the_tick(
    queue: Queue, clock: FrozenClock
) -> None:
    scheduler = Scheduler(queue)
    await queue.schedule("weekly", "0 13 * * *", task="mail", payload={"to": "ann"}, priority=0)
    await scheduler.tick()
    clock.advance(HOUR)
    await scheduler.tick()
    (job,) = await sent(queue)
    assert job.id == tick_id("weekly", datetime(2026, 1, 5, 13, tzinfo=UTC))
    assert (job.name, job.data, job.state) == ("mail", {"to": "ann", "copies": 1}, JobState.CREATED)
    assert (job.priority, job.retry_limit, job.expire_in) == (0, 5, 60)
    assert job.meta == {"schedule": "weekly", "tick": "2026-01-05T13:00:00+00:00"}


async def test_ticks_go_by_the_schedule_s_zone(queue: Queue, clock: FrozenClock) -> None:
    scheduler = Scheduler(queue)
    await queue.schedule("clean", "0 14 * * *", zone="Europe/Berlin")  # an hour after noon in UTC
    await scheduler.tick()
    clock.advance(HOUR)
    await scheduler.tick()
    assert await ticks(queue) == [instant(60)]


async def test_a_schedule_for_a_task_of_another_process_is_served_too(
    queue: Queue, clock: FrozenClock
) -> None:
    # As pg-boss stores one: the queue is the schedule's name, the options are in its spelling.
    stored = {"tz": "UTC", "retryLimit": 4, "expireInSeconds": 30, "priority": 2}
    await queue.storage.put_schedule(Schedule("elsewhere", "* * * * *", "elsewhere", options=stored))
    scheduler = Scheduler(queue)
    await scheduler.tick()
    clock.advance(MINUTE)
    await scheduler.tick()
    (job,) = await sent(queue)
    assert (job.name, job.retry_limit, job.expire_in, job.priority) == ("elsewhere", 4, 30, 2)


@pytest.mark.parametrize(
    ("stored", "expire_in"),
    [
        ({"expireInMinutes": 5}, 300),
        ({"expireInHours": 2}, 7_200),
        ({"expireInHours": 2, "expireInSeconds": 9}, 7_200),  # the first of these that it finds
        ({"expireInHours": 2, "expire_in": 7}, 7),
    ],
)
async def test_pg_boss_s_longer_units_are_read(
    queue: Queue, clock: FrozenClock, stored: dict[str, Any], expire_in: float
) -> None:
    await queue.storage.put_schedule(Schedule("elsewhere", "* * * * *", "elsewhere", options=stored))
    await Scheduler(queue).tick()
    clock.advance(MINUTE)
    await Scheduler(queue).tick()
    (job,) = await sent(queue)
    assert job.expire_in == expire_in


async def test_pg_boss_s_slots_are_throttles_and_its_next_slots_debounces(
    queue: Queue, clock: FrozenClock
) -> None:
    for name, more in (("throttled", {}), ("debounced", {"singletonNextSlot": True})):
        options = {"singletonHours": 1, **more}
        await queue.storage.put_schedule(Schedule(name, "* * * * *", name, options=options))
    await Scheduler(queue).tick()
    for _ in range(3):
        clock.advance(MINUTE)
        await Scheduler(queue).tick()
    starts = sorted((job.name, job.start_after) for job in await sent(queue))
    first, next_slot = START + timedelta(minutes=1), START + timedelta(hours=1)
    assert starts == [("debounced", first), ("debounced", next_slot), ("throttled", first)]


async def test_a_schedule_that_names_a_task_by_an_alias_sends_to_the_task_s_own_queue(
    queue: Queue, clock: FrozenClock
) -> None:
    # Its name is that of a queue of old, and it was stored before the task was renamed.
    await queue.storage.put_schedule(Schedule("post", "* * * * *", "post", data='{"to": "ann"}'))
    await Scheduler(queue).tick()
    clock.advance(MINUTE)
    await Scheduler(queue).tick()
    (job,) = await sent(queue)
    assert (job.name, job.retry_limit) == ("mail", 5)


async def test_a_tick_that_is_refused_counts_as_served(queue: Queue, clock: FrozenClock) -> None:
    scheduler = Scheduler(queue)
    await queue.schedule("clean", "* * * * *", singleton_key="one at a time")
    await scheduler.tick()
    clock.advance(MINUTE)
    (first,) = await scheduler.tick()
    clock.advance(MINUTE)
    assert await scheduler.tick() == []
    await queue.cancel(first)
    assert await scheduler.tick() == []
    clock.advance(MINUTE)
    assert len(await scheduler.tick()) == 1
    assert await ticks(queue) == [instant(1), instant(3)]


async def test_a_schedule_that_was_deleted_serves_nothing(queue: Queue, clock: FrozenClock) -> None:
    scheduler = Scheduler(queue)
    await queue.schedule("clean", "* * * * *")
    await scheduler.tick()
    await queue.unschedule("clean")
    clock.advance(MINUTE)
    assert await scheduler.tick() == []


async def test_a_paused_schedule_serves_nothing_and_does_not_catch_up(
    queue: Queue, clock: FrozenClock
) -> None:
    scheduler = Scheduler(queue)
    await queue.schedule("clean", "* * * * *", catch_up="all")
    await scheduler.tick()
    await queue.schedule("clean", "* * * * *", catch_up="all", paused=True)
    clock.advance(10 * MINUTE)
    assert await scheduler.tick() == []
    await queue.schedule("clean", "* * * * *", catch_up="all")
    await scheduler.tick()
    clock.advance(MINUTE)
    await scheduler.tick()
    assert await ticks(queue) == [instant(11)]


async def test_a_schedule_made_anew_at_its_tick_does_not_double_it(queue: Queue, clock: FrozenClock) -> None:
    scheduler = Scheduler(queue)
    await queue.schedule("clean", "* * * * *")
    await scheduler.tick()
    clock.advance(MINUTE)
    await scheduler.tick()
    clock.advance(-1)
    await queue.unschedule("clean")
    await queue.schedule("clean", "* * * * *")
    await scheduler.tick()
    clock.advance(1)
    await scheduler.tick()
    assert await ticks(queue) == [instant(1)]


# Downtime


@pytest.mark.parametrize(
    ("catch_up", "served"),
    [
        ("skip", []),
        ("once", [instant(60)]),
        ("all", [instant(minute) for minute in range(10, 61, 10)]),
    ],
)
async def test_ticks_that_passed_while_no_scheduler_ran_go_by_the_policy(
    queue: Queue, clock: FrozenClock, catch_up: str, served: list[str]
) -> None:
    await queue.schedule("clean", "*/10 * * * *", catch_up=catch_up)
    await Scheduler(queue).tick()
    clock.advance(65 * MINUTE)
    await Scheduler(queue).tick()
    assert await ticks(queue) == served
    clock.advance(5 * MINUTE)
    await Scheduler(queue).tick()
    assert await ticks(queue) == [*served, instant(70)]


async def test_more_ticks_than_one_look_takes_are_all_served(queue: Queue, clock: FrozenClock) -> None:
    await queue.schedule("clean", "* * * * * *", catch_up="all")
    await Scheduler(queue).tick()
    clock.advance(2_500)
    assert len(await Scheduler(queue).tick()) == 2_500


async def six_ticks_a_look(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """A scheduler that has begun with a schedule of every minute, and catches up on six ticks a look."""
    monkeypatch.setattr("zeke_queue.scheduler.TICKS", 6)
    monkeypatch.setattr("zeke_queue.scheduler.BATCHES", 1)
    scheduler = Scheduler(queue)
    await queue.storage.put_schedule(Schedule("clean", "* * * * *", "clean", catch_up=CatchUp.ALL))
    await scheduler.tick()
    return scheduler


async def test_a_look_says_whether_it_left_ticks_that_are_due(
    queue: Queue, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = await six_ticks_a_look(queue, monkeypatch)
    assert not scheduler.behind
    clock.advance(10 * MINUTE)
    looks = [(len(await scheduler.tick()), scheduler.behind) for _ in range(2)]
    assert looks == [(6, True), (4, False)]


async def test_a_long_downtime_is_made_up_for_in_transactions_of_bounded_size(clock: FrozenClock) -> None:
    storage = Noted(clock)
    queue = Queue(mail_catalog(), storage, clock=clock)
    for number in range(4):
        await queue.schedule(f"clean-{number}", "* * * * * *", task="clean", catch_up="all")
    await Scheduler(queue).tick()
    clock.advance(HOUR)
    assert len(await Scheduler(queue).tick()) == 4 * HOUR
    assert max(storage.inserted) <= 1_000


async def test_more_schedules_than_one_look_takes_are_all_served(queue: Queue, clock: FrozenClock) -> None:
    for number in range(120):
        await queue.schedule(f"clean-{number}", "* * * * *", task="clean")
    await Scheduler(queue).tick()
    clock.advance(MINUTE)
    assert len(await Scheduler(queue).tick()) == 120


# Beside others, and beside what is wrong


async def test_schedulers_side_by_side_serve_each_tick_once(queue: Queue, clock: FrozenClock) -> None:
    for number in range(8):
        await queue.schedule(f"clean-{number}", "* * * * *", task="clean", catch_up="all")
    schedulers = [Scheduler(queue) for _ in range(4)]
    await schedulers[0].tick()
    for _ in range(3):
        clock.advance(MINUTE)
        await asyncio.gather(*(scheduler.tick() for scheduler in schedulers))
    assert Counter(await ticks(queue)) == {instant(minute): 8 for minute in (1, 2, 3)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "whenever"},
        {"cron": "0 0 30 2 *"},
        {"zone": "Mars/Base"},
        {"task": "no name"},
        {"options": {"retryLimit": "many"}},
        {"options": {"singletonMinutes": "many"}},
    ],
)
async def test_a_schedule_that_can_not_be_read_does_not_keep_the_others(
    queue: Queue, clock: FrozenClock, wrong: dict[str, Any]
) -> None:
    edited_by_hand = {"name": "a", "cron": "* * * * *", "task": "clean", **wrong}
    await queue.storage.put_schedule(Schedule(**edited_by_hand))
    await queue.schedule("clean", "* * * * *")
    scheduler = Scheduler(queue)
    for _ in range(3):
        await scheduler.tick()
        clock.advance(MINUTE)
    assert await ticks(queue) == [instant(1), instant(2)]


async def test_a_schedule_that_can_not_be_read_is_looked_at_again_later(
    queue: Queue, clock: FrozenClock
) -> None:
    await queue.storage.put_schedule(Schedule("clean", "whenever", "clean"))
    await Scheduler(queue).tick()
    (noted,) = await queue.schedules()
    assert noted.next_tick == clock.now() + UNREADABLE_FOR


async def test_what_is_wrong_with_a_schedule_costs_it_no_ticks(queue: Queue, clock: FrozenClock) -> None:
    scheduler = Scheduler(queue)
    right = Schedule("clean", "* * * * *", "clean", catch_up=CatchUp.ALL)
    await queue.storage.put_schedule(right)
    await scheduler.tick()
    clock.advance(MINUTE)
    await scheduler.tick()
    await queue.storage.put_schedule(replace(right, options={"retryLimit": "many"}))
    for _ in range(3):
        clock.advance(MINUTE)
        await scheduler.tick()
    await queue.storage.put_schedule(right)
    clock.advance(MINUTE)
    await scheduler.tick()
    assert await ticks(queue) == [instant(minute) for minute in range(1, 6)]


async def test_a_defect_that_one_schedule_meets_does_not_keep_the_others(
    queue: Queue, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = queue.sender.tick

    def make_or_fail(schedule: Schedule, *rest: Any) -> Any:
        if schedule.name == "a":
            raise ZeroDivisionError
        return make(schedule, *rest)

    monkeypatch.setattr(queue.sender, "tick", make_or_fail)
    for name in ("a", "clean"):
        await queue.storage.put_schedule(Schedule(name, "* * * * *", "clean"))
    await Scheduler(queue).tick()
    clock.advance(MINUTE)
    await Scheduler(queue).tick()
    assert await ticks(queue) == [instant(1)]


async def test_a_schedule_that_catches_up_on_a_year_does_not_keep_others_waiting(
    queue: Queue, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = await six_ticks_a_look(queue, monkeypatch)
    clock.advance(10 * MINUTE)
    for name in ("x", "y"):
        await queue.storage.put_schedule(Schedule(name, "* * * * *", "mail"))
    await scheduler.tick()
    clock.advance(MINUTE)

    await scheduler.tick()

    assert Counter((job.meta or {})["schedule"] for job in await sent(queue)) == {"clean": 8, "x": 1, "y": 1}


async def test_a_job_that_can_not_be_inserted_does_not_keep_other_schedules(clock: FrozenClock) -> None:
    storage = Picky(clock)
    queue = Queue(mail_catalog(), storage, clock=clock, entropy=SeededEntropy(1))
    scheduler = Scheduler(queue)
    for name in ("a", "clean", "z"):
        await storage.put_schedule(Schedule(name, "* * * * *", "clean", data=f'"{name}"'))
    await scheduler.tick()
    storage.refused = '"clean"'
    for _ in range(3):
        clock.advance(MINUTE)
        await scheduler.tick()
    assert Counter(job.data for job in await sent(queue)) == {"a": 3, "z": 3}

    storage.refused = None
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
            st.lists(st.integers(0, 2), min_size=1, max_size=4),  # who looks then, all at once
        ),
        min_size=1,
        max_size=12,
    ),
    days=st.integers(0, 300),
)
def test_under_all_each_tick_is_served_exactly_once_by_whoever_looks_whenever(
    cron: str, zone: str, steps: Sequence[tuple[float, list[int]]], days: int
) -> None:
    async def live() -> None:
        clock = FrozenClock(START + timedelta(days=days))
        queue = Queue(mail_catalog(), MemoryStorage(clock), clock=clock, entropy=SeededEntropy(1))
        schedulers = [Scheduler(queue) for _ in range(3)]
        await queue.schedule("clean", cron, zone=zone, catch_up="all")
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
def test_after_any_downtime_no_more_than_the_latest_tick_is_served(
    gaps: list[int], catch_up: CatchUp
) -> None:
    async def live() -> None:
        clock = FrozenClock()
        queue = Queue(mail_catalog(), MemoryStorage(clock), clock=clock, entropy=SeededEntropy(1))
        scheduler = Scheduler(queue)
        await queue.schedule("clean", "*/5 * * * *", catch_up=catch_up)
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
