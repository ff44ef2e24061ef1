"""The worker: from a job that is due to the outcome that is stored."""

from __future__ import annotations

import asyncio
import contextvars
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from tests.runtime.workers.place import Place, turns, until
from zeke_queue.catalog import Catalog
from zeke_queue.context import JobContext
from zeke_queue.errors import BadOption, UnknownTask, UsageError
from zeke_queue.model import JobState
from zeke_queue.signals import Fail, Retry, Snooze
from zeke_queue.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMPLETED, FAILED, RETRY, CREATED = JobState.COMPLETED, JobState.FAILED, JobState.RETRY, JobState.CREATED


@pytest.fixture
def place() -> Place:
    return Place()


class Item(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    item_id: int


# What a handler returns


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (None, None),
        ({"a": [1, 2.5, "é"]}, {"a": [1, 2.5, "é"]}),
        (False, False),
        (Item(item_id=3), {"itemId": 3}),
        ([timedelta(seconds=90)], ["PT1M30S"]),
    ],
)
async def test_what_a_handler_returns_is_the_output(place: Place, result: Any, output: Any) -> None:
    @place.catalog.task("give")
    async def give() -> Any:
        return result

    job = await place.run_one(give)
    assert (job.state, job.output, job.attempt, job.retry_count) == (COMPLETED, output, 1, 0)


async def test_a_handler_gets_its_payload_as_the_model_it_asks_for(place: Place) -> None:
    @place.catalog.task("take")
    async def take(payload: Item) -> int:
        return payload.item_id

    assert (await place.run_one(take, {"itemId": 7})).output == 7


@pytest.mark.parametrize("result", [float("nan"), {"a": "\0"}, object()], ids=["NaN", "NUL", "object"])
async def test_a_result_that_is_no_json_fails_for_good_because_the_next_would_be_no_better(
    place: Place, result: Any
) -> None:
    @place.catalog.task("give")
    async def give() -> Any:
        return result

    job = await place.run_one(give)
    assert (job.state, job.output["type"]) == (FAILED, "NotJson")
    assert "The handler's result can't be stored" in job.output["message"]


async def test_a_result_over_the_cap_fails_for_good_and_says_what_to_do() -> None:
    place = Place(Catalog(output_cap=100))

    @place.catalog.task("give")
    async def give() -> str:
        return "é" * 100

    job = await place.run_one(give)
    assert (job.state, job.output["type"]) == (FAILED, "TooLarge")
    assert "202 bytes of JSON, 100 at most" in job.output["message"]


# What a handler raises


async def test_an_exception_is_kept_and_the_job_retried_until_its_retries_are_used_up(place: Place) -> None:
    @place.catalog.task("boom", retry_limit=2, retry_delay=10, retry_backoff=False)
    async def boom() -> None:
        raise LookupError("no such thing")

    job_id = await place.send(boom)
    states = []
    for _ in range(3):
        await place.drain()
        job = await place.job(job_id)
        states.append((job.state, job.attempt, job.retry_count))
        place.clock.advance(10)
    assert states == [(RETRY, 1, 0), (RETRY, 2, 1), (FAILED, 3, 2)]
    assert job.output["type"] == "LookupError"
    assert job.output["message"] == "no such thing"
    assert 'raise LookupError("no such thing")' in job.output["traceback"]
    assert [attempt.error["message"] for attempt in job.history] == ["no such thing"] * 3


async def test_the_backoff_is_drawn_from_the_policy(place: Place) -> None:
    @place.catalog.task("boom", retry_delay=100, retry_backoff=True, retry_delay_max=150)
    async def boom() -> None:
        raise ValueError

    job = await place.run_one(boom)
    wait = (job.start_after - place.clock.now()).total_seconds()
    assert 100 <= wait <= 150


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), StopAsyncIteration()])
async def test_even_an_exception_that_ends_other_programs_is_only_the_failure_of_its_job(
    place: Place, error: BaseException
) -> None:
    @place.catalog.task("end")
    async def end() -> None:
        raise error

    @place.catalog.task("next")
    async def following() -> str:
        return "ran"

    assert (await place.run_one(end)).state is RETRY
    assert (await place.run_one(following)).output == "ran"


