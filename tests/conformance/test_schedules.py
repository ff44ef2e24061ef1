"""Schedules: what code declares, what a person edits, and whose tick is due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import (
    Driver,
    is_kept_waiting,
    lock_due_schedules,
    record_tick,
    rolled_back,
    soon,
)
from zeke_queue.model import CatchUp, RowState, Schedule
from zeke_queue.storage import Storage

HOURLY = Schedule("report", "0 * * * *", "reports")
FULL = Schedule(
    name="digest",
    cron="30 7 * * 1",
    task="mail",
    zone="Europe/Berlin",
    data='{"to":"all"}',
    options={"priority": 3, "retry_limit": 0},
    catch_up=CatchUp.ALL,
    description="The week in brief",
)


async def due_names(storage: Storage) -> list[str]:
    return [schedule.name for schedule in (await lock_due_schedules(storage, 100))[1]]


async def serve(storage: Storage, clock: FrozenClock, *, next_in: float | None, name: str = "report") -> None:
    """Serve a tick that is now, with the next so many seconds ahead."""
    next_tick = None if next_in is None else clock.now() + timedelta(seconds=next_in)
    await record_tick(storage, name, clock.now(), next_tick)


async def test_a_declared_schedule_is_stored_as_code_says(storage: Storage) -> None:
    await storage.declare_schedules([FULL, HOURLY])
    assert await storage.schedules() == [replace(FULL, data='{"to": "all"}'), HOURLY]


async def test_a_new_schedule_is_due_once_so_that_its_next_tick_is_worked_out(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.declare_schedules([HOURLY])
    assert await lock_due_schedules(storage, 100) == (clock.now(), [HOURLY])
    await serve(storage, clock, next_in=3600)
    assert await due_names(storage) == []


async def test_a_schedule_is_due_at_its_tick_and_not_before(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare_schedules([HOURLY])
    await serve(storage, clock, next_in=3600)
    clock.advance(3599.999999)
    assert await due_names(storage) == []
    clock.advance(0.000001)
    assert await due_names(storage) == ["report"]


async def test_ticks_are_noted_on_the_schedule(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare_schedules([HOURLY])
    await serve(storage, clock, next_in=3600)
    expected = replace(HOURLY, last_tick=clock.now(), next_tick=clock.now() + timedelta(hours=1))
    assert await storage.schedules() == [expected]
    clock.advance(3600)
    assert await lock_due_schedules(storage, 100) == (clock.now(), [expected])


async def test_a_schedule_without_a_next_tick_never_fires_again(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare_schedules([HOURLY])
    await serve(storage, clock, next_in=None)
    clock.advance(86_400 * 365)
    assert await due_names(storage) == []


async def test_serving_a_schedule_that_is_gone_does_nothing(storage: Storage, clock: FrozenClock) -> None:
    await serve(storage, clock, next_in=60, name="gone")
    assert await storage.schedules() == []


async def test_those_that_wait_longest_come_first_and_the_limit_is_kept(
    storage: Storage, clock: FrozenClock
) -> None:
    for name, next_in in (("a", 30), ("b", 10), ("c", 20), ("d", 90)):
        await storage.put_schedule(replace(HOURLY, name=name))
        await serve(storage, clock, next_in=next_in, name=name)
    await storage.put_schedule(replace(HOURLY, name="new"))
    clock.advance(60)
    assert await due_names(storage) == ["new", "b", "c", "a"]
    _, two = await lock_due_schedules(storage, 2)
    assert [schedule.name for schedule in two] == ["new", "b"]


async def test_declaring_again_keeps_the_ticks(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare_schedules([HOURLY])
    await serve(storage, clock, next_in=3600)
    before = await storage.schedules()
    clock.advance(10)
    await storage.declare_schedules([HOURLY])
    assert await storage.schedules() == before


async def test_a_change_of_cron_or_zone_in_code_starts_anew(storage: Storage, clock: FrozenClock) -> None:
    for changed in (replace(HOURLY, cron="30 * * * *"), replace(HOURLY, zone="Asia/Tokyo")):
        await storage.declare_schedules([HOURLY])
        await serve(storage, clock, next_in=3600)
        await storage.declare_schedules([changed])
        assert await storage.schedules() == [changed]
        assert await due_names(storage) == ["report"]


async def test_a_change_of_anything_else_in_code_keeps_the_ticks(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.declare_schedules([HOURLY])
    await serve(storage, clock, next_in=3600)
    changed = replace(HOURLY, data="[1]", options={"priority": 1}, catch_up=CatchUp.SKIP, description="new")
    await storage.declare_schedules([changed])
    (stored,) = await storage.schedules()
    assert stored == replace(changed, last_tick=clock.now(), next_tick=clock.now() + timedelta(hours=1))


async def test_schedules_that_code_no_longer_declares_stay(storage: Storage) -> None:
    await storage.declare_schedules([HOURLY])
    await storage.declare_schedules([])
    assert [schedule.name for schedule in await storage.schedules()] == ["report"]


async def test_an_edit_survives_a_redeploy_of_the_same_definition(storage: Storage) -> None:
    await storage.declare_schedules([HOURLY])
    edited = replace(HOURLY, cron="15 * * * *", description="moved by hand")
    await storage.put_schedule(edited)
    await storage.declare_schedules([HOURLY])
    assert await storage.schedules() == [edited]


async def test_an_edit_ends_when_the_definition_in_code_changes(storage: Storage) -> None:
    await storage.declare_schedules([HOURLY])
    await storage.put_schedule(replace(HOURLY, cron="15 * * * *"))
    changed = replace(HOURLY, cron="45 * * * *")
    await storage.declare_schedules([changed])
    assert await storage.schedules() == [changed]


async def test_a_definition_is_the_same_whatever_the_order_of_its_keys(storage: Storage) -> None:
    await storage.declare_schedules([replace(HOURLY, data='{"a":1,"b":2}', options={"x": 1, "y": 2})])
    edited = replace(HOURLY, cron="15 * * * *")
    await storage.put_schedule(edited)
    await storage.declare_schedules([replace(HOURLY, data='{"b":2, "a":1}', options={"y": 2, "x": 1})])
    assert await storage.schedules() == [edited]


async def test_a_schedule_made_by_hand_is_replaced_when_code_declares_one_of_its_name(
    storage: Storage,
) -> None:
    await storage.put_schedule(replace(HOURLY, cron="15 * * * *"))
    await storage.declare_schedules([HOURLY])
    assert await storage.schedules() == [HOURLY]


async def test_a_schedule_is_made_by_hand_without_ticks(storage: Storage, clock: FrozenClock) -> None:
    await storage.put_schedule(replace(HOURLY, last_tick=clock.now(), next_tick=clock.now()))
    assert await storage.schedules() == [HOURLY]


@pytest.mark.parametrize("field", ["cron", "zone"])
async def test_an_edit_of_cron_or_zone_starts_anew(storage: Storage, clock: FrozenClock, field: str) -> None:
    await storage.put_schedule(HOURLY)
    await serve(storage, clock, next_in=3600)
    edited = replace(HOURLY, **{field: {"cron": "5 * * * *", "zone": "Asia/Tokyo"}[field]})
    await storage.put_schedule(edited)
    assert await storage.schedules() == [edited]


async def test_an_edit_of_anything_else_keeps_the_ticks(storage: Storage, clock: FrozenClock) -> None:
    await storage.put_schedule(HOURLY)
    await serve(storage, clock, next_in=3600)
    await storage.put_schedule(replace(HOURLY, task="other", data="1"))
    (stored,) = await storage.schedules()
    assert (stored.task, stored.last_tick) == ("other", clock.now())


async def test_a_paused_schedule_is_never_due_and_does_not_catch_up(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.put_schedule(HOURLY)
    await serve(storage, clock, next_in=3600)
    await storage.put_schedule(replace(HOURLY, paused=True))
    clock.advance(36_000)
    assert await due_names(storage) == []
    await storage.put_schedule(HOURLY)
    assert await lock_due_schedules(storage, 100) == (clock.now(), [HOURLY])


async def test_a_dropped_schedule_is_gone_until_code_declares_it_again(storage: Storage) -> None:
    await storage.declare_schedules([HOURLY])
    assert await storage.delete_schedule("report") is True
    assert await storage.delete_schedule("report") is False
    assert await storage.schedules() == []
    await storage.declare_schedules([HOURLY])
    assert await storage.schedules() == [HOURLY]


async def test_a_tick_and_its_job_are_one(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await storage.declare_schedules([HOURLY])
    async with storage.transaction() as transaction:
        now, (schedule,) = await transaction.lock_due_schedules(10)
        job_id = await jobs.send(schedule.task, within=transaction)
        await transaction.record_tick(schedule.name, now, now + timedelta(hours=1))
        assert (await transaction.lock_due_schedules(10))[1] == []
    assert (await jobs.look(job_id)).state is RowState.CREATED
    assert await due_names(storage) == []


async def test_a_tick_that_is_rolled_back_is_due_again(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await storage.declare_schedules([HOURLY])
    async with rolled_back(storage) as transaction:
        await transaction.lock_due_schedules(10)
        await jobs.send("reports", within=transaction)
        await transaction.record_tick("report", clock.now(), clock.now() + timedelta(hours=1))
    assert await jobs.claim("reports") == []
    assert await lock_due_schedules(storage, 100) == (clock.now(), [HOURLY])


async def test_two_schedulers_at_once_get_different_schedules(storage: Storage) -> None:
    await storage.declare_schedules([replace(HOURLY, name=name) for name in "abc"])
    async with storage.transaction() as first, storage.transaction() as second:
        _, mine = await first.lock_due_schedules(2)
        _, theirs = await second.lock_due_schedules(10)
        assert [schedule.name for schedule in mine] == ["a", "b"]
        assert [schedule.name for schedule in theirs] == ["c"]


async def test_an_edit_waits_for_the_scheduler_that_is_at_it(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare_schedules([HOURLY])
    edited = replace(HOURLY, cron="15 * * * *")
    async with storage.transaction() as transaction:
        await transaction.lock_due_schedules(10)
        editing = asyncio.create_task(storage.put_schedule(edited))
        assert await is_kept_waiting(editing)
        await transaction.record_tick("report", clock.now(), clock.now() + timedelta(hours=1))
    await soon(editing)
    assert await storage.schedules() == [edited]


async def test_ticks_are_instants_whatever_zone_they_are_given_in(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.declare_schedules([HOURLY])
    tick = datetime.fromisoformat("2026-01-05T14:00:00+01:00")
    await record_tick(storage, "report", tick, tick + timedelta(hours=1))
    (stored,) = await storage.schedules()
    assert (stored.last_tick, stored.next_tick) == (tick, tick + timedelta(hours=1))
