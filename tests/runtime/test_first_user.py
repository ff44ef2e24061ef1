"""What a first user met: a swallowed ``Wait``, tracebacks of the worker's, a worker without the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.client.queue import Queue
from zeke_queue.errors import InvalidOptionError, JobCancelledError, JobExpiredError, JobFailedError
from zeke_queue.model import RowState
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.worker import Worker


def catching_exceptions(place: Place) -> Any:
    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        try:
            return await job.call("child")
        except Exception:  # noqa: BLE001 - what handlers write
            return "swallowed"

    return parent


def gathering_exceptions(place: Place) -> Any:
    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        found = await asyncio.gather(job.call("child"), return_exceptions=True)
        return repr(found)

    return parent


def catching_everything(place: Place) -> Any:
    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        try:
            return await job.call("child")
        except BaseException:  # noqa: BLE001 - what handlers write
            return "swallowed"

    return parent


def catching_everything_in_a_thread(place: Place) -> Any:
    @place.catalog.task("parent")
    def parent(job: JobContext) -> Any:
        try:
            return job.run_coroutine(job.call("child"))
        except BaseException:  # noqa: BLE001 - what handlers write
            return "swallowed"

    return parent


async def test_wait_passes_except_exception_and_a_swallowed_one_fails_the_job() -> None:
    async def check(define: Callable[[Place], Any], state: RowState, output: Any) -> None:
        place = Place()

        @place.catalog.task("child")
        async def child() -> str:
            return "done"

        job = await place.run_one(define(place))
        assert job.row_state is state
        if state is RowState.COMPLETED:
            assert job.output == output
        else:
            assert (job.output["type"], "let the Wait propagate" in job.output["message"]) == (output, True)

    await check_each_async(
        {
            "except Exception": (catching_exceptions, RowState.COMPLETED, "done"),
            "gather(return_exceptions=True)": (gathering_exceptions, RowState.FAILED, "Wait"),
            "except BaseException": (catching_everything, RowState.FAILED, "Wait"),
            "in a thread": (catching_everything_in_a_thread, RowState.FAILED, "Wait"),
        },
        check,
    )


async def test_traceback_begins_with_the_handler() -> None:
    place = Place()

    @place.catalog.task("async", retry_limit=0)
    async def fails() -> None:
        raise ValueError("broken")

    @place.catalog.task("thread", retry_limit=0)
    def fails_in_a_thread() -> None:
        raise ValueError("broken")

    async def check(task: Any, handler: str) -> None:
        lines = (await place.run_one(task)).output["traceback"].splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[1].endswith(f"in {handler}")

    await check_each_async([(fails, "fails"), (fails_in_a_thread, "fails_in_a_thread")], check)


async def test_worker_takes_its_concurrency_from_the_settings() -> None:
    running: list[int] = []
    most: list[int] = []
    catalog = Catalog()

    @catalog.task("work")
    async def work() -> None:
        running.append(1)
        most.append(len(running))
        await turns(3)
        running.pop()

    async def check(worker: Callable[[Queue], Worker], expected: int) -> None:
        most.clear()
        async with Queue.in_memory(catalog, settings=Settings(jobs_concurrency=2)) as queue:
            for _ in range(8):
                await queue.send(work)
            await worker(queue).drain()
        assert max(most) == expected

    await check_each_async([(Worker, 2), (lambda queue: Worker(queue, concurrency=3), 3)], check)
    async with Queue.in_memory(catalog) as queue:
        with pytest.raises(InvalidOptionError, match=r"concurrency.*got -1"):
            Worker(queue, concurrency=-1)


def test_worker_takes_its_other_options_from_the_settings() -> None:
    catalog = Catalog()

    @catalog.task("work")
    async def work() -> None: ...

    settings = Settings(
        jobs_poll_interval=3, jobs_lease=40, jobs_heartbeat_interval=7, jobs_shutdown_timeout=9
    )
    queue = Queue(catalog, MemoryStorage(SystemClock()), settings=settings)

    def options(worker: Worker) -> tuple[float, ...]:
        config = worker._config
        return config.poll_interval, config.lease, config.heartbeat_interval, config.shutdown_timeout

    assert options(Worker(queue)) == (3, 40, 7, 9)
    own = Worker(queue, poll_interval=1, lease=20, heartbeat_interval=2, shutdown_timeout=0)
    assert options(own) == (1, 20, 2, 0)


async def test_result_of_an_unsuccessful_job_is_an_error_by_its_end() -> None:
    place, started = Place(), asyncio.Event()

    @place.catalog.task("fail", retry_limit=0)
    async def fail() -> None:
        raise ValueError("broken")

    @place.catalog.task("hang", retry_limit=0, expire_in=60)
    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    failed = (await place.run_one(fail)).id
    cancelled = await place.send(fail)
    assert await place.queue.cancel(cancelled)
    expired = await place.send(hang)
    async with place.working():
        await until(started.is_set)
        place.clock.advance(60)
        await until(lambda: place.state(expired) is RowState.EXPIRED)

    async def check(job_id: UUID, kind: type[JobFailedError]) -> None:
        with pytest.raises(JobFailedError) as caught:
            await (await place.queue.get_run(job_id)).result(timeout=0)
        assert (type(caught.value), caught.value.job.id) == (kind, job_id)

    await check_each_async(
        {
            "failed": (failed, JobFailedError),
            "cancelled": (cancelled, JobCancelledError),
            "expired": (expired, JobExpiredError),
        },
        check,
    )
