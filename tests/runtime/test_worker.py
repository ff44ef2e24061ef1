"""The worker: from a job that is due to the outcome that is stored."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.alias_generators import to_camel

from tests.cases import check_each, check_each_async
from tests.runtime.catalogs import nothing
from tests.runtime.workers.place import Place
from zeke_queue.client.queue import Queue
from zeke_queue.errors import InvalidOptionError, LeaseLostError, UnknownTaskError, UsageError
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry, Snooze
from zeke_queue.worker import Worker

COMPLETED, FAILED, RETRY, CREATED = RowState.COMPLETED, RowState.FAILED, RowState.RETRY, RowState.CREATED


class Item(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    item_id: int


# What a handler returns


async def test_result_of_a_handler_is_the_output() -> None:
    async def check(result: Any, output: Any) -> None:
        place = Place()

        @place.catalog.task("give")
        async def give() -> Any:
            return result

        job = await place.run_one(give)
        assert (job.row_state, job.output, job.attempt, job.retry_count) == (COMPLETED, output, 1, 0)

    cases = [
        (None, None),
        ({"a": [1, 2.5, "é"]}, {"a": [1, 2.5, "é"]}),
        (False, False),
        (Item(item_id=3), {"itemId": 3}),
        ([timedelta(seconds=90)], ["PT1M30S"]),
    ]
    await check_each_async(cases, check)


async def test_result_without_json_form_fails_without_a_retry() -> None:
    async def check(result: Any) -> None:
        place = Place()

        @place.catalog.task("give")
        async def give() -> Any:
            return result

        job = await place.run_one(give)
        assert (job.row_state, job.output["type"]) == (FAILED, "SerializationError")
        assert "The handler's result can't be stored" in job.output["message"]

    await check_each_async([float("nan"), {"a": "\0"}, object()], check)


async def test_result_over_the_cap_fails_without_a_retry() -> None:
    place = Place(Catalog(output_cap=1_000))

    @place.catalog.task("give")
    async def give(payload: Any) -> Any:
        return [1e300] * payload if isinstance(payload, int) else payload

    assert (await place.run_one(give, 3)).output == [10**300] * 3
    assert (await place.run_one(give, "é" * 499)).output == "é" * 499
    for payload, size in ((4, 1212), ("é" * 500, 1002)):
        job = await place.run_one(give, payload)
        assert (job.row_state, job.output["type"]) == (FAILED, "PayloadTooLargeError")
        assert f"{size} bytes of JSON as Postgres writes it, 1000 at most" in job.output["message"]


# What a handler raises


async def test_failed_job_is_retried_up_to_its_limit_and_keeps_its_errors(place: Place) -> None:
    @place.catalog.task("boom", retry_limit=2, retry_delay=10, retry_backoff=False)
    async def boom() -> None:
        raise LookupError("no such thing")

    job_id = await place.send(boom)
    states = []
    for _ in range(3):
        await place.drain()
        job = await place.job(job_id)
        states.append((job.row_state, job.attempt, job.retry_count))
        place.clock.advance(10)
    assert states == [(RETRY, 1, 0), (RETRY, 2, 1), (FAILED, 3, 2)]
    assert job.output["type"] == "LookupError"
    assert job.output["message"] == "no such thing"
    assert 'raise LookupError("no such thing")' in job.output["traceback"]
    assert [attempt.error["message"] for attempt in job.history] == ["no such thing"] * 3


async def test_backoff_is_drawn_from_the_policy(place: Place) -> None:
    @place.catalog.task("boom", retry_delay=100, retry_backoff=True, retry_delay_max=150)
    async def boom() -> None:
        raise ValueError

    job = await place.run_one(boom)
    wait = (job.start_after - place.clock.now()).total_seconds()
    assert 100 <= wait <= 150


async def test_exception_that_ends_programs_fails_only_its_job() -> None:
    async def check(error: BaseException) -> None:
        place = Place()

        @place.catalog.task("end")
        async def end() -> None:
            raise error

        @place.catalog.task("next")
        async def following() -> str:
            return "ran"

        job_id, other = await place.send(end), await place.send(following)
        await place.drain(concurrency=1)
        job = await place.job(job_id)
        assert job.row_state is RETRY
        assert job.history[-1].error["type"].endswith(type(error).__name__)
        assert (await place.job(other)).output == "ran"

    errors = [SystemExit(3), KeyboardInterrupt("stop"), asyncio.CancelledError(), StopAsyncIteration()]
    await check_each_async(errors, check)


async def test_lost_lease_of_another_job_is_a_failure_like_any_other(place: Place) -> None:
    @place.catalog.task("relay")
    async def relay() -> None:
        raise LeaseLostError("some other job's, which the handler looked after")

    job = await place.run_one(relay)
    assert (job.row_state, job.history[-1].error["type"]) == (RETRY, "zeke_queue.errors.LeaseLostError")


async def test_handler_may_give_the_time_of_its_retry() -> None:
    async def check(after: Any) -> None:
        place = Place()

        @place.catalog.task("later", retry_delay=100)
        async def later() -> None:
            raise Retry(after=after, reason="rate limit")

        job = await place.run_one(later)
        assert (job.row_state, job.start_after) == (RETRY, place.clock.now() + timedelta(seconds=7))
        assert job.history[-1].error["message"] == "rate limit"

    await check_each_async([7, timedelta(seconds=7)], check)


async def test_retry_raised_by_a_handler_counts(place: Place) -> None:
    @place.catalog.task("later", retry_limit=0)
    async def later() -> None:
        raise Retry(after=7)

    assert (await place.run_one(later)).row_state is FAILED


async def test_retry_without_a_time_follows_the_policy(place: Place) -> None:
    @place.catalog.task("later", retry_delay=30, retry_backoff=False)
    async def later() -> None:
        raise Retry

    assert (await place.run_one(later)).start_after == place.clock.now() + timedelta(seconds=30)


async def test_fail_ends_the_job_without_a_retry(place: Place) -> None:
    @place.catalog.task("never", retry_limit=5)
    async def never() -> None:
        raise Fail("the account is closed")

    job = await place.run_one(never)
    expected = (FAILED, "Fail", "the account is closed")
    assert (job.row_state, job.output["type"], job.output["message"]) == expected


async def test_snoozed_job_returns_without_using_a_retry(place: Place) -> None:
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


NO_TIMES: dict[str, Any] = {
    "negative": -1,
    "negative fraction": -0.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "too long": 1e18,
    "unprintable": 10**5000,
    "longest timedelta": timedelta.max,
    "none": None,
    "text": "soon",
    "flag": True,
}


def test_signal_refuses_an_invalid_time_where_it_is_raised() -> None:
    """A storage would report it too, but not the position."""

    def check(time: Any) -> None:
        with pytest.raises(InvalidOptionError, match=r"^seconds: must be "):
            Snooze(time)
        if time is not None:
            with pytest.raises(InvalidOptionError, match=r"^after: must be "):
                Retry(after=time)

    check_each(NO_TIMES, check)


# Payloads that do not fit


async def test_invalid_payload_fails_without_a_retry_and_names_the_field(place: Place) -> None:
    ran: list[int] = []

    @place.catalog.task("take", retry_limit=5)
    async def take(payload: Item) -> None:
        ran.append(payload.item_id)

    older = Place(Catalog(), place.clock, place.storage)
    job_id = await older.send("take", {"itemId": "x", "other": 1}, external=True)
    await place.drain()
    job = await place.job(job_id)
    assert (job.row_state, job.output["type"]) == (FAILED, "PayloadValidationError")
    assert "itemId" in job.output["message"]
    assert job.output["fields"][0]["path"] == "itemId"
    assert ran == []


async def test_exception_of_a_payload_validator_fails_only_its_job() -> None:
    """A model propagates errors other than ValueError and AssertionError."""

    async def check(error: BaseException) -> None:
        class Odd(BaseModel):
            kind: str

            @field_validator("kind")
            @classmethod
            def known(cls, kind: str) -> str:
                if kind != "right":
                    raise error
                return kind

        place = Place()

        @place.catalog.task("take")
        async def take(payload: Odd) -> str:
            return payload.kind

        older = Place(Catalog(), place.clock, place.storage)
        options = {"external": True, "retry_limit": 0}
        sent = [await older.send("take", {"kind": kind}, **options) for kind in ("wrong", "right")]
        await place.drain(concurrency=1)
        jobs = [await place.job(job_id) for job_id in sent]
        assert [job.row_state for job in jobs] == [FAILED, COMPLETED]
        assert (jobs[0].output["type"], jobs[0].output["message"]) == (type(error).__name__, str(error))

    await check_each_async([KeyError("wrong"), KeyboardInterrupt("stop"), SystemExit("stop")], check)


async def test_exception_while_a_result_is_written_fails_only_its_job(place: Place) -> None:
    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise LookupError("as it was looked at")

    @place.catalog.task("give", retry_limit=0)
    async def give(kind: str) -> Any:
        return Odd(kind=object()) if kind == "wrong" else kind

    sent = [await place.send(give, kind) for kind in ("wrong", "right")]
    await place.drain(concurrency=1)
    assert [(await place.job(job_id)).row_state for job_id in sent] == [FAILED, COMPLETED]


def test_invalid_options_of_a_worker_are_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="no tasks"):
        Worker(place.queue)
    place.catalog.task("work")(nothing)
    with pytest.raises(UnknownTaskError):
        Worker(place.queue, tasks=["nowhere"])

    def check(message: str, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidOptionError, match=f"^{message}"):
            Worker(place.queue, **options)

    check_each(
        [
            ("concurrency: must be an integer of 0 or more, got -1", {"concurrency": -1}),
            ("poll_interval: must be 0.001 to .* seconds, got 0", {"poll_interval": 0}),
            ("lease: must be 0.001 to .* seconds, got -1", {"lease": -1}),
            ("lease: must be a duration, got '15'", {"lease": "15"}),
            ("shutdown_timeout: must be 0 to .* seconds, got -1", {"shutdown_timeout": -1}),
            ("shutdown_timeout: must be a duration, got True", {"shutdown_timeout": True}),
            ("heartbeat_interval: must be at most half", {"lease": 10, "heartbeat_interval": 6}),
            ("tasks: must be a list of tasks or names, got 'work'", {"tasks": "work"}),
            ("tasks: must name a task, got none", {"tasks": []}),
        ],
        check,
    )
    not_open: tuple[Any, ...] = (place.catalog, Queue.connect(place.catalog), None)
    for wrong in not_open:
        with pytest.raises(UsageError, match=r"queue: must be an open Queue, got .* with `async with Queue"):
            Worker(wrong)
    assert Worker(place.queue, lease=timedelta(seconds=20)).id is None
