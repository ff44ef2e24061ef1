"""Schedules: what code declares, what a person edits, and whose tick is due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import (
    Driver,
    is_kept_waiting,
    lock_due_schedules,
    record_tick,
    rolled_back,
    soon,
)
from zeke_queue.errors import SerializationError
from zeke_queue.model import CatchUp, QueueSettings, RowState, Schedule
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
    """Serve a tick that is due now, with the next one the given number of seconds ahead."""
    next_tick = None if next_in is None else clock.now() + timedelta(seconds=next_in)
    await record_tick(storage, name, clock.now(), next_tick)


async def test_declared_schedule_is_stored_as_declared(storage: Storage) -> None:
    await storage.declare([], [FULL, HOURLY])
    assert await storage.schedules() == [replace(FULL, data='{"to": "all"}'), HOURLY]


async def test_new_schedule_is_due_once_to_compute_its_next_tick(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.declare([], [HOURLY])
    assert await lock_due_schedules(storage, 100) == (clock.now(), [HOURLY])
    await serve(storage, clock, next_in=3600)
    assert await due_names(storage) == []


async def test_schedule_has_its_ticks_and_is_due_at_the_next_and_not_before(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.declare([], [HOURLY])
    await serve(storage, clock, next_in=3600)
    served = replace(HOURLY, last_tick=clock.now(), next_tick=clock.now() + timedelta(hours=1))
    assert await storage.schedules() == [served]
    clock.advance(3599.999999)
    assert await due_names(storage) == []
    clock.advance(0.000001)
    assert await lock_due_schedules(storage, 100) == (clock.now(), [served])


async def test_schedule_without_a_next_tick_is_not_due(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare([], [HOURLY])
    await serve(storage, clock, next_in=None)
    clock.advance(86_400 * 365)
    assert await due_names(storage) == []


async def test_recording_a_tick_of_a_deleted_schedule_changes_nothing(
    storage: Storage, clock: FrozenClock
) -> None:
    await serve(storage, clock, next_in=60, name="gone")
    assert await storage.schedules() == []


async def test_longest_due_schedules_come_first_up_to_the_limit(storage: Storage, clock: FrozenClock) -> None:
    for name, next_in in (("a", 30), ("b", 10), ("c", 20), ("d", 90)):
        await storage.put_schedule(replace(HOURLY, name=name))
        await serve(storage, clock, next_in=next_in, name=name)
    await storage.put_schedule(replace(HOURLY, name="new"))
    clock.advance(60)
    assert await due_names(storage) == ["new", "b", "c", "a"]
    _, two = await lock_due_schedules(storage, 2)
    assert [schedule.name for schedule in two] == ["new", "b"]


async def test_repeated_declaration_keeps_the_ticks(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare([], [HOURLY])
    await serve(storage, clock, next_in=3600)
    before = await storage.schedules()
    clock.advance(10)
    await storage.declare([], [HOURLY])
    assert await storage.schedules() == before


async def test_declared_change_of_cron_or_timezone_resets_the_ticks(
    storage: Storage, clock: FrozenClock
) -> None:
    for changed in (replace(HOURLY, cron="30 * * * *"), replace(HOURLY, zone="Asia/Tokyo")):
        await storage.declare([], [HOURLY])
        await serve(storage, clock, next_in=3600)
        await storage.declare([], [changed])
        assert await storage.schedules() == [changed]
        assert await due_names(storage) == ["report"]


async def test_other_declared_changes_keep_the_ticks(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare([], [HOURLY])
    await serve(storage, clock, next_in=3600)
    changed = replace(HOURLY, data="[1]", options={"priority": 1}, catch_up=CatchUp.SKIP, description="new")
    await storage.declare([], [changed])
    (stored,) = await storage.schedules()
    assert stored == replace(changed, last_tick=clock.now(), next_tick=clock.now() + timedelta(hours=1))


async def test_undeclared_schedules_are_kept(storage: Storage) -> None:
    await storage.declare([], [HOURLY])
    await storage.declare([], [])
    assert [schedule.name for schedule in await storage.schedules()] == ["report"]


async def test_declaration_of_queues_and_schedules_takes_effect_whole_or_not_at_all(storage: Storage) -> None:
    queues = [QueueSettings("mail", 1)]
    with pytest.raises(SerializationError):
        await storage.declare(queues, [HOURLY, replace(HOURLY, name="other", data="{")])
    assert (await storage.queues(), await storage.schedules()) == ([], [])
    await storage.declare(queues, [HOURLY])
    assert (await storage.queues(), await storage.schedules()) == (queues, [HOURLY])


async def test_edit_survives_a_deploy_of_the_same_definition(storage: Storage) -> None:
    await storage.declare([], [HOURLY])
    edited = replace(HOURLY, cron="15 * * * *", description="moved by hand")
    await storage.put_schedule(edited)
    await storage.declare([], [HOURLY])
    assert await storage.schedules() == [edited]


async def test_changed_definition_overrides_an_edit(storage: Storage) -> None:
    await storage.declare([], [HOURLY])
    await storage.put_schedule(replace(HOURLY, cron="15 * * * *"))
    changed = replace(HOURLY, cron="45 * * * *")
    await storage.declare([], [changed])
    assert await storage.schedules() == [changed]


async def test_definition_does_not_depend_on_the_order_of_keys(storage: Storage) -> None:
    await storage.declare([], [replace(HOURLY, data='{"a":1,"b":2}', options={"x": 1, "y": 2})])
    edited = replace(HOURLY, cron="15 * * * *")
    await storage.put_schedule(edited)
    await storage.declare([], [replace(HOURLY, data='{"b":2, "a":1}', options={"y": 2, "x": 1})])
    assert await storage.schedules() == [edited]


async def test_declared_schedule_replaces_one_created_by_hand(storage: Storage) -> None:
    await storage.put_schedule(replace(HOURLY, cron="15 * * * *"))
    await storage.declare([], [HOURLY])
    assert await storage.schedules() == [HOURLY]


async def test_schedule_created_by_hand_has_no_ticks(storage: Storage, clock: FrozenClock) -> None:
    await storage.put_schedule(replace(HOURLY, last_tick=clock.now(), next_tick=clock.now()))
    assert await storage.schedules() == [HOURLY]


async def test_edit_of_cron_or_timezone_resets_the_ticks(storage: Storage, clock: FrozenClock) -> None:
    async def check(edited: Schedule) -> None:
        await storage.put_schedule(HOURLY)
        await serve(storage, clock, next_in=3600)
        await storage.put_schedule(edited)
        assert await storage.schedules() == [edited]

    cases = {"cron": replace(HOURLY, cron="5 * * * *"), "zone": replace(HOURLY, zone="Asia/Tokyo")}
    await check_each_async(cases, check)


async def test_other_edits_keep_the_ticks(storage: Storage, clock: FrozenClock) -> None:
    await storage.put_schedule(HOURLY)
    await serve(storage, clock, next_in=3600)
    await storage.put_schedule(replace(HOURLY, task="other", data="1"))
    (stored,) = await storage.schedules()
    assert (stored.task, stored.last_tick) == ("other", clock.now())


async def test_paused_schedule_is_not_due_and_does_not_catch_up(storage: Storage, clock: FrozenClock) -> None:
    await storage.put_schedule(HOURLY)
    await serve(storage, clock, next_in=3600)
    await storage.put_schedule(replace(HOURLY, paused=True))
    clock.advance(36_000)
    assert await due_names(storage) == []
    await storage.put_schedule(HOURLY)
    assert await lock_due_schedules(storage, 100) == (clock.now(), [HOURLY])


async def test_deleted_schedule_returns_with_its_next_declaration(storage: Storage) -> None:
    await storage.declare([], [HOURLY])
    assert await storage.delete_schedule("report") is True
    assert await storage.delete_schedule("report") is False
    assert await storage.schedules() == []
    await storage.declare([], [HOURLY])
    assert await storage.schedules() == [HOURLY]


async def test_tick_and_its_job_are_stored_together(storage: Storage, jobs: Driver) -> None:
    await storage.declare([], [HOURLY])
    async with storage.transaction() as transaction:
        now, (schedule,) = await transaction.lock_due_schedules(10)
        job_id = await jobs.send(schedule.task, within=transaction)
        await transaction.record_tick(schedule.name, now, now + timedelta(hours=1))
        assert (await transaction.lock_due_schedules(10))[1] == []
    assert (await jobs.look(job_id)).row_state is RowState.CREATED
    assert await due_names(storage) == []


async def test_rolled_back_tick_is_due_again(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await storage.declare([], [HOURLY])
    async with rolled_back(storage) as transaction:
        await transaction.lock_due_schedules(10)
        await jobs.send("reports", within=transaction)
        await transaction.record_tick("report", clock.now(), clock.now() + timedelta(hours=1))
    assert await jobs.claim("reports") == []
    assert await lock_due_schedules(storage, 100) == (clock.now(), [HOURLY])


async def test_concurrent_schedulers_lock_different_schedules(storage: Storage) -> None:
    await storage.declare([], [replace(HOURLY, name=name) for name in "abc"])
    async with storage.transaction() as first, storage.transaction() as second:
        _, mine = await first.lock_due_schedules(2)
        _, theirs = await second.lock_due_schedules(10)
        assert [schedule.name for schedule in mine] == ["a", "b"]
        assert [schedule.name for schedule in theirs] == ["c"]


async def test_edit_waits_for_the_lock_of_a_scheduler(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare([], [HOURLY])
    edited = replace(HOURLY, cron="15 * * * *")
    async with storage.transaction() as transaction:
        await transaction.lock_due_schedules(10)
        editing = asyncio.create_task(storage.put_schedule(edited))
        assert await is_kept_waiting(editing)
        await transaction.record_tick("report", clock.now(), clock.now() + timedelta(hours=1))
    await soon(editing)
    assert await storage.schedules() == [edited]


async def test_unchanged_declaration_waits_for_no_lock(storage: Storage, jobs: Driver) -> None:
    queue = QueueSettings("reports", 2)
    await storage.declare([queue], [HOURLY])
    async with rolled_back(storage) as transaction:
        await transaction.lock_due_schedules(10)
        await soon(storage.declare([queue], [HOURLY]))
        declaring = asyncio.create_task(storage.declare([queue], [replace(HOURLY, cron="15 * * * *")]))
        assert await is_kept_waiting(declaring)
    await soon(declaring)
    (stored,) = await storage.schedules()
    assert stored.cron == "15 * * * *"


async def test_ticks_are_instants_in_any_timezone(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare([], [HOURLY])
    tick = datetime.fromisoformat("2026-01-05T14:00:00+01:00")
    await record_tick(storage, "report", tick, tick + timedelta(hours=1))
    (stored,) = await storage.schedules()
    assert (stored.last_tick, stored.next_tick) == (tick, tick + timedelta(hours=1))
