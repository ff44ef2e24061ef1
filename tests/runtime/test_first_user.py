"""What a first user met: a swallowed ``Wait``, tracebacks of the worker's, a worker without the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.cases import check_each_async
from tests.conformance.driver import soon
from tests.runtime.catalogs import nothing
from tests.runtime.workers.handler import Overlap
from tests.runtime.workers.place import Place
from zeke_queue.client.queue import Queue
from zeke_queue.model import RowState
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.worker import Worker


def swallowing(place: Place, how: str) -> Any:
    """Define a task that calls another one, and catches what the call raises in one of several ways."""
    caught = Exception if how == "except Exception" else BaseException

    @place.catalog.task("parent")
    async def parent(job: JobContext) -> Any:
        if how == "gather(return_exceptions=True)":
            return repr(await asyncio.gather(job.call("child"), return_exceptions=True))
        try:
            return await job.call("child")
        except caught:
            return "swallowed"

    @place.catalog.task("parent-in-a-thread")
    def in_a_thread(job: JobContext) -> Any:
        try:
            return job.run_coroutine(job.call("child"))
        except caught:
            return "swallowed"

    return in_a_thread if how == "in a thread" else parent


async def test_wait_passes_except_exception_and_a_swallowed_one_fails_the_job() -> None:
    async def check(how: str, state: RowState, output: Any) -> None:
        place = Place()

        @place.catalog.task("child")
        async def child() -> str:
            return "done"

        job = await place.run_one(swallowing(place, how))
        assert job.row_state is state
        if state is RowState.COMPLETED:
            assert job.output == output
        else:
            assert (job.output["type"], "let the Wait propagate" in job.output["message"]) == (output, True)

    cases = [
        ("except Exception", RowState.COMPLETED, "done"),
        ("gather(return_exceptions=True)", RowState.FAILED, "Wait"),
        ("except BaseException", RowState.FAILED, "Wait"),
        ("in a thread", RowState.FAILED, "Wait"),
    ]
    await check_each_async(cases, check)


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
    place, jobs = Place(), Overlap()
    work = place.catalog.task("work")(jobs.run)
    queue = Queue(place.catalog, place.storage, settings=Settings(jobs_concurrency=2))

    async def check(options: Mapping[str, Any], expected: int) -> None:
        jobs.most = 0
        for _ in range(8):
            await queue.send(work)
        await soon(Worker(queue, **options).drain())
        assert jobs.most == expected

    await check_each_async([({}, 2), ({"concurrency": 3}, 3)], check)


def test_worker_takes_its_other_options_from_the_settings() -> None:
    catalog = Catalog()
    catalog.task("work")(nothing)
    queue = Queue(
        catalog,
        MemoryStorage(SystemClock()),
        settings=Settings(
            jobs_poll_interval=3, jobs_lease=40, jobs_heartbeat_interval=7, jobs_shutdown_timeout=9
        ),
    )

    def options(worker: Worker) -> tuple[float, ...]:
        config = worker._config
        return config.poll_interval, config.lease, config.heartbeat_interval, config.shutdown_timeout

    assert options(Worker(queue)) == (3, 40, 7, 9)
    own = Worker(queue, poll_interval=1, lease=20, heartbeat_interval=2, shutdown_timeout=0)
    assert options(own) == (1, 20, 2, 0)
