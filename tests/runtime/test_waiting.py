"""Handlers that run other tasks and continue with their results."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from tests.cases import check_each_async
from tests.runtime.catalogs import nothing
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import InvalidOptionError, JobFailedError, UsageError
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.model import RowState
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Snooze, Wait


async def test_call_returns_the_output_of_the_child(place: Place) -> None:
    runs: list[int] = []

    @place.catalog.task("double")
    async def double(payload: int) -> int:
        return payload * 2

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        runs.append(job.attempt)
        return await job.call(double, 21)

    job = await place.run_one(parent)
    assert (job.row_state, job.output, job.retry_count, runs) == (RowState.COMPLETED, 42, 0, [1, 2])
    assert job.history == ()


async def test_waiting_job_uses_no_slot() -> None:
    async def check(limit: int | None) -> None:
        place = Place()

        @place.catalog.task("count-down", concurrency_limit=limit)
        async def count_down(payload: int, job: JobContext) -> int:
            if payload == 0:
                return 0
            return 1 + await job.call("count-down", payload - 1)

        job_id = await place.send(count_down, 5)
        await place.drain(concurrency=1)
        assert (await place.job(job_id)).output == 5

    await check_each_async([1, None], check)


async def test_children_run_concurrently_and_each_outcome_is_returned(place: Place) -> None:
    running: list[int] = []
    most: list[int] = []

    @place.catalog.task("part", retry_limit=0)
    async def part(payload: int) -> int:
        running.append(payload)
        most.append(len(running))
        await turns(5)
        running.remove(payload)
        if payload == 2:
            raise Fail("no twos")
        return payload

    @place.catalog.task("whole")
    async def whole(job: JobContext) -> list[Any]:
        children = [await job.start_child(part, number, key=f"part/{number}") for number in range(4)]
        outcomes = [await job.wait_for(child) for child in children]
        return [outcome.output if outcome.row_state is RowState.COMPLETED else None for outcome in outcomes]

    job = await place.run_one(whole)
    assert job.output == [0, 1, None, 3]
    assert max(most) == 4


async def test_child_is_sent_once_over_all_attempts_of_its_parent(place: Place) -> None:
    sent: list[UUID] = []

    child = place.catalog.task("child")(nothing)

    @place.catalog.task("parent", retry_delay=0)
    async def parent(job: JobContext) -> None:
        run = await job.start_child(child)
        sent.append(run.id)
        if len(sent) == 1:
            raise ValueError("the first attempt breaks")
        if len(sent) == 2:
            raise Snooze(0)
        await job.wait_for(run.id)

    job = await place.run_one(parent)
    assert job.row_state is RowState.COMPLETED
    assert len(set(sent)) == 1
    assert (await place.job(sent[0])).attempt == 1


async def test_two_children_of_one_key_are_refused(place: Place) -> None:
    @place.catalog.task("child")
    async def child(payload: int) -> None: ...

    @place.catalog.task("parent", retry_limit=0)
    async def parent(job: JobContext) -> None:
        await job.start_child(child, 1)
        await job.start_child(child, 2)

    job = await place.run_one(parent)
    assert job.output["type"].endswith(InvalidOptionError.__name__)
    assert job.output["message"].startswith("key: 'child' names a child of this attempt already")


async def test_invalid_key_of_a_child_is_refused() -> None:
    async def check(key: Any) -> None:
        place = Place()

        @place.catalog.task("parent", retry_limit=0)
        async def parent(job: JobContext) -> None:
            job.child_id(key)

        assert (await place.run_one(parent)).output["message"].startswith("key: ")

    await check_each_async(["", 5], check)


async def test_invalid_wait_is_refused(place: Place) -> None:
    for wrong in (None, "text", 5):
        with pytest.raises(InvalidOptionError, match="child: "):
            Wait(wrong)

    @place.catalog.task("narcissus")
    async def narcissus(job: JobContext) -> None:
        raise Wait(job.id)

    job = await place.run_one(narcissus)
    message = "The job would wait for itself, which would never end; wait for another job"
    expected = (RowState.FAILED, message)
    assert (job.row_state, job.output["message"], job.attempt) == (*expected, 1)


async def test_wait_for_a_job_that_does_not_exist_is_retried_and_fails(place: Place) -> None:
    unknown = UUID(int=999)

    @place.catalog.task("parent", retry_limit=2, retry_delay=0)
    async def parent() -> None:
        raise Wait(unknown)

    job = await place.run_one(parent)
    assert (job.row_state, job.attempt, job.retry_count) == (RowState.FAILED, 3, 2)
    assert job.output["type"] == "JobNotFoundError"
    assert job.output["message"].startswith(f"The handler waits for job {unknown}, which does not exist; ")
    assert len(job.history) == 3


async def test_job_that_waits_again_for_an_ended_job_is_retried_and_fails(place: Place) -> None:
    @place.catalog.task("child")
    async def child() -> None:
        """Do nothing."""

    @place.catalog.task("parent", retry_limit=1, retry_delay=0)
    async def parent(payload: str) -> None:
        raise Wait(UUID(payload))

    ended = await place.run_one(child)
    job_id = await place.send(parent, str(ended.id))
    await place.drain()
    job = await place.job(job_id)
    # Each second attempt fails.
    assert (job.row_state, job.attempt, job.retry_count) == (RowState.FAILED, 4, 1)
    assert job.output["type"] == "Wait"
    assert job.output["message"].startswith(f"The handler waits again for job {ended.id}, which had ended ")


async def test_jobs_that_wait_for_each_other_fail_with_the_chain(place: Place) -> None:
    @place.catalog.task("member", retry_limit=3)
    async def member(payload: str, job: JobContext) -> str:
        other = await job.wait_for(UUID(payload))
        return str(other.row_state)

    ids = [UUID(int=number) for number in (1, 2, 3)]
    for job_id, other in zip(ids, [*ids[1:], ids[0]], strict=True):
        await place.queue.send(member, str(other), id=job_id)
    await place.drain(concurrency=1)
    states = [(await place.job(job_id)).row_state for job_id in ids]
    assert states == [RowState.COMPLETED, RowState.COMPLETED, RowState.FAILED]
    last = await place.job(ids[2])
    named = " -> ".join(map(str, (ids[2], ids[0], ids[1], ids[2])))
    why = f"These jobs would wait for each other, which would never end: {named}; remove one of these waits"
    assert last.output["message"] == why
    assert (last.attempt, (await place.job(ids[1])).output) == (1, "failed")


async def test_refused_wait_is_stored_again_after_a_lost_answer(place: Place) -> None:
    @place.catalog.task("parent", retry_limit=0)
    async def parent() -> None:
        raise Wait(UUID(int=999))

    place.storage.cut = {"settle": "after"}
    job_id = await place.send(parent)
    async with place.working():
        await until(lambda: place.storage.calls.count("settle") > 0)
        place.storage.mend()
        place.keep_advancing()
        await until(lambda: place.state(job_id) is RowState.FAILED)
    assert (await place.job(job_id)).output["type"] == "JobNotFoundError"


async def test_cancelling_the_parent_stops_its_running_child(place: Place) -> None:
    stopped: list[str] = []

    @place.catalog.task("child")
    async def child() -> None:
        try:
            await turns(100_000)
        except BaseException as error:
            stopped.append(type(error).__name__)
            raise

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> None:
        await job.call(child)

    job_id = await place.send(parent)
    async with place.working(heartbeat_interval=0.01):
        await until(lambda: place.active("child"))
        await until(lambda: place.state(job_id) is RowState.CREATED)
        assert await place.queue.cancel(job_id)
        place.keep_advancing()
        await until(lambda: stopped)
        place.stop_advancing()
    assert stopped == ["CancelledError"]


async def test_sync_handler_calls_through_its_job(place: Place) -> None:
    @place.catalog.task("double")
    async def double(payload: int) -> int:
        return payload * 2

    @place.catalog.task("parent")
    def parent(job: JobContext) -> Any:
        return job.run_coroutine(job.call(double, 4))

    assert (await place.run_one(parent)).output == 8


async def test_wait_with_a_lost_answer_is_repeated(place: Place) -> None:
    faulty = place.storage

    @place.catalog.task("child")
    async def child() -> int:
        return 1

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        return await job.call(child)

    faulty.cut = {"suspend": "after"}
    job_id = await place.send(parent)
    async with place.working():
        await until(lambda: faulty.calls.count("suspend") > 0)
        assert place.state(job_id) is RowState.CREATED
        faulty.mend()
        place.keep_advancing()
        await until(lambda: place.state(job_id) is RowState.COMPLETED)
        place.stop_advancing()
    job = await place.job(job_id)
    assert (job.output, job.retry_count, job.history) == (1, 0, ())


async def test_maintenance_resumes_a_parent_that_was_not_woken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    @place.catalog.task("child")
    async def child() -> int:
        return 7

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        return await job.call(child)

    job_id = await place.send(parent)

    def nothing(now: object, changed: object) -> None:
        """As if the process had ended between the two statements."""

    with monkeypatch.context() as patched:
        patched.setattr(place.storage.real, "_wake", nothing)
        await place.drain()
    assert (await place.job(job_id)).row_state is RowState.CREATED
    swept = await Maintenance(parts_of(place.queue)).sweep()
    assert (swept.resumed, swept.failed) == (1, ())
    await place.drain()
    assert (await place.job(job_id)).output == 7


async def test_resume_also_resumes_the_child_cancelled_with_its_parent(place: Place) -> None:
    @place.catalog.task("child")
    async def child() -> int:
        return 3

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        return await job.call(child)

    job_id = await place.send(parent)
    await place.drain(tasks=["parent"])
    assert await place.queue.cancel(job_id)
    await place.drain()
    assert await place.queue.resume(job_id)
    await place.drain()
    assert (await place.job(job_id)).output == 3


async def test_id_and_parent_of_a_child_cannot_be_set() -> None:
    async def check(option: str) -> None:
        place = Place()

        child = place.catalog.task("child")(nothing)

        @place.catalog.task("parent", retry_limit=0)
        async def parent(job: JobContext) -> None:
            options: dict[str, Any] = {option: UUID(int=1)}
            await job.start_child(child, **options)

        message = (await place.run_one(parent)).output["message"]
        remedy = "omit it, or use job.send"
        assert message == f"{option}: a child that is waited for has its own; {remedy}"

    await check_each_async(["id", "parent"], check)


async def test_wait_may_leave_a_task_group(place: Place) -> None:
    @place.catalog.task("part")
    async def part(payload: int) -> int:
        return payload

    @place.catalog.task("whole")
    async def whole(job: JobContext) -> int:
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(job.call(part, n, key=f"part/{n}")) for n in range(3)]
        return sum(done.result() for done in parts)

    job = await place.run_one(whole)
    assert (job.row_state, job.output, job.history) == (RowState.COMPLETED, 3, ())


async def test_wait_beside_an_error_is_an_error(place: Place) -> None:
    part = place.catalog.task("part")(nothing)

    @place.catalog.task("whole", retry_limit=0)
    async def whole(job: JobContext) -> None:
        child = await job.start_child(part)
        raise BaseExceptionGroup("both", [Wait(child), ValueError("no")])

    job = await place.run_one(whole)
    assert (job.row_state, job.output["type"]) == (RowState.FAILED, "BaseExceptionGroup")


async def test_handler_reads_its_own_history(place: Place) -> None:
    @place.catalog.task("learn", retry_delay=0)
    async def learn(job: JobContext) -> list[str]:
        stored = await job.stored()
        if not stored.history:
            raise ValueError("the first time")
        return [attempt.error["message"] for attempt in stored.history]

    assert (await place.run_one(learn)).output == ["the first time"]


async def test_call_returns_a_model_and_raises_for_a_child_that_failed(place: Place) -> None:
    class Count(BaseModel):
        total: int

    @place.catalog.task("count", retry_limit=0)
    async def count(payload: int) -> Count:
        if payload == 0:
            raise Fail("nothing to count")
        return Count(total=payload)

    @place.catalog.task("parent")
    async def parent(payload: int, job: JobContext) -> str:
        try:
            counted = await job.call(count, payload)
        except JobFailedError as failed:
            return f"{type(failed).__name__} {failed.job.output['message']}"
        assert isinstance(counted, Count)
        return str(counted.total)

    assert (await place.run_one(parent, 3)).output == "3"
    assert (await place.run_one(parent, 0)).output == "JobFailedError nothing to count"
    run = await place.queue.send(count, 4)
    await place.drain()
    assert await run.result() == Count(total=4)
    assert await (await place.queue.get_run(run.id, count)).result() == Count(total=4)
    assert await (await place.queue.get_run(run.id)).result() == Count(total=4)
    with pytest.raises(UsageError, match=r"^task: job .* is one of 'count', not of 'parent'"):
        await place.queue.get_run(run.id, parent)