@pytest.mark.parametrize("after", [7, timedelta(seconds=7)])
async def test_a_handler_may_say_when_it_wants_to_be_retried(place: Place, after: Any) -> None:
    @place.catalog.task("later", retry_delay=100)
    async def later() -> None:
        raise Retry(after=after, reason="rate limit")

    job = await place.run_one(later)
    assert (job.state, job.start_after) == (RETRY, place.clock.now() + timedelta(seconds=7))
    assert job.history[-1].error["message"] == "rate limit"


async def test_a_retry_that_a_handler_asks_for_uses_one_up(place: Place) -> None:
    @place.catalog.task("later", retry_limit=0)
    async def later() -> None:
        raise Retry(after=7)

    assert (await place.run_one(later)).state is FAILED


async def test_a_retry_without_a_time_waits_as_the_policy_says(place: Place) -> None:
    @place.catalog.task("later", retry_delay=30, retry_backoff=False)
    async def later() -> None:
        raise Retry

    assert (await place.run_one(later)).start_after == place.clock.now() + timedelta(seconds=30)


async def test_a_handler_may_fail_for_good(place: Place) -> None:
    @place.catalog.task("never", retry_limit=5)
    async def never() -> None:
        raise Fail("the account is closed")

    job = await place.run_one(never)
    assert (job.state, job.output["type"], job.output["message"]) == (FAILED, "Fail", "the account is closed")


async def test_a_snoozed_job_comes_back_without_a_retry_used(place: Place) -> None:
    seen: list[tuple[int, int]] = []

    @place.catalog.task("snooze", retry_limit=0)
    async def snooze(job: JobContext) -> str:
        seen.append((job.attempt, job.retry_count))
        if len(seen) < 3:
            raise Snooze(60)
        return "awake"

    job_id = await place.send(snooze)
    for _ in range(3):
        await place.drain()
        place.clock.advance(60)
    assert seen == [(1, 0), (2, 0), (3, 0)]
    assert (await place.job(job_id)).output == "awake"


def test_a_signal_refuses_a_time_that_lies_behind() -> None:
    for make in (lambda: Retry(after=-1), lambda: Snooze(-0.5), lambda: Snooze(float("nan"))):
        with pytest.raises(BadOption):
            make()


# Payloads that do not fit


async def test_a_payload_that_does_not_fit_fails_for_good_at_once_and_names_the_field(place: Place) -> None:
    ran: list[int] = []

    @place.catalog.task("take", retry_limit=5)
    async def take(payload: Item) -> None:
        ran.append(payload.item_id)

    older = Place(Catalog(), place.clock, place.storage)
    job_id = await older.send("take", {"itemId": "x", "other": 1}, external=True)
    await place.drain()
    job = await place.job(job_id)
    assert (job.state, job.output["type"]) == (FAILED, "PayloadInvalid")
    assert "itemId" in job.output["message"]
    assert job.output["fields"][0]["path"] == "itemId"
    assert ran == []


# What a handler knows and may do


async def test_a_context_tells_what_the_job_is(place: Place) -> None:
    seen: dict[str, Any] = {}

    @place.catalog.task("tell", aliases=["told"])
    async def tell(job: JobContext) -> None:
        seen.update(
            id=job.id, task=job.task, attempt=job.attempt, meta=dict(job.meta), cancelled=job.cancelled
        )

    job_id = await place.send(tell, meta={"trace": "abc"})
    await place.drain()
    assert seen == {"id": job_id, "task": "tell", "attempt": 1, "meta": {"trace": "abc"}, "cancelled": False}


async def test_children_know_their_parent_and_carry_its_meta(place: Place) -> None:
    @place.catalog.task("child")
    async def child(job: JobContext) -> dict[str, Any]:
        return {"parent": str(job.parent), "meta": dict(job.meta)}

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> list[str]:
        run = await job.trigger(child)
        sent = await job.send(child)
        async with job.transaction() as transaction:
            third = await transaction.send(child)
        return [str(run.id), str(sent), str(third)]

    job = await place.run_one(parent, meta={"trace": "abc"})
    children = await place.storage.get([UUID(child_id) for child_id in job.output])
    assert len(children) == 3
    for found in children.values():
        assert found.parent == job.id
        assert found.output == {"parent": str(job.id), "meta": {"trace": "abc"}}


