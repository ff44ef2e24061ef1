"""Jobs and all that follows from them, watched to their end, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from zeke_queue import Catalog, JobContext, Queue, Snooze, Worker
from zeke_queue.model import FINAL, Job, RowState
from zeke_tasks.cli.follow import Family, counts_of, follow

catalog = Catalog()


@catalog.task("tree")
async def tree(depth: int, job: JobContext) -> None:
    for _ in range(2 if depth else 0):
        await job.send(tree, depth - 1)


@catalog.task("many")
async def many(number: int, job: JobContext) -> None:
    for _ in range(number):
        await job.send(tree, 0)


@catalog.task("later")
async def later() -> None:
    raise Snooze(3600)


@catalog.task("parent")
async def parent(job: JobContext) -> None:
    await job.call(tree, 1)


async def _followed(queue: Queue, roots: Sequence[UUID], timeout: float = 30) -> list[Job]:
    async with Worker(queue):
        looks = [jobs async for jobs in follow(Family(queue, roots), queue, timeout)]
    return looks[-1]


async def test_all_generations_are_found_and_waited_for() -> None:
    async with Queue.in_memory(catalog) as queue:
        other = await queue.trigger(tree, 1)
        run = await queue.trigger(tree, 3)
        jobs = await _followed(queue, [run.id])
    assert len(jobs) == 1 + 2 + 4 + 8
    assert {job.row_state for job in jobs} == {RowState.COMPLETED}
    assert other.id not in {job.id for job in jobs}
    known: set[UUID] = set()
    for job in jobs:
        assert job.parent is None or job.parent in known
        known.add(job.id)


async def test_more_children_than_one_page_has_are_found() -> None:
    async with Queue.in_memory(catalog) as queue:
        run = await queue.trigger(many, 1001)
        await Worker(queue).drain()
        assert len(await Family(queue, [run.id]).read()) == 1002


async def test_job_that_waits_for_its_child_is_followed() -> None:
    async with Queue.in_memory(catalog) as queue:
        run = await queue.trigger(parent)
        jobs = await _followed(queue, [run.id])
        assert await run.result(timeout=0) is None
    assert {job.row_state for job in jobs} == {RowState.COMPLETED}
    assert len(jobs) == 4


async def test_job_deferred_beyond_the_timeout_is_not_followed() -> None:
    async with Queue.in_memory(catalog) as queue:
        runs = [await queue.trigger(later), await queue.trigger(tree, 1)]
        jobs = await _followed(queue, [run.id for run in runs], timeout=60)
    states = {job.name: job.row_state for job in jobs}
    assert states["tree"] is RowState.COMPLETED
    assert states["later"] not in FINAL


async def test_after_its_time_it_ends_whatever_is_left() -> None:
    async with Queue.in_memory(catalog) as queue:
        run = await queue.trigger(tree, 0)
        async with asyncio.timeout(120):
            looks = [jobs async for jobs in follow(Family(queue, [run.id]), queue, 0.5)]
    assert len(looks) > 1
    assert [job.row_state for job in looks[-1]] == [RowState.CREATED]


async def test_without_jobs_there_is_nothing_to_wait_for() -> None:
    async with Queue.in_memory(catalog) as queue:
        assert [jobs async for jobs in follow(Family(queue, []), queue, 60)] == [[]]


async def test_jobs_are_counted_by_queue_and_state() -> None:
    async with Queue.in_memory(catalog) as queue:
        run = await queue.trigger(tree, 1)
        await Worker(queue).drain()
        jobs = await Family(queue, [run.id]).read()
    (stats,) = counts_of(jobs)
    assert (stats.name, dict(stats.row_counts)) == ("tree", {RowState.COMPLETED: 3})
