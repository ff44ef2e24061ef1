"""Shutdown of a worker: with a grace, at once, and while calls are pending."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from functools import partial
from io import StringIO
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.conformance.driver import rolled_back, soon
from tests.runtime.catalogs import nothing
from tests.runtime.workers.faulty import faulty_place
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import PATIENCE, Place, advance_until, turns, until
from zeke_queue.core.timeouts import LOCK_SECONDS
from zeke_queue.model import QueueCapacity, RowState
from zeke_queue.task.context import JobContext
from zeke_queue.worker import Worker
from zeke_queue.worker.claims import ServedQueue
from zeke_queue.worker.state import ABORT_TIMEOUT, FINAL_SETTLE_TIMEOUT
from zeke_queue.worker.storage_health import LONGEST_PAUSE

COMPLETED, CREATED, ACTIVE = RowState.COMPLETED, RowState.CREATED, RowState.ACTIVE


class Slow:
    """A task whose jobs run until they are released."""

    def __init__(self, place: Place, *, ignores_cancel: bool = False, **options: Any) -> None:
        self.running = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self.ignores_cancel = ignores_cancel
        self.task: Any = place.catalog.task("slow", **options)(self._run)

    async def _run(self) -> str:
        self.running += 1
        while True:
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self.ignores_cancel:
                    raise
            else:
                return "done"


def start(worker: Worker) -> asyncio.Task[None]:
    return asyncio.ensure_future(worker.run())


async def begun(
    place: Place, *, shutdown_timeout: float = 30, ignores_cancel: bool = False, **options: Any
) -> tuple[Slow, Worker, asyncio.Task[None], UUID]:
    """Start a worker, and wait until it runs its only job."""
    slow, worker = (
        Slow(place, ignores_cancel=ignores_cancel, **options),
        place.worker(shutdown_timeout=shutdown_timeout),
    )
    running, job_id = start(worker), await place.send(slow.task)
    await until(lambda: slow.running)
    return slow, worker, running, job_id


async def idle(place: Place, **options: Any) -> tuple[Slow, Worker, asyncio.Task[None]]:
    slow, worker = Slow(place, **options), place.worker()
    running = start(worker)
    await until(place.asleep)
    return slow, worker, running


async def test_running_jobs_end_within_the_shutdown_timeout_and_no_new_ones_begin(place: Place) -> None:
    slow = Slow(place)
    worker = place.worker(concurrency=1)
    running = start(worker)
    first, second = await place.send(slow.task), await place.send(slow.task)
    await until(lambda: slow.running == 1)
    worker.stop()
    await turns()
    assert not running.done()
    slow.go.set()
    await running
    assert (await place.job(first)).output == "done"
    assert (await place.job(second)).row_state is CREATED
    assert slow.running == 1


async def test_jobs_past_the_grace_are_released_without_using_a_retry(place: Place) -> None:
    slow, worker, running, job_id = await begun(place, retry_limit=0, shutdown_timeout=30)
    worker.stop()
    await turns()
    place.clock.advance(29.9)
    await turns()
    assert slow.cancelled == 0
    place.clock.advance(0.1)
    await running
    job = await place.job(job_id)
    assert (slow.cancelled, job.row_state, job.retry_count, job.history) == (1, CREATED, 0, ())
    assert job.start_after <= place.clock.now()


async def test_handler_that_returns_after_its_cancellation_has_completed(place: Place) -> None:
    @place.catalog.task("tidy")
    async def tidy() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "half done"
        return "done"

    worker = place.worker(shutdown_timeout=0)
    running = start(worker)
    job_id = await place.send(tidy)
    await until(lambda: place.state(job_id) is ACTIVE)
    await turns()
    worker.stop()
    place.keep_advancing()
    await running
    assert (await place.job(job_id)).output == "half done"


async def test_abort_skips_the_grace(place: Place) -> None:
    _, worker, running, job_id = await begun(place, shutdown_timeout=1000)
    worker.stop()
    await turns()
    assert not running.done()
    worker.stop(immediately=True)
    await running
    assert (await place.job(job_id)).row_state is CREATED


async def test_abort_ends_the_wait_for_cancelled_handlers(place: Place) -> None:
    slow, worker, running, job_id = await begun(place, ignores_cancel=True, shutdown_timeout=0)
    worker.stop()
    await until(lambda: slow.cancelled)
    worker.stop(immediately=True)
    await turns()
    place.clock.advance(ABORT_TIMEOUT)
    await turns()
    slow.go.set()
    await asyncio.wait([running])
    assert (place.state(job_id), worker.stuck) == (CREATED, 1)


async def test_abort_ends_the_wait_for_the_last_settlements(place: Place) -> None:
    slow, worker, running, _ = await begun(place)
    place.storage.late["settle"] = asyncio.Event()
    slow.go.set()
    await until(lambda: place.storage.calls[-1] == "settle")
    worker.stop()
    await turns()
    assert not running.done()
    worker.stop(immediately=True)
    await turns()
    place.clock.advance(ABORT_TIMEOUT)
    await until(running.done)


async def test_late_heartbeat_does_not_register_a_worker_that_has_left(place: Place) -> None:
    Slow(place)
    worker = place.worker(lease=15, heartbeat_interval=5)
    running = start(worker)
    await until(place.asleep)
    late = place.storage.late["heartbeat"] = asyncio.Event()
    place.clock.advance(5)
    await until(lambda: place.storage.calls[-1] == "heartbeat")
    del place.storage.late["heartbeat"]  # the worker's last question is answered
    gone = place.storage.late["deregister"] = asyncio.Event()
    worker.stop()
    await until(lambda: place.storage.calls[-1] == "deregister")
    gone.set()
    late.set()
    await running
    assert await place.storage.workers() == []


async def test_cancelled_shutdown_leaves_no_tasks_behind(place: Place) -> None:
    before = asyncio.all_tasks()
    slow, _, running, _ = await begun(place, shutdown_timeout=1000)
    running.cancel()
    await turns(5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await turns()
    assert asyncio.all_tasks() == before
    assert slow.cancelled


async def test_handler_that_ignores_its_cancellation_does_not_delay_the_end(place: Place) -> None:
    slow, worker, running, job_id = await begun(place, ignores_cancel=True, shutdown_timeout=0)
    worker.stop()
    place.keep_advancing()
    await running
    assert (await place.job(job_id)).row_state is CREATED
    assert worker.stuck == 1
    slow.go.set()
    await turns()
    assert (await place.job(job_id)).row_state is CREATED


async def test_job_of_a_thread_is_released_and_marked_cancelled(place: Place) -> None:
    go, seen = threading.Event(), threading.Event()

    @place.catalog.task("block")
    def block(job: JobContext) -> str:
        assert go.wait(120)
        if job.cancelled:
            seen.set()
        return "late"

    worker = place.worker(shutdown_timeout=0)
    running = start(worker)
    job_id = await place.send(block)
    await until(lambda: place.state(job_id) is ACTIVE)
    await turns()
    worker.stop()
    place.keep_advancing()
    await running
    assert (await place.job(job_id)).row_state is CREATED
    go.set()
    await until(seen.is_set)


async def test_jobs_of_a_pending_claim_are_released(place: Place) -> None:
    slow, worker, running = await idle(place)
    answer = place.storage.held["claim"] = asyncio.Event()
    job_id = await place.send(slow.task)
    await until(lambda: place.state(job_id) is ACTIVE)
    worker.stop()
    await turns()
    answer.set()
    await running
    assert (slow.running, place.state(job_id)) == (0, CREATED)


async def test_jobs_of_a_claim_answered_late_are_released(place: Place) -> None:
    """The worker has stopped waiting for it, but has not gone: outcomes may be on their way as long again."""
    slow, worker, running = await idle(place, retry_limit=0)
    answer = place.storage.held["claim"] = asyncio.Event()
    job_id = await place.send(slow.task)
    await until(lambda: place.state(job_id) is ACTIVE)
    worker.stop()
    await turns()
    place.clock.advance(FINAL_SETTLE_TIMEOUT)
    await turns()
    answer.set()
    await running
    job = await place.job(job_id)
    assert (slow.running, job.row_state, job.retry_count) == (0, CREATED, 0)


async def test_jobs_of_a_claim_with_a_lost_answer_are_released_at_the_end(place: Place) -> None:
    """Else they would wait for their lease to end, and use a retry though they never began."""
    slow, worker, running = await idle(place, retry_limit=0)
    place.storage.cut["claim"] = "after"
    job_id = await place.send(slow.task)
    await until(lambda: place.state(job_id) is ACTIVE)
    worker.stop()
    await turns()
    place.storage.mend()
    place.keep_advancing()
    await running
    job = await place.job(job_id)
    assert (job.row_state, job.retry_count, job.history) == (CREATED, 0, ())


async def test_jobs_that_only_the_storage_knows_are_released_at_the_end(place: Place) -> None:
    """Heartbeats cannot tell them from those that a claim under way may bring."""
    slow, worker, running = await idle(place, retry_limit=0)
    answer = place.storage.held["claim"] = asyncio.Event()
    brought = await place.send(slow.task)
    await until(lambda: place.state(brought) is ACTIVE)
    unknown = await place.send(slow.task)
    assert worker.id is not None
    (claimed,) = await place.storage.real.claim(worker.id, [QueueCapacity("slow", 1)], 1)
    assert claimed.id == unknown
    worker.stop()
    await turns()
    answer.set()
    await running
    jobs = [await place.job(job_id) for job_id in (brought, unknown)]
    assert [(job.row_state, job.retry_count, job.history) for job in jobs] == [(CREATED, 0, ())] * 2
    assert await place.storage.workers() == []


async def test_outcomes_are_stored_at_the_end_although_heartbeats_are_refused(place: Place) -> None:
    """The claim loop repeats them, to find jobs that only the storage knows, for as long as it may."""
    slow, worker, running, job_id = await begun(place, ignores_cancel=True, shutdown_timeout=0)
    place.storage.cut["heartbeat"] = "before"
    worker.stop()
    place.keep_advancing()
    await running
    slow.go.set()
    await turns()
    job = await place.job(job_id)
    assert (worker.stuck, job.row_state, job.retry_count) == (1, CREATED, 0)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_worker_that_ends_names_what_it_could_not_store(
    place: Place,
    cancelled: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """So does one whose end is cancelled."""
    with logged(stream := StringIO()):
        slow, worker, running, job_id = await begun(place)
        place.storage.cut_all()
        slow.go.set()
        worker.stop()
        if cancelled:
            await turns()
            running.cancel()
        else:
            place.keep_advancing()
        await asyncio.wait([running])
        assert running.cancelled() == cancelled
    (line,) = [line for line in stream.getvalue().splitlines() if "settlements_given_up" in line]
    assert json.loads(line)["jobIds"] == [str(job_id)]


async def test_worker_ends_while_the_storage_is_unavailable(place: Place) -> None:
    slow, worker, running, _ = await begun(place)
    place.storage.cut_all()
    slow.go.set()
    worker.stop()
    place.keep_advancing()
    await running


async def test_worker_that_ends_waits_for_a_locked_job_only_a_moment(place: Place) -> None:
    slow, worker, running, job_id = await begun(place)
    async with rolled_back(place.storage) as transaction:
        await transaction.lock_attempt(job_id, 1)
        slow.go.set()
        worker.stop()
        began = place.clock.monotonic()
        await advance_until(running.done, place.clock, 0.1)
        assert place.clock.monotonic() - began < LOCK_SECONDS + 1
        assert await place.storage.workers() == []
    assert place.state(job_id) is ACTIVE


async def test_outcomes_that_wait_for_a_retry_are_stored_at_the_end(place: Place) -> None:
    """What was done would be done again, though the storage is there, if the end came before the next try."""
    slow, worker, running, job_id = await begun(place)
    place.storage.cut["settle"] = "before"
    slow.go.set()
    await place.advance(30)  # until there are seconds between two tries
    tries = place.storage.calls.count("settle")
    place.clock.advance(LONGEST_PAUSE)
    await until(lambda: place.storage.calls.count("settle") > tries)
    place.storage.mend()
    worker.stop(immediately=True)
    await until(running.done)
    assert (await place.job(job_id)).output == "done"
    assert await place.storage.workers() == []


async def test_worker_that_waits_for_its_storage_can_be_stopped(place: Place) -> None:
    Slow(place)
    place.storage.cut_all()
    worker = place.worker()
    running = start(worker)
    await until(lambda: place.storage.calls)
    worker.stop()
    await running


async def test_worker_stopped_before_its_start_ends() -> None:
    async def check(how: Callable[[Worker], None]) -> None:
        place = faulty_place()
        slow = Slow(place)
        job_id = await place.send(slow.task)
        worker = place.worker()
        running = start(worker)
        how(worker)
        place.keep_advancing()
        async with asyncio.timeout(PATIENCE):
            await running
            how(worker)
        assert (slow.running, place.state(job_id)) == (0, CREATED)
        slow.go.set()
        await soon(worker.drain())  # a stop is of one run, and the next one is another
        assert place.state(job_id) is COMPLETED
        place.stop_advancing()

    await check_each_async({"stop": Worker.stop, "at once": partial(Worker.stop, immediately=True)}, check)


async def test_worker_stopped_before_its_start_drains_nothing(place: Place) -> None:
    slow = Slow(place)
    job_id = await place.send(slow.task)
    worker = place.worker()
    worker.stop()
    await soon(worker.drain())
    assert place.state(job_id) is CREATED


async def test_bug_in_a_part_of_the_worker_is_raised(place: Place) -> None:
    async def broken(**_: object) -> None:
        raise ZeroDivisionError

    slow, _, running = await idle(place)
    place.storage.real.claim = broken
    await place.send(slow.task)
    place.keep_advancing()
    with pytest.raises(ZeroDivisionError):
        await running


async def test_bug_in_a_pool_task_is_raised_and_logged(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    work = place.catalog.task("work")(nothing)
    monkeypatch.setattr(ServedQueue, "measure", broken)
    await place.send(work)
    place.keep_advancing()
    with logged() as lines, pytest.raises(ZeroDivisionError):
        await start(place.worker())
    assert "worker_part_failed" in lines.messages


async def test_bug_in_a_part_of_the_worker_is_logged_in_its_block(place: Place) -> None:
    """In an ``async with`` block nothing stops it, and a worker that no longer claims would seem idle."""

    async def broken(**_: object) -> None:
        raise ZeroDivisionError

    slow = Slow(place)
    with logged() as lines:
        async with place.working():
            await until(place.asleep)
            place.storage.real.claim = broken
            await place.send(slow.task)
            await until(lambda: "worker_part_failed" in lines.messages)


async def test_worker_may_be_cancelled_at_any_moment() -> None:
    for moment in range(60):
        place = faulty_place()

        @place.catalog.task("work", retry_limit=0)
        async def work() -> None:
            await turns(5)

        job_id = await place.send(work)
        running = start(place.worker())
        await turns(moment)
        running.cancel()
        place.keep_advancing()
        with pytest.raises(asyncio.CancelledError):
            await running
        place.stop_advancing()
        assert await place.storage.workers() == [], moment
        assert place.state(job_id) in (CREATED, COMPLETED), moment


async def test_job_past_its_deadline_expires_though_its_handler_never_ends(place: Place) -> None:
    """Otherwise each worker that ends would pass it to the next one without using a retry."""
    slow, worker, running, job_id = await begun(
        place, ignores_cancel=True, expire_in=60, retry_limit=0, shutdown_timeout=0
    )
    place.clock.advance(60)
    await until(lambda: slow.cancelled)
    worker.stop()
    place.keep_advancing()
    await running
    slow.go.set()
    await turns()
    job = await place.job(job_id)
    assert (job.row_state, worker.stuck) == (RowState.EXPIRED, 1)
    assert job.output["type"] == "Expired"
