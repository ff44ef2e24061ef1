"""Which jobs a worker claims, how many, in which order, and when it wakes for them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.runtime.catalogs import nothing
from tests.runtime.workers.handler import Handler, Overlap
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.core.poll_backoff import IDLE_LADDER
from zeke_queue.errors import InvalidOptionError, PermissionDeniedError, UnknownTaskError, UsageError
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.worker import Worker

COMPLETED, FAILED, RETRY, CREATED = RowState.COMPLETED, RowState.FAILED, RowState.RETRY, RowState.CREATED


# Which jobs run, and how many


async def test_jobs_run_concurrently_up_to_the_concurrency(place: Place) -> None:
    running, most, go = 0, 0, asyncio.Event()

    @place.catalog.task("work")
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    for _ in range(7):
        await place.send(work)
    async with place.working(concurrency=3) as worker:
        await until(lambda: running == 3)
        await turns()
        assert running == 3
        go.set()
        await worker.drain()
    assert most == 3
    assert {one.name: dict(one.row_counts) for one in await place.queue.stats()} == {"work": {COMPLETED: 7}}


async def test_limit_holds_over_all_workers_and_every_job_runs(place: Place) -> None:
    jobs = Overlap()
    limited = place.catalog.task("limited", concurrency_limit=2)(jobs.run)

    @place.catalog.task("free")
    async def free() -> None:
        await turns(1)

    for _ in range(20):
        await place.send(limited)
        await place.send(free)
    async with place.working() as one, place.working() as other:
        await asyncio.gather(one.drain(), other.drain())
    assert jobs.most == 2
    expected = {"limited": {COMPLETED: 20}, "free": {COMPLETED: 20}}
    assert {one.name: dict(one.row_counts) for one in await place.queue.stats()} == expected


async def test_limit_of_one_worker_holds_there_and_leaves_others_their_own(place: Place) -> None:
    held: dict[str, int] = {}
    go = asyncio.Event()

    @place.catalog.task("video", aliases=["film"])
    async def video() -> None:
        await go.wait()

    @place.catalog.task("mail", concurrency_limit=2)
    async def mail() -> None:
        await go.wait()

    for _ in range(9):
        await place.send(video)
        await place.send(mail)
    async with place.working(concurrency=8, task_concurrency={"video": 3, mail: 4}) as one:
        await until(lambda: place.active("video") == 3 and place.active("mail") == 2)
        await turns()
        held["one"] = place.active("video")
        async with place.working(concurrency=8, tasks=["video"], task_concurrency={video: 5}) as other:
            await until(lambda: place.active("video") == 8)
            await turns()
            held["both"] = place.active("video")
            go.set()
            await asyncio.gather(one.drain(), other.drain())
    assert held == {"one": 3, "both": 8}


async def test_limit_of_one_worker_is_shared_by_a_task_and_its_aliases(place: Place) -> None:
    jobs, names = Overlap(), ("video", "film", "clip")
    place.catalog.task("video", aliases=names[1:])(jobs.run)
    place.catalog.task("mail")(nothing)
    older = Place(Catalog(), place.clock, place.storage)
    for limit in (1, 4):
        jobs.most = 0
        for _ in range(5):
            for name in (*names, "mail"):
                await older.send(name, external=True)
        await place.drain(concurrency=8, task_concurrency={"video": limit})
        assert jobs.most == limit
    assert {one.name: dict(one.row_counts) for one in await place.queue.stats()} == {
        name: {COMPLETED: 10} for name in (*names, "mail")
    }


async def test_limit_counts_a_cancelled_job_until_its_handler_ends(place: Place) -> None:
    running: list[UUID] = []
    go, cancelled, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @place.catalog.task("video")
    async def video(job: JobContext) -> None:
        running.append(job.id)
        try:
            await go.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        finally:
            await cleaned.wait()
            running.remove(job.id)

    first, second = await place.send(video), await place.send(video)
    async with place.working(task_concurrency={"video": 1}, lease=15, heartbeat_interval=5) as worker:
        await until(lambda: running == [first])
        await place.queue.cancel(first)
        await place.advance(6)
        await until(cancelled.is_set)
        draining = asyncio.ensure_future(worker.drain())
        await place.advance(3)
        assert (running, draining.done()) == ([first], False)
        go.set()
        cleaned.set()
        await draining
        assert place.state(second) is COMPLETED


async def test_invalid_task_concurrency_is_rejected(place: Place) -> None:
    place.catalog.task("video", aliases=["film"])(nothing)
    place.catalog.task("mail")(nothing)
    stranger = Catalog().task("stranger")(nothing)

    def check(value: Any, error: type[UsageError], message: str, **options: Any) -> None:
        with pytest.raises(error) as caught:
            Worker(place.queue, task_concurrency=value, **options)
        assert str(caught.value).startswith(f"task_concurrency: {message}")

    number = "must be an integer of 1 or more for 'mail', got"
    check_each(
        [
            (3, InvalidOptionError, "must be a dict of numbers by task, got 3"),
            (0, InvalidOptionError, "must be a dict of numbers by task, got 0"),
            ([], InvalidOptionError, "must be a dict of numbers by task, got []"),
            ({"nowhere": 1}, UnknownTaskError, "No task has the name 'nowhere'"),
            ({5: 1}, UsageError, "must be a task or its name, got 5"),
            ({stranger: 1}, UnknownTaskError, "Task 'stranger' is not of this catalog"),
            ({"mail": 0}, InvalidOptionError, f"{number} 0"),
            ({"mail": True}, InvalidOptionError, f"{number} True"),
        ],
        check,
    )
    unserved = "must name tasks that the worker serves, got 'video'; add it to tasks, or leave it out"
    check({"film": 2}, UsageError, unserved, tasks=["mail"])
    with pytest.raises(UsageError, match="concurrency: must be above 0 where task_concurrency is given"):
        Worker(place.queue, concurrency=0, task_concurrency={"mail": 1})
    assert Worker(place.queue, task_concurrency={"video": 1, "film": 2}).id is None


async def test_limited_job_is_not_claimed_before_it_can_start(place: Place) -> None:
    go = asyncio.Event()

    quick = place.catalog.task("quick")(nothing)

    @place.catalog.task("limited", concurrency_limit=5)
    async def limited() -> None:
        await go.wait()

    async with place.working(concurrency=2) as worker:
        go.set()
        await place.send(quick)
        await place.send(limited)
        await worker.drain()  # both are known to be quick from here on
        go.clear()
        sent = [await place.send(limited) for _ in range(5)]
        await until(lambda: place.active("limited") == 2)
        await turns()
        assert place.active("limited") == 2
        go.set()
        await worker.drain()
    assert [(await place.job(job_id)).row_state for job_id in sent] == [COMPLETED] * 5


async def test_job_claimed_early_that_waits_past_its_deadline_is_released(place: Place) -> None:
    go, ran = asyncio.Event(), []

    @place.catalog.task("work", retry_limit=0)
    async def work(n: int) -> None:
        ran.append(n)
        if n == 1:
            await go.wait()

    async with place.working(concurrency=1) as worker:
        await place.send(work, 0)
        await worker.drain()  # it is known to be quick from here on, and claimed ahead
        sent = [await place.send(work, 1), await place.send(work, 2, expire_in=3)]
        await until(lambda: [place.state(job_id) for job_id in sent] == [RowState.ACTIVE] * 2)
        place.clock.advance(4)
        go.set()
        await worker.drain()
    assert ran == [0, 1, 2]
    job = await place.job(sent[1])
    assert (job.row_state, job.attempt, job.retry_count) == (COMPLETED, 2, 0)


async def test_invalid_payload_does_not_count_as_a_short_run(place: Place) -> None:
    go, began = asyncio.Event(), []

    @place.catalog.task("work")
    async def work(n: int) -> None:
        began.append(n)
        await go.wait()

    older = Place(Catalog(), place.clock, place.storage)
    async with place.working(concurrency=1) as worker:
        invalid_payload = await older.send("work", "no number", external=True)
        await worker.drain()
        assert place.state(invalid_payload) is FAILED
        for n in range(3):
            await older.send("work", n, external=True)
        await until(lambda: began)
        await turns()
        assert place.active("work") == 1
        go.set()
        await worker.drain()
    assert began == [0, 1, 2]


async def test_job_of_the_highest_priority_over_all_queues_runs_first(place: Place) -> None:
    order: list[str] = []

    def define(name: str, priority: int) -> Any:
        @place.catalog.task(name, priority=priority)
        async def work() -> None:
            order.append(name)

        return work

    low, high, middle = define("low", -5), define("high", 10), define("middle", 0)
    for task in (low, high, middle):
        await place.send(task)
        await place.send(task)
    await place.drain(concurrency=1)
    assert order == ["high", "high", "middle", "middle", "low", "low"]


async def test_jobs_in_the_queue_of_an_alias_are_run(place: Place) -> None:
    @place.catalog.task("summarize-story", aliases=["story-summarize"])
    async def summarize(job: JobContext) -> str:
        return job.task

    older = Place(Catalog(), place.clock, place.storage)
    job_id = await older.send("story-summarize", external=True)
    await place.drain()
    job = await place.job(job_id)
    assert (job.name, job.output) == ("story-summarize", "summarize-story")


async def test_worker_serves_only_its_queues(place: Place) -> None:
    mine = place.catalog.task("mine", aliases=["my-alias"])(nothing)
    others = place.catalog.task("others")(nothing)
    sent = [await place.send(mine), await place.send(others)]
    await place.drain(tasks=["my-alias"])
    assert [(await place.job(job_id)).row_state for job_id in sent] == [COMPLETED, CREATED]


async def test_running_worker_can_not_be_started_again(place: Place) -> None:
    place.catalog.task("work")(nothing)
    async with place.working() as worker:
        with pytest.raises(UsageError, match="already running"):
            await worker.run()


async def test_each_start_of_a_worker_has_a_new_id(place: Place) -> None:
    place.catalog.task("work")(nothing)
    worker = place.worker()
    seen = []
    for _ in range(2):
        async with worker:
            seen.append(worker.id)
            worker.stop(immediately=True)
    assert len(set(seen)) == 2
    assert worker.id is None


# Waking up


async def test_idle_worker_runs_a_job_as_soon_as_it_is_sent(place: Place) -> None:
    work = place.catalog.task("work")(nothing)
    async with place.working(poll_interval=1000):
        await until(place.asleep)
        job_id = await place.send(work)
        # The clock is stopped, so the poll does not find the job.
        await until(lambda: place.state(job_id) is COMPLETED)


async def test_idle_worker_finds_a_delayed_job_when_it_polls(place: Place) -> None:
    work = place.catalog.task("work")(nothing)
    async with place.working(poll_interval=60):
        await until(place.asleep)
        job_id = await place.send(work, delay=30)
        sent = place.clock.monotonic()
        place.keep_advancing()
        await until(lambda: place.state(job_id) is COMPLETED)
        assert place.clock.monotonic() - sent < 600


async def test_worker_runs_its_own_retry_before_the_next_poll(place: Place) -> None:
    @place.catalog.task("work", retry_delay=2, retry_backoff=False)
    async def work(job: JobContext) -> None:
        if job.attempt == 1:
            raise ValueError

    async with place.working(poll_interval=10_000):
        job_id = await place.send(work)
        await until(lambda: place.state(job_id) is RETRY)
        await place.advance(30, 0.1)  # after the first quick polls, and before the regular one
        await until(lambda: place.state(job_id) is COMPLETED)


async def test_free_place_under_a_limit_is_filled_at_once(place: Place) -> None:
    go = asyncio.Event()

    @place.catalog.task("one", concurrency_limit=1)
    async def one() -> None:
        await turns(2)

    @place.catalog.task("other")
    async def other() -> None:
        await go.wait()

    sent = [await place.send(one) for _ in range(5)]
    await place.send(other)
    async with place.working(poll_interval=1000):
        await until(lambda: all(place.state(job_id) is COMPLETED for job_id in sent))


async def test_idle_flag_with_a_lost_answer_is_set_again(place: Place) -> None:
    work = Handler(place)
    async with place.working(concurrency=1, poll_interval=1e6):
        await until(place.asleep)
        # It has no capacity, so it clears its idle flag, but gets no answer.
        place.storage.cut["set_idle"] = "after"
        job_id = await work.begin()
        await until(lambda: place.storage.calls[-1] == "set_idle")
        work.go.set()
        await until(lambda: place.state(job_id) is COMPLETED)
        before = len(place.storage.calls)
        place.keep_advancing()
        await until(lambda: "claim" in place.storage.calls[before:])
        place.storage.mend()
        await until(place.asleep)


async def test_idle_flag_that_did_not_arrive_is_set_again(place: Place) -> None:
    Handler(place)
    place.storage.cut["set_idle"] = "before"
    async with place.working(poll_interval=1e6):
        await until(lambda: place.storage.calls[-1] == "set_idle")
        place.storage.mend()
        place.keep_advancing()
        await until(place.asleep)


async def test_idle_flag_is_set_again_after_a_failover(place: Place) -> None:
    Handler(place)
    async with place.working(poll_interval=1e6, lease=15, heartbeat_interval=5) as worker:
        await until(place.asleep)
        place.storage.cut_all()
        assert worker.id is not None
        await place.storage.real.deregister(worker.id)
        await place.advance(15)
        place.storage.mend()
        place.keep_advancing()
        await until(place.asleep)


async def test_drain_does_not_end_by_a_claim_that_began_before_it(place: Place) -> None:
    work = Handler(place)
    work.go.set()
    async with place.working(poll_interval=1e6) as worker:
        await until(place.asleep)
        await turns()
        answer = place.storage.held["claim"] = asyncio.Event()
        claims = place.storage.calls.count("claim")
        place.clock.advance(IDLE_LADDER[0])
        await until(lambda: place.storage.calls.count("claim") > claims)
        job_id = await place.send(work.task)
        draining = asyncio.ensure_future(worker.drain())
        await turns()
        answer.set()
        await draining
        assert place.state(job_id) is COMPLETED


async def test_jobs_that_arrive_after_the_lease_ended_are_not_started(place: Place) -> None:
    """Another worker may hold the job; the worker learns that when it reaches the storage again."""
    work = Handler(place)
    work.go.set()
    async with place.working(lease=15, heartbeat_interval=5):
        await until(place.asleep)
        answer = place.storage.held["claim"] = asyncio.Event()
        job_id = await place.send(work.task)
        await until(lambda: place.state(job_id) is RowState.ACTIVE)
        place.storage.cut["heartbeat"] = "before"
        await place.advance(23)
        answer.set()
        await turns()
        assert work.started == []
        place.storage.mend()
        place.keep_advancing()
        await until(lambda: place.state(job_id) is COMPLETED)
    assert (await place.job(job_id)).attempt == 2


async def test_jobs_of_a_claim_that_failed_halfway_are_released_and_run(place: Place) -> None:
    real, refusals = place.storage.real.claim, 1

    async def claim(**ask: Any) -> Any:
        nonlocal refusals
        claimed = await real(**ask)
        if claimed and refusals:
            refusals -= 1
            raise PermissionDeniedError("The role lacks a right for the next statement of the claim")
        return claimed

    place.storage.real.claim = claim
    work = Handler(place)
    work.go.set()
    job_id = await place.send(work.task)
    place.keep_advancing()
    await place.drain()
    job = await place.job(job_id)
    assert (job.row_state, job.attempt, work.finished) == (COMPLETED, 2, [job_id])


async def test_slot_freed_while_the_idle_flag_is_set_is_used(place: Place) -> None:
    work = Handler(place)
    work.go.set()
    async with place.working(concurrency=1):
        await until(place.asleep)
        told = place.storage.late["set_idle"] = asyncio.Event()
        first, second = await place.send(work.task), await place.send(work.task)
        await until(lambda: place.state(first) is COMPLETED)
        await turns()
        told.set()
        await until(lambda: place.state(second) is COMPLETED)