async def test_jobs_sent_in_a_transaction_that_is_rolled_back_are_not_there(place: Place) -> None:
    @place.catalog.task("child")
    async def child() -> None: ...

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> None:
        async with job.transaction() as transaction:
            await transaction.send(child)
            raise Fail("changed my mind")

    await place.run_one(parent)
    assert [count.name for count in await place.queue.count()] == ["parent"]


async def test_resources_are_made_once_a_worker_and_ended_after_its_last_job() -> None:
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


async def test_progress_and_log_lines_are_kept_for_watchers_in_order_and_before_the_job_ends(
    place: Place,
) -> None:
    @place.catalog.task("work")
    async def work(job: JobContext) -> None:
        job.logger.debug("not kept")
        job.logger.info("started", items=2)
        await job.progress(0.2)
        await job.progress(0.5, "half")
        job.logger.warning("odd %s", "thing")

    job = await place.run_one(work)
    events = await place.storage.events(job.id)
    told = [(event.kind, json.loads(event.data)) for event in events]
    assert told == [
        ("log", {"level": "info", "message": "started", "items": 2}),
        ("log", {"level": "warning", "message": "odd thing"}),
        ("progress", {"value": 0.5, "message": "half"}),
    ]
    assert {event.attempt for event in events} == {1}


async def test_a_loop_that_logs_without_end_is_cut_short_and_says_so(place: Place) -> None:
    @place.catalog.task("chatter")
    async def chatter(job: JobContext) -> None:
        for n in range(1000):
            job.logger.info("again", n=n)

    job = await place.run_one(chatter)
    events = await place.storage.events(job.id)
    assert len(events) == 201
    assert json.loads(events[-1].data)["leftOut"] == 800


async def test_progress_out_of_range_is_refused(place: Place) -> None:
    @place.catalog.task("work", retry_limit=0)
    async def work(job: JobContext) -> None:
        await job.progress(1.5)

    assert "from 0 to 1" in (await place.run_one(work)).output["message"]


# Which jobs run, and how many


async def test_jobs_run_side_by_side_up_to_the_concurrency(place: Place) -> None:
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
    assert {count.name: dict(count.states) for count in await place.queue.count()} == {"work": {COMPLETED: 7}}


async def test_a_limit_holds_over_all_workers_and_every_job_runs(place: Place) -> None:
    running, most = 0, 0

    @place.catalog.task("limited", concurrency_limit=2)
    async def limited() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns(3)
        running -= 1

    @place.catalog.task("free")
    async def free() -> None:
        await turns(1)

    for _ in range(20):
        await place.send(limited)
        await place.send(free)
    async with place.working() as one, place.working() as other:
        await asyncio.gather(one.drain(), other.drain())
    assert most == 2
    assert {c.name: dict(c.states) for c in await place.queue.count()} == {
        "limited": {COMPLETED: 20},
        "free": {COMPLETED: 20},
    }


async def test_a_job_with_a_limit_is_never_claimed_before_a_lane_is_free(place: Place) -> None:
    go = asyncio.Event()

    @place.catalog.task("quick")
    async def quick() -> None: ...

    @place.catalog.task("limited", concurrency_limit=5)
    async def limited() -> None:
        await go.wait()

    # So that quick jobs are measured, and claimed ahead from then on.
    await place.send(quick)
    await place.drain()
    async with place.working(concurrency=2) as worker:
        sent = [await place.send(limited) for _ in range(5)]
        await until(lambda: place.active("limited") == 2)
        await turns()
        assert place.active("limited") == 2
        go.set()
        await worker.drain()
    assert [(await place.job(job_id)).state for job_id in sent] == [COMPLETED] * 5


async def test_the_most_urgent_job_of_all_queues_goes_first(place: Place) -> None:
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


async def test_jobs_that_older_senders_put_under_an_alias_are_served(place: Place) -> None:
    @place.catalog.task("summarize-story", aliases=["story-summarize"])
    async def summarize(job: JobContext) -> str:
        return job.task

    older = Place(Catalog(), place.clock, place.storage)
    job_id = await older.send("story-summarize", external=True)
    await place.drain()
    job = await place.job(job_id)
    assert (job.name, job.output) == ("story-summarize", "summarize-story")


