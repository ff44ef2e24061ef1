"""The worker: from a job that is due to the outcome that is stored."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.alias_generators import to_camel

from tests.runtime.workers.place import Place
from zeke_queue.catalog import Catalog
from zeke_queue.context import JobContext
from zeke_queue.errors import BadOption, LeaseLost
from zeke_queue.model import JobState
from zeke_queue.signals import Fail, Retry, Snooze

if TYPE_CHECKING:
    pass

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
    assert "202 bytes of JSON as Postgres writes it, 100 at most" in job.output["message"]


async def test_a_result_counts_by_what_postgres_writes_and_not_by_what_is_sent() -> None:
    place = Place(Catalog(output_cap=1_000))

    @place.catalog.task("give")
    async def give(payload: int) -> list[float]:
        return [1e300] * payload

    assert (await place.run_one(give, 3)).output == [10**300] * 3
    job = await place.run_one(give, 4)
    assert (job.state, job.output["type"]) == (FAILED, "TooLarge")
    assert "1212 bytes of JSON as Postgres writes it, 1000 at most" in job.output["message"]


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


async def test_a_lost_lease_that_is_not_this_jobs_is_a_failure_like_any_other(place: Place) -> None:
    @place.catalog.task("relay")
    async def relay() -> None:
        raise LeaseLost("some other job's, which the handler looked after")

    job = await place.run_one(relay)
    assert (job.state, job.history[-1].error["type"]) == (RETRY, "zeke_queue.errors.LeaseLost")


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


NO_TIMES: list[Any] = [
    -1,
    -0.5,
    float("nan"),
    float("inf"),
    1e18,
    10**5000,
    timedelta.max,
    None,
    "soon",
    True,
]


@pytest.mark.parametrize("time", NO_TIMES, ids=[str(number) for number in range(len(NO_TIMES))])
def test_a_signal_refuses_what_is_no_time_to_wait(time: Any) -> None:
    """Where it was raised: a storage would make a failure of it that does not say where."""
    with pytest.raises(BadOption, match=r"^seconds: .* give"):
        Snooze(time)
    if time is not None:
        with pytest.raises(BadOption, match=r"^after: .* give"):
            Retry(after=time)


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


async def test_whatever_a_payloads_own_code_raises_fails_its_job_alone(place: Place) -> None:
    """A model passes on what is neither a ValueError nor an AssertionError."""

    class Odd(BaseModel):
        kind: str

        @field_validator("kind")
        @classmethod
        def known(cls, kind: str) -> str:
            return {"right": kind}[kind]

    @place.catalog.task("take")
    async def take(payload: Odd) -> str:
        return payload.kind

    older = Place(Catalog(), place.clock, place.storage)
    options = {"external": True, "retry_limit": 0}
    sent = [await older.send("take", {"kind": kind}, **options) for kind in ("wrong", "right")]
    await place.drain(concurrency=1)
    jobs = [await place.job(job_id) for job_id in sent]
    assert [job.state for job in jobs] == [FAILED, COMPLETED]
    assert (jobs[0].output["type"], jobs[0].output["message"]) == ("KeyError", "'wrong'")


async def test_whatever_a_results_own_code_raises_fails_its_job_alone(place: Place) -> None:
    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise LookupError("as it was looked at")

    @place.catalog.task("give", retry_limit=0)
    async def give(kind: str) -> Any:
        return Odd(kind=object()) if kind == "wrong" else kind

    sent = [await place.send(give, kind) for kind in ("wrong", "right")]
    await place.drain(concurrency=1)
    assert [(await place.job(job_id)).state for job_id in sent] == [FAILED, COMPLETED]
