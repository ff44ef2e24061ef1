"""The context of a handler: the job's data, its operations, and the cleanup."""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.cases import check_each_async
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext

COMPLETED, FAILED, RETRY, CREATED = RowState.COMPLETED, RowState.FAILED, RowState.RETRY, RowState.CREATED


# What a handler knows and may do


async def test_context_has_the_fields_of_the_job(place: Place) -> None:
    seen: list[Any] = []

    @place.catalog.task("tell", aliases=["told"])
    async def tell(job: JobContext) -> None:
        seen.extend((job.id, job.task, job.attempt, job.priority, dict(job.meta), job.cancelled))

    job_id = await place.send(tell, meta={"trace": "abc"}, priority=3)
    await place.drain()
    assert seen == [job_id, "tell", 1, 3, {"trace": "abc"}, False]


async def test_children_have_their_parent_and_its_meta(place: Place) -> None:
    @place.catalog.task("child")
    async def child(job: JobContext) -> dict[str, Any]:
        return {"parent": str(job.parent), "meta": dict(job.meta)}

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> list[str]:
        run = await job.trigger(child)
        sent = (await job.send(child)).id
        async with job.transaction() as transaction:
            third = (await transaction.send(child)).id
        return [str(run.id), str(sent), str(third)]

    job = await place.run_one(parent, meta={"trace": "abc"})
    children = await place.storage.get([UUID(child_id) for child_id in job.output])
    assert len(children) == 3
    for found in children.values():
        assert found.parent == job.id
        assert found.output == {"parent": str(job.id), "meta": {"trace": "abc"}}


async def test_parent_and_ids_of_sent_jobs_are_those_that_a_handler_names(place: Place) -> None:
    other = UUID(int=5)

    @place.catalog.task("child")
    async def child() -> None: ...

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> list[str]:
        keys = ("brief", "Brief", "brief")
        return [str((await job.send(child, parent=other, id=job.child_id(key))).id) for key in keys]

    job = await place.run_one(parent)
    assert [job.output[0] == sent for sent in job.output] == [True, False, True]
    children = await place.storage.get([UUID(child_id) for child_id in job.output])
    assert {found.parent for found in children.values()} == {other}


async def test_resources_are_opened_once_a_worker_and_closed_after_its_last_job() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def resources() -> AsyncIterator[str]:
        log.append("made")
        yield "repository"
        log.append("ended")

    place = Place(Catalog(resources=resources))

    @place.catalog.task("use")
    async def use(job: JobContext) -> None:
        log.append(job.resources)

    await place.send(use)
    await place.send(use)
    await place.drain()
    assert log == ["made", "repository", "repository", "ended"]


async def test_progress_and_log_lines_are_stored_in_order(place: Place) -> None:
    @place.catalog.task("work")
    async def work(job: JobContext) -> None:
        job.logger.debug("not kept")
        job.logger.info("started", items=2)
        await job.progress(0.2)
        await job.progress(0.5, "half")
        job.logger.warning("odd %s", "thing")

    job = await place.run_one(work)
    events = await place.storage.events({job.id: 0})
    told = [(event.kind, json.loads(event.data)) for event in events]
    assert told == [
        ("log", {"level": "info", "message": "started", "items": 2}),
        ("progress", {"value": 0.5, "message": "half"}),
        ("log", {"level": "warning", "message": "odd thing"}),
    ]
    assert {event.attempt for event in events} == {1}


async def test_progress_is_stored_before_the_job_ends(place: Place) -> None:
    note = place.storage.late["append_events"] = asyncio.Event()

    @place.catalog.task("work")
    async def work(job: JobContext) -> None:
        job.progress(1.0, "all done")

    async with place.working() as worker:
        await place.send(work)
        await until(lambda: "append_events" in place.storage.calls)
        await turns()
        assert "settle" not in place.storage.calls
        note.set()
        await worker.drain()


async def test_log_lines_of_one_job_are_limited_and_counted(place: Place) -> None:
    @place.catalog.task("chatter")
    async def chatter(job: JobContext) -> None:
        for n in range(1000):
            job.logger.info("again", n=n)

    job = await place.run_one(chatter)
    events = await place.storage.events({job.id: 0})
    assert len(events) == 201
    assert json.loads(events[-1].data)["leftOut"] == 800


async def output_of(handler: Callable[[JobContext], Awaitable[None]]) -> dict[str, Any]:
    place = Place()
    return (await place.run_one(place.catalog.task("work", retry_limit=0)(handler))).output


async def test_progress_out_of_range_is_refused() -> None:
    async def check(value: Any) -> None:
        async def work(job: JobContext) -> None:
            await job.progress(value)

        error = await output_of(work)
        assert error["type"] == "zeke_queue.errors.InvalidOptionError"
        assert "from 0 to 1" in error["message"]

    cases = {
        "nan": math.nan,
        "inf": math.inf,
        "below": -0.1,
        "above": 1.5,
        "text": "x",
        "none": None,
        "long": 10**5_000,
    }
    await check_each_async(cases, check)


async def test_progress_message_other_than_text_is_refused() -> None:
    async def work(job: JobContext) -> None:
        await job.progress(0.5, 5)  # type: ignore[arg-type] - what untyped handlers do

    assert "message: must be a string or None, got 5" in (await output_of(work))["message"]


async def test_invalid_extension_of_a_deadline_is_refused() -> None:
    async def check(seconds: Any) -> None:
        async def work(job: JobContext) -> None:
            await job.extend(seconds)

        error = await output_of(work)
        assert error["type"] == "zeke_queue.errors.InvalidOptionError"
        assert error["message"].startswith("extend: ")

    await check_each_async([0, -1, math.nan, math.inf, 1e300, timedelta.max, "5", None], check)


# What handlers leave behind


async def test_context_variable_of_a_handler_is_not_seen_by_the_next(place: Place) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    @place.catalog.task("work")
    async def work(n: int) -> None:
        seen.append(user.get())
        user.set(f"user {n}")

    for n in range(5):
        await place.send(work, n)
    await place.drain(concurrency=1)
    assert seen == ["nobody"] * 5


async def test_pending_cancellation_of_a_handler_reaches_no_other_job(place: Place) -> None:
    started: list[int] = []

    @place.catalog.task("work", retry_limit=0)
    async def work(n: int) -> int:
        started.append(n)
        if n == 0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()  # arrives at the next await, of which there is none in this job
            return n
        await turns(3)
        return n

    sent = [await place.send(work, n) for n in range(4)]
    await place.drain(concurrency=1)
    assert [(await place.job(job_id)).output for job_id in sent] == [0, 1, 2, 3]


async def test_foreign_cancellation_fails_only_its_job(place: Place) -> None:
    @place.catalog.task("work", retry_limit=0)
    async def work(n: int) -> int:
        if n == 0:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
        await turns(3)
        return n

    sent = [await place.send(work, n) for n in range(4)]
    await place.drain(concurrency=1)
    jobs = [await place.job(job_id) for job_id in sent]
    assert [job.row_state for job in jobs] == [FAILED, COMPLETED, COMPLETED, COMPLETED]
    assert jobs[0].output["type"] == "asyncio.exceptions.CancelledError"


async def test_timeout_in_a_handler_works_in_a_pool_task_that_ran_other_jobs(place: Place) -> None:
    @place.catalog.task("work", retry_limit=0)
    async def work(n: int) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return f"timeout {n}"
        return "no timeout"

    sent = [await place.send(work, n) for n in range(6)]
    await place.drain(concurrency=2)
    assert [(await place.job(job_id)).output for job_id in sent] == [f"timeout {n}" for n in range(6)]