async def test_a_worker_serves_only_the_queues_it_was_told_to(place: Place) -> None:
    @place.catalog.task("mine", aliases=["my-alias"])
    async def mine() -> None: ...

    @place.catalog.task("others")
    async def others() -> None: ...

    sent = [await place.send(mine), await place.send(others)]
    await place.drain(queues=["my-alias"])
    assert [(await place.job(job_id)).state for job_id in sent] == [COMPLETED, CREATED]


def test_a_worker_that_is_set_up_wrongly_is_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="no tasks"):
        Worker(place.queue)
    place.catalog.task("work")(_nothing)
    with pytest.raises(UnknownTask):
        Worker(place.queue, queues=["nowhere"])
    for wrong in ({"concurrency": 0}, {"poll": 0}, {"lease": -1}, {"grace": -1}, {"lease": 10, "beat": 6}):
        with pytest.raises(BadOption, match=next(iter(wrong))):
            Worker(place.queue, **wrong)  # type: ignore[arg-type]


async def test_a_worker_that_runs_already_does_not_start_again(place: Place) -> None:
    place.catalog.task("work")(_nothing)
    async with place.working() as worker:
        with pytest.raises(UsageError, match="running already"):
            await worker.run()


async def test_each_start_is_a_new_identity(place: Place) -> None:
    place.catalog.task("work")(_nothing)
    worker = place.worker()
    seen = []
    for _ in range(2):
        async with worker:
            seen.append(worker.id)
            worker.abort()
    assert len(set(seen)) == 2
    assert worker.id is None


async def _nothing() -> None: ...


# Waking up


async def test_an_idle_worker_takes_a_job_as_soon_as_it_is_sent(place: Place) -> None:
    @place.catalog.task("work")
    async def work() -> None: ...

    async with place.working(poll=1000):
        await until(place.asleep)
        job_id = await place.send(work)
        # Time stands still here, so it is not the poll that finds the job.
        await until(lambda: place.state(job_id) is COMPLETED)


async def test_an_idle_worker_finds_what_nobody_tells_it_of_when_it_polls(place: Place) -> None:
    @place.catalog.task("work")
    async def work() -> None: ...

    async with place.working(poll=60):
        await until(place.asleep)
        job_id = await place.send(work, delay=30)
        place.hurry()
        await until(lambda: place.state(job_id) is COMPLETED)


async def test_a_worker_comes_back_for_the_retry_it_has_asked_for_without_waiting_for_its_poll(
    place: Place,
) -> None:
    @place.catalog.task("work", retry_delay=2, retry_backoff=False)
    async def work(job: JobContext) -> None:
        if job.attempt == 1:
            raise ValueError

    async with place.working(poll=10_000):
        job_id = await place.send(work)
        await until(lambda: place.state(job_id) is RETRY)
        for _ in range(30):  # past the ladder of looks, and short of the poll
            place.clock.advance(0.1)
            await turns()
        await until(lambda: place.state(job_id) is COMPLETED)


async def test_a_slot_that_gets_free_under_a_limit_is_filled_at_once(place: Place) -> None:
    @place.catalog.task("one", concurrency_limit=1)
    async def one() -> None:
        await turns(2)

    sent = [await place.send(one) for _ in range(5)]
    async with place.working(poll=1000):
        await until(lambda: all(place.state(job_id) is COMPLETED for job_id in sent))


# What handlers leave behind


async def test_a_context_variable_that_a_handler_sets_is_not_seen_by_the_next(place: Place) -> None:
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


async def test_a_cancellation_that_a_handler_left_for_later_hits_no_other_job(place: Place) -> None:
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


async def test_a_cancellation_that_nobody_of_ours_asked_for_is_a_failure_of_its_job_alone(
    place: Place,
) -> None:
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
    assert [job.state for job in jobs] == [FAILED, COMPLETED, COMPLETED, COMPLETED]
    assert jobs[0].output["type"] == "asyncio.exceptions.CancelledError"


async def test_timeouts_of_handlers_work_in_a_lane_that_ran_many_jobs(place: Place) -> None:
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
