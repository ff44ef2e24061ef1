"""Jobs that a process leaves in its private queues: they move to the queues of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.clocks import START, FrozenClock
from tests.conformance.driver import ANNA, BERT, ENDS, Driver, is_kept_waiting, soon
from zeke_queue.core.names import private_queue
from zeke_queue.maintenance import private_queues
from zeke_queue.maintenance.outage_monitor import OutageMonitor
from zeke_queue.model import JobQuery, RowState, WorkerInfo

_BEFORE = START - timedelta(days=1)
MINE = private_queue("mail", ANNA)
HERS = private_queue("mail", BERT)


async def _move(jobs: Driver, moves: Mapping[str, str]) -> int:
    return (await jobs.storage.move_jobs(moves, _BEFORE)).moved


async def test_moved_jobs_keep_their_state_and_are_claimed_from_the_new_queue_only(jobs: Driver) -> None:
    waiting, later = await jobs.send(MINE), await jobs.send(MINE, delay=60)
    ended = {await jobs.ended(state, name=f"{state}@x"): state for state in ENDS}
    running, other = await jobs.running("errand@x"), await jobs.send("errand")
    moves = {MINE: "mail", "errand@x": "mail", **{f"{state}@x": "mail" for state in ENDS}}
    assert await _move(jobs, moves) == 7
    assert [(await jobs.look(job)).name for job in (waiting, later, running.id, *ended)] == ["mail"] * 7
    assert await jobs.states(ended) == list(ended.values())
    assert [job.id for job in await jobs.claim(*moves, "errand")] == [other]
    assert [job.id for job in await jobs.claim("mail")] == [waiting]
    assert await jobs.complete(running)
    (stats,) = [stats for stats in await jobs.storage.queue_stats() if stats.name == "mail"]
    assert sum(stats.row_counts.values()) == 7
    assert await _move(jobs, moves) == 0


async def test_moved_jobs_wake_the_workers_of_the_new_queue(jobs: Driver) -> None:
    await jobs.heartbeat()
    await jobs.storage.set_idle(ANNA, ["mail"])
    await jobs.send(MINE)
    sleeping = asyncio.create_task(jobs.storage.wait_for_jobs(["mail"], 60))
    assert await is_kept_waiting(asyncio.shield(sleeping))
    await soon(_move(jobs, {MINE: "mail"}))
    assert await soon(sleeping)


async def test_job_whose_key_or_slot_is_taken_stays(jobs: Driver) -> None:
    same_key: dict[str, Any] = {"singleton_key": "a"}
    same_slot: dict[str, Any] = {"slot_seconds": 60}
    for options in (same_key, same_slot):
        await jobs.send("mail", **options)
    kept = [await jobs.send(MINE, **options) for options in (same_key, same_slot)]
    other: list[dict[str, Any]] = [{"singleton_key": "b"}, {**same_key, **same_slot}]
    moved = [await jobs.send(MINE, **options) for options in other]
    gone = await jobs.ended(RowState.FAILED, name=HERS, **same_key)
    assert await _move(jobs, {MINE: "mail", HERS: "mail"}) == 3
    names = [(await jobs.look(job)).name for job in (*kept, *moved, gone)]
    assert names == [MINE, MINE, "mail", "mail", "mail"]
    assert await jobs.refused("mail", singleton_key="b")
    assert not await jobs.refused(MINE, singleton_key="b")


async def test_move_waits_for_a_locked_job(jobs: Driver) -> None:
    job = await jobs.send(MINE)
    async with jobs.storage.transaction() as transaction:
        await transaction.cancel([job])
        moving = asyncio.create_task(_move(jobs, {MINE: "mail"}))
        assert await is_kept_waiting(moving)
    assert await soon(moving) == 1
    assert (await jobs.look(job)).row_state is RowState.CANCELLED


async def test_jobs_that_ended_before_a_time_stay(jobs: Driver, clock: FrozenClock) -> None:
    early = await jobs.ended(RowState.COMPLETED, name=MINE)
    clock.advance(60)
    late, waiting = await jobs.ended(RowState.COMPLETED, name=MINE), await jobs.send(MINE)
    assert await jobs.storage.move_jobs({MINE: "mail"}, clock.now()) == (2, [])
    assert [(await jobs.look(job)).name for job in (early, late, waiting)] == [MINE, "mail", "mail"]


async def test_of_moved_jobs_that_exclude_each_other_the_furthest_is_moved(jobs: Driver) -> None:
    """Two commands that were killed may leave jobs for the same story."""
    done = await jobs.ended(RowState.COMPLETED, name=HERS, slot_seconds=60)
    waiting = await jobs.send(MINE, singleton_key="a")
    running = await jobs.running(HERS, singleton_key="a")
    first, second = [await jobs.send(queue, singleton_key="b") for queue in (MINE, HERS)]
    slot = await jobs.send(MINE, slot_seconds=60)
    keyless = [await jobs.send(queue) for queue in (MINE, HERS)]
    moved, kept = await jobs.storage.move_jobs({MINE: "mail", HERS: "mail"}, _BEFORE)
    assert (moved, {*kept}) == (5, {waiting, second, slot})
    names = [(await jobs.look(job)).name for job in (running.id, first, done, *keyless)]
    assert names == ["mail"] * 5
    assert await private_queues.release(jobs.storage, [MINE, HERS]) == 3
    assert await jobs.states([waiting, second, slot]) == [RowState.CANCELLED] * 3
    assert await jobs.complete(running)


async def test_private_queues_are_those_with_jobs_that_have_not_ended(jobs: Driver) -> None:
    for name in ("__private", "__private__;", "mail", "zoo"):
        await jobs.send(name)
    await jobs.ended(RowState.COMPLETED, name=private_queue("done", ANNA))
    assert await jobs.storage.private_queues() == set()
    for _ in range(2):
        await jobs.send(MINE)
        await jobs.send(HERS, delay=60)
    await jobs.running(private_queue("errand", BERT))
    assert await jobs.storage.private_queues() == {MINE, HERS, private_queue("errand", BERT)}


async def test_silence_during_an_outage_releases_no_queue(jobs: Driver, clock: FrozenClock) -> None:
    monitor = OutageMonitor(clock, gap=6)
    await _begin(jobs, ANNA, MINE)
    await jobs.send(MINE)
    clock.advance(60)
    released = 0
    for _ in range(3):  # the database is back, and the command has a lease to say so
        monitor.answered(clock.monotonic())
        clock.advance(5)
        released += await private_queues.release_abandoned(jobs.storage, clock, monitor)
    assert released == 0
    monitor.answered(clock.monotonic())
    clock.advance(1)
    assert await private_queues.release_abandoned(jobs.storage, clock, monitor) == 1


async def test_key_that_is_taken_while_a_move_waits_is_left_to_its_holder(jobs: Driver) -> None:
    mine = await jobs.send(MINE, singleton_key="a")
    async with jobs.storage.transaction() as transaction:
        await transaction.cancel([await jobs.send(MINE)])
        moving = asyncio.create_task(jobs.storage.move_jobs({MINE: "mail"}, _BEFORE))
        assert await is_kept_waiting(moving)
        await jobs.send("mail", singleton_key="a")
    assert await soon(moving) == (1, [mine])


async def _begin(jobs: Driver, worker: UUID, *queues: str) -> None:
    await jobs.storage.heartbeat(WorkerInfo(worker, "host", 1, queues, 15.0))


async def test_jobs_of_ended_processes_are_released_and_those_of_living_ones_stay(
    jobs: Driver, clock: FrozenClock
) -> None:
    await _begin(jobs, ANNA, MINE)
    mine, hers, other = await jobs.send(MINE), await jobs.send(HERS), await jobs.send("mail@example")
    paused = await jobs.send(private_queue("errand", ANNA))
    assert await private_queues.release_abandoned(jobs.storage, clock) == 1  # Bert was never registered
    assert [(await jobs.look(job)).name for job in (mine, hers, other)] == [MINE, "mail", "mail@example"]
    clock.advance(15)
    assert await private_queues.release_abandoned(jobs.storage, clock) == 0
    clock.advance(1)
    assert await private_queues.release_abandoned(jobs.storage, clock) == 2
    assert [(await jobs.look(job)).name for job in (mine, paused)] == ["mail", "errand"]


async def test_job_that_another_one_replaces_is_cancelled_when_it_is_released(jobs: Driver) -> None:
    await jobs.send("mail", singleton_key="a")
    mine = await jobs.send(MINE, singleton_key="a")
    assert await private_queues.release(jobs.storage, [MINE]) == 1
    stored = await jobs.look(mine)
    assert (stored.name, stored.row_state) == ("mail", RowState.CANCELLED)
    found = await jobs.storage.find(JobQuery(names=(MINE,), limit=10))
    assert found == replace(found, jobs=[])
