"""The effect of an error of the AI on its job, tested with jobs of a real queue."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from tests.cases import check_each_async, each
from tests.clocks import FrozenClock
from zeke_queue import Catalog, Job, JobContext, Queue, Worker
from zeke_queue.model import RowState
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.ai import AIError, AIMalformed, AIRateLimited, AIRefused, AIRejected, AIUnavailable
from zeke_tasks.error_policy import verdict


class Asking:
    """A job whose AI raises an error each time, until its problem is gone."""

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
        self.clock.advance(seconds)
        await Worker(self.queue).drain()
        job = await self.queue.get(self._run.id)
        assert job is not None
        return job

    def due_in(self, job: Job) -> timedelta:
        return job.start_after - self.clock.now()


@asynccontextmanager
async def asking() -> AsyncIterator[Asking]:
    catalog, clock, asked = Catalog(), FrozenClock(), Asking()

    @catalog.task("ask")
    async def ask(job: JobContext) -> str:
        return asked.ask(job)

    async with Queue.in_memory(catalog, clock=clock) as queue:
        asked.queue, asked.clock = queue, clock
        yield asked


async def test_rate_limit_waits_as_requested_and_uses_no_retry(capsys: pytest.CaptureFixture[str]) -> None:
    async with asking() as asked:
        await asked.start(AIRateLimited(90.0, "slow down"), retry_limit=0)
        for _ in range(5):
            job = await asked.work(90.0)
            assert (job.row_state, job.retry_count) == (RowState.CREATED, 0)
            assert asked.due_in(job) == timedelta(seconds=90)
        assert asked.calls == 5
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        told = [line for line in lines if line["message"] == "AI call postponed"]
        assert [(line["reason"], line["seconds"]) for line in told] == [("slow down", 90.0)] * 5
        asked.problem = None
        job = await asked.work(90.0)
        assert (job.row_state, job.output) == (RowState.COMPLETED, "answered")


async def test_wait_is_as_requested_or_a_minute_and_at_least_a_second() -> None:
    async def check(problem: AIError, seconds: float) -> None:
        async with asking() as asked:
            await asked.start(problem)
            assert asked.due_in(await asked.work()) == timedelta(seconds=seconds)
            assert asked.calls == 1

    at_once = [(AIRateLimited(seconds), 1) for seconds in (0.0, 1e-9, 0.25)]
    unavailable = AIUnavailable("out of order", retry_after=77.0)
    await check_each_async([(AIRateLimited(None), 60), *at_once, (unavailable, 77)], check)


async def test_retries_of_an_unavailable_ai_count_for_unusable_answers() -> None:
    async with asking() as asked:
        await asked.start(AIUnavailable("out of order"), retry_limit=20, retry_delay=1)
        for _ in range(2):
            assert (await asked.work(60.0)).row_state is RowState.RETRY
        asked.problem = AIMalformed("no JSON")
        assert (await asked.work(60.0)).row_state is RowState.FAILED
        assert asked.calls == 3


async def test_unavailable_ai_is_retried_by_the_policy() -> None:
    async with asking() as asked:
        await asked.start(AIUnavailable("out of order"), retry_limit=1, retry_delay=10)
        job = await asked.work()
        assert job.row_state is RowState.RETRY
        job = await asked.work(20.0)
        assert job.row_state is RowState.FAILED
        assert job.output["message"] == "out of order"


@each(AIRefused("I can't."), AIMalformed("no JSON"))
async def test_unusable_answer_is_requested_three_times(problem: AIError) -> None:
    async with asking() as asked:
        await asked.start(problem, retry_limit=20, retry_delay=1)
        states = [(await asked.work(60.0)).row_state for _ in range(4)]
        assert states == [RowState.RETRY, RowState.RETRY, RowState.FAILED, RowState.FAILED]
        assert asked.calls == 3
        job = await asked.work()
        assert job.output["message"] == str(problem)


async def test_rejected_request_fails_the_job() -> None:
    async with asking() as asked:
        await asked.start(AIRejected("set OPENAI_API_KEY"), retry_limit=20)
        job = await asked.work()
        assert (job.row_state, job.output["message"]) == (RowState.FAILED, "set OPENAI_API_KEY")
        await asked.work(3600.0)
        assert asked.calls == 1


def test_error_without_a_job_and_other_errors() -> None:
    assert isinstance(verdict(AIMalformed("no JSON")), Retry)
    assert isinstance(verdict(AIRejected("no")), Fail)
    assert verdict(RuntimeError("a bug")) is None
