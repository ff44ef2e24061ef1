"""What an error of the AI means for the job that met it: told by jobs of a real queue."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.clocks import FrozenClock
from zeke_queue import Catalog, Job, JobContext, JobState, Queue, Worker
from zeke_queue.signals import Fail, Retry
from zeke_tasks.ai import AIError, AIMalformed, AIRateLimited, AIRefused, AIRejected, AIUnavailable
from zeke_tasks.verdicts import verdict


class Asking:
    """A job whose AI raises an error each time, until it is told otherwise."""

    queue: Queue
    clock: FrozenClock

    def __init__(self) -> None:
        self.problem: AIError | None = None
        self.calls = 0

    def ask(self, job: JobContext) -> str:
        self.calls += 1
        if self.problem is not None:
            raise verdict(self.problem, job) or self.problem
        return "answered"

    async def start(self, problem: AIError, **options: Any) -> None:
        self.problem = problem
        self._run = await self.queue.trigger("ask", **options)

    async def work(self, seconds: float = 0.0) -> Job:
        """Let time pass, run what is due, and return the job as it then is."""
        self.clock.advance(seconds)
        await Worker(self.queue).drain()
        job = await self.queue.get(self._run.id)
        assert job is not None
        return job

    def due_in(self, job: Job) -> timedelta:
        return job.start_after - self.clock.now()


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    catalog, clock, asking = Catalog(), FrozenClock(), Asking()

    @catalog.task("ask")
    async def ask(job: JobContext) -> str:
        return asking.ask(job)

    async with Queue.in_memory(catalog, clock=clock) as queue:
        asking.queue, asking.clock = queue, clock
        yield asking


async def test_a_rate_limit_waits_as_long_as_it_says_and_uses_up_no_retry(
    asking: Asking, capsys: pytest.CaptureFixture[str]
) -> None:
    await asking.start(AIRateLimited(90.0, "slow down"), retry_limit=0)
    for _ in range(5):
        job = await asking.work(90.0)
        assert (job.state, job.retry_count) == (JobState.CREATED, 0)
        assert asking.due_in(job) == timedelta(seconds=90)
    assert asking.calls == 5
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in lines if line["message"] == "AI put off"]
    assert [(line["reason"], line["seconds"]) for line in told] == [("slow down", 90.0)] * 5
    asking.problem = None
    job = await asking.work(90.0)
    assert (job.state, job.output) == (JobState.COMPLETED, "answered")


async def test_a_rate_limit_that_does_not_say_how_long_waits_a_minute(asking: Asking) -> None:
    await asking.start(AIRateLimited(None))
    assert asking.due_in(await asking.work()) == timedelta(minutes=1)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.25])
async def test_a_rate_limit_that_says_at_once_is_waited_for_nevertheless(
    asking: Asking, seconds: float
) -> None:
    await asking.start(AIRateLimited(seconds))
    assert asking.due_in(await asking.work()) == timedelta(seconds=1)
    assert asking.calls == 1


async def test_retries_that_an_ai_which_was_away_used_up_count_for_bad_answers_too(asking: Asking) -> None:
    await asking.start(AIUnavailable("out of order"), retry_limit=20, retry_delay=1)
    for _ in range(2):
        assert (await asking.work(60.0)).state is JobState.RETRY
    asking.problem = AIMalformed("no JSON")
    assert (await asking.work(60.0)).state is JobState.FAILED
    assert asking.calls == 3


async def test_what_is_unavailable_is_retried_by_the_policy(asking: Asking) -> None:
    await asking.start(AIUnavailable("out of order"), retry_limit=1, retry_delay=10)
    job = await asking.work()
    assert job.state is JobState.RETRY
    job = await asking.work(20.0)
    assert job.state is JobState.FAILED
    assert job.output["message"] == "out of order"


async def test_what_is_unavailable_may_say_when(asking: Asking) -> None:
    await asking.start(AIUnavailable("out of order", retry_after=77.0))
    assert asking.due_in(await asking.work()) == timedelta(seconds=77)


@pytest.mark.parametrize("problem", [AIRefused("I can't."), AIMalformed("no JSON")])
async def test_an_answer_of_no_use_is_asked_for_three_times_and_then_given_up(
    asking: Asking, problem: AIError
) -> None:
    await asking.start(problem, retry_limit=20, retry_delay=1)
    states = [(await asking.work(60.0)).state for _ in range(4)]
    assert states == [JobState.RETRY, JobState.RETRY, JobState.FAILED, JobState.FAILED]
    assert asking.calls == 3
    job = await asking.work()
    assert job.output["message"] == str(problem)


async def test_what_is_rejected_fails_for_good(asking: Asking) -> None:
    await asking.start(AIRejected("set OPENAI_API_KEY"), retry_limit=20)
    job = await asking.work()
    assert (job.state, job.output["message"]) == (JobState.FAILED, "set OPENAI_API_KEY")
    await asking.work(3600.0)
    assert asking.calls == 1


def test_without_a_job_the_retry_policy_alone_bounds_bad_answers() -> None:
    assert isinstance(verdict(AIMalformed("no JSON")), Retry)
    assert isinstance(verdict(AIRejected("no")), Fail)


def test_another_error_is_raised_as_it_is() -> None:
    assert verdict(RuntimeError("a bug")) is None
