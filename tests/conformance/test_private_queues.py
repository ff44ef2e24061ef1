"""Jobs that a process leaves in its private queues: they move to the queues of their tasks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, ENDS, Driver, is_kept_waiting, soon
from zeke_queue.core.names import private_queue
from zeke_queue.maintenance import private_queues
from zeke_queue.model import JobQuery, RowState, WorkerInfo

MINE = private_queue("mail", ANNA)
HERS = private_queue("mail", BERT)


async def test_moved_jobs_keep_their_state_and_are_claimed_from_the_new_queue_only(jobs: Driver) -> None:
    waiting, later = await jobs.send(MINE), await jobs.send(MINE, delay=60)
    ended = {await jobs.ended(state, name=f"{state}@x"): state for state in ENDS}
    running, other = await jobs.running("errand@x"), await jobs.send("errand")
    moves = {MINE: "mail", "errand@x": "mail", **{f"{state}@x": "mail" for state in ENDS}}
    assert await jobs.storage.move_jobs(moves) == 7
    assert [(await jobs.look(job)).name for job in (waiting, later, running.id, *ended)] == ["mail"] * 7
    assert await jobs.states(ended) == list(ended.values())
    assert [job.id for job in await jobs.claim(*moves, "errand")] == [other]
    assert [job.id for job in await jobs.claim("mail")] == [waiting]
    assert await jobs.complete(running)
    (stats,) = [stats for stats in await jobs.storage.queue_stats() if stats.name == "mail"]
    assert sum(stats.row_counts.values()) == 7
    assert await jobs.storage.move_jobs(moves) == 0


async def test_moved_jobs_wake_the_workers_of_the_new_queue(jobs: Driver) -> None:
    await jobs.heartbeat()
    await jobs.storage.set_idle(ANNA, ["mail"])
    await jobs.send(MINE)
    sleeping = asyncio.create_task(jobs.storage.wait_for_jobs(["mail"], 60))
    await soon(jobs.storage.move_jobs({MINE: "mail"}))
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
    assert await jobs.storage.move_jobs({MINE: "mail", HERS: "mail"}) == 3
    names = [(await jobs.look(job)).name for job in (*kept, *moved, gone)]
    assert names == [MINE, MINE, "mail", "mail", "mail"]
    assert await jobs.refused("mail", singleton_key="b")
    assert not await jobs.refused(MINE, singleton_key="b")


async def test_move_waits_for_a_locked_job(jobs: Driver) -> None:
    job = await jobs.send(MINE)
    async with jobs.storage.transaction() as transaction:
        await transaction.cancel([job])
        moving = asyncio.create_task(jobs.storage.move_jobs({MINE: "mail"}))
        assert await is_kept_waiting(moving)
    assert await soon(moving) == 1
    assert (await jobs.look(job)).row_state is RowState.CANCELLED


async def _begin(jobs: Driver, worker: UUID, *queues: str) -> None:
    await jobs.storage.heartbeat(WorkerInfo(worker, "host", 1, queues, 15.0))


async def test_jobs_of_ended_processes_are_released_and_those_of_living_ones_stay(
    jobs: Driver, clock: FrozenClock
) -> None:
    await _begin(jobs, ANNA, MINE)
    mine, hers, other = await jobs.send(MINE), await jobs.send(HERS), await jobs.send("mail@example")
    paused = await jobs.send(private_queue("errand", ANNA))
    assert await private_queues.release(jobs.storage) == 1  # Bert was never registered
    assert [(await jobs.look(job)).name for job in (mine, hers, other)] == [MINE, "mail", "mail@example"]
    clock.advance(15)
    assert await private_queues.release(jobs.storage) == 0
    clock.advance(1)
    assert await private_queues.release(jobs.storage) == 2
    assert [(await jobs.look(job)).name for job in (mine, paused)] == ["mail", "errand"]


async def test_job_that_another_one_replaces_is_cancelled_when_it_is_released(jobs: Driver) -> None:
    await jobs.send("mail", singleton_key="a")
    mine = await jobs.send(MINE, singleton_key="a")
    assert await private_queues.release(jobs.storage, [MINE]) == 1
    stored = await jobs.look(mine)
    assert (stored.name, stored.row_state) == ("mail", RowState.CANCELLED)
    found = await jobs.storage.find(JobQuery(names=(MINE,), limit=10))
    assert found == replace(found, jobs=[])
