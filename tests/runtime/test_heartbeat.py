"""The heartbeat, the deadline, and a storage that goes away: what a worker loses, and what it keeps."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.faulty import Faulty
from tests.runtime.workers.place import Place, turns, until
from zeke_queue import log
from zeke_queue.context import JobContext
from zeke_queue.errors import LeaseLost
from zeke_queue.model import Completed, JobState
from zeke_queue.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

COMPLETED, FAILED, RETRY, CREATED = JobState.COMPLETED, JobState.FAILED, JobState.RETRY, JobState.CREATED
ACTIVE, CANCELLED, EXPIRED = JobState.ACTIVE, JobState.CANCELLED, JobState.EXPIRED

BEATING = {"lease": 15.0, "beat": 5.0}


class Handler:
    """A task whose jobs wait until they are let go, and what became of them."""

    def __init__(self, place: Place, **options: Any) -> None:
        self.started: list[UUID] = []
        self.cancelled: list[UUID] = []
        self.finished: list[UUID] = []
        self.go = asyncio.Event()
        self.task: Any = place.catalog.task("work", **options)(self._run)

    async def _run(self, job: JobContext) -> str:
        self.started.append(job.id)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        self.finished.append(job.id)
        return "done"


@pytest.fixture
def place() -> Place:
    clock = FrozenClock()
    return Place(clock=clock, storage=Faulty(clock))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What was logged, line by line."""
    stream = StringIO()
    before = log._current[0]
    log._current[0] = log._make_setup("json", 20, stream, FrozenClock())
    seen: list[dict[str, Any]] = []

    class Lines(list[dict[str, Any]]):
        def __iter__(self) -> Any:
            return iter([json.loads(line) for line in stream.getvalue().splitlines()])

    yield Lines(seen)
    log._current[0] = before


def messages(lines: list[dict[str, Any]]) -> list[str]:
    return [line["message"] for line in lines]


# What is taken away


async def test_a_job_that_is_cancelled_is_interrupted_at_the_next_beat(
    place: Place, lines: list[dict[str, Any]]
) -> None:
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        await place.queue.cancel(job_id)
        await turns()
        assert work.cancelled == []
        place.clock.advance(5)
        await until(lambda: work.cancelled)
        await worker.drain()
    job = await place.job(job_id)
    assert (job.state, job.output, work.cancelled) == (CANCELLED, None, [job_id])
    assert "job_cancelled" in messages(lines)


async def test_only_the_job_that_was_taken_is_interrupted(place: Place) -> None:
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        sent = [await place.send(work.task) for _ in range(3)]
        await until(lambda: len(work.started) == 3)
        await place.queue.cancel(sent[1])
        place.clock.advance(5)
        await until(lambda: work.cancelled)
        work.go.set()
        await worker.drain()
    assert work.cancelled == [sent[1]]
    assert [(await place.job(job_id)).state for job_id in sent] == [COMPLETED, CANCELLED, COMPLETED]


async def test_a_job_that_waits_for_a_lane_is_not_begun_once_it_is_cancelled(place: Place) -> None:
    ran: list[int] = []
    go = asyncio.Event()

    @place.catalog.task("quick")
    async def quick(n: int) -> None:
        ran.append(n)
        if n == 1:
            await go.wait()

    async with place.working(concurrency=1, lease=15, beat=1) as worker:
        await place.send(quick, 0)
        await worker.drain()  # it is known to be quick from here on, and claimed ahead
        sent = [await place.send(quick, n) for n in (1, 2, 3)]
        await until(lambda: [place.state(job_id) for job_id in sent] == [ACTIVE] * 3)
        await place.queue.cancel(sent[1])
        beats = place.storage.calls.count("beat")
        place.clock.advance(1)
        await until(lambda: place.storage.calls.count("beat") > beats)
        await turns()
        go.set()
        await worker.drain()
    assert ran == [0, 1, 3]
    assert [(await place.job(job_id)).state for job_id in sent] == [COMPLETED, CANCELLED, COMPLETED]


async def test_what_a_beat_does_not_know_yet_is_not_taken_for_lost(place: Place) -> None:
    """A claim crosses the beat's answer on the way."""
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        first = await place.send(work.task)
        await until(lambda: work.started)
        beat = place.storage.held["beat"] = asyncio.Event()
        place.clock.advance(5)
        await until(lambda: place.storage.calls[-1] == "beat")
        second = await place.send(work.task)
        await until(lambda: len(work.started) == 2)
        beat.set()
        await turns()
        assert work.cancelled == []
        work.go.set()
        await worker.drain()
    assert {(await place.job(job_id)).state for job_id in (first, second)} == {COMPLETED}


@pytest.mark.parametrize("answered", [True, False])
async def test_what_is_settled_while_a_beat_is_under_way_is_not_taken_for_lost(
    place: Place,
    lines: list[dict[str, Any]],
    answered: bool,  # noqa: FBT001
) -> None:
    work = Handler(place, concurrency_limit=3)
    async with place.working(**BEATING) as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        beat = place.storage.late["beat"] = asyncio.Event()
        settle = place.storage.held["settle"] = asyncio.Event()
        place.clock.advance(5)
        await until(lambda: place.storage.calls[-1] == "beat")
        work.go.set()
        await until(lambda: place.state(job_id) is COMPLETED)
        if answered:
            settle.set()
            await turns()
        beat.set()
        await turns()
        settle.set()
        await worker.drain()
    assert "lease_lost" not in messages(lines)


async def test_what_a_handler_returns_after_its_job_was_taken_is_stored_nowhere(
    place: Place, lines: list[dict[str, Any]]
) -> None:
    work = Handler(place)
    async with place.working() as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        await place.queue.cancel(job_id)
        work.go.set()
        await until(lambda: work.finished)
        await worker.drain()
    assert (await place.job(job_id)).state is CANCELLED
    assert "lease_lost" in messages(lines)
    assert "job_completed" not in messages(lines)


# The deadline


async def test_a_handler_that_takes_too_long_is_interrupted_and_retried(place: Place) -> None:
    work = Handler(place, expire_in=60, retry_delay=100, retry_backoff=False)
    async with place.working() as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        place.clock.advance(59.9)
        await turns()
        assert work.cancelled == []
        place.clock.advance(0.1)
        await until(lambda: place.state(job_id) is RETRY)
        await worker.drain()
    job = await place.job(job_id)
    assert job.history[-1].error["type"] == "Expired"
    assert "60 s" in job.history[-1].error["message"]


async def test_a_job_without_retries_left_ends_expired(place: Place) -> None:
    work = Handler(place, expire_in=60, retry_limit=0)
    async with place.working():
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        place.clock.advance(60)
        await until(lambda: place.state(job_id) is EXPIRED)
    assert (await place.job(job_id)).output["type"] == "Expired"


async def test_each_of_many_deadlines_is_kept(place: Place) -> None:
    work = Handler(place, retry_limit=0)
    async with place.working():
        sent = {}
        for seconds in (300, 100, 200, 50):
            sent[seconds] = await place.send(work.task, expire_in=seconds)
            await until(lambda: len(work.started) == len(sent))
        for seconds in (50, 100, 200, 300):
            place.clock.advance(seconds - 1 - (place.clock.monotonic()))
            await turns()
            assert sent[seconds] not in work.cancelled
            place.clock.advance(1)
            await until(lambda at=seconds: sent[at] in work.cancelled)
    assert work.cancelled == [sent[seconds] for seconds in (50, 100, 200, 300)]


async def test_a_deadline_that_a_handler_moves_is_kept_at_its_new_place(place: Place) -> None:
    started = asyncio.Event()

    @place.catalog.task("long", expire_in=60, retry_limit=0)
    async def long(job: JobContext) -> None:
        await job.extend(100)
        started.set()
        await asyncio.Event().wait()

    async with place.working():
        job_id = await place.send(long)
        await until(started.is_set)
        place.clock.advance(99)
        await turns()
        assert place.state(job_id) is ACTIVE
        place.clock.advance(1)
        await until(lambda: place.state(job_id) is EXPIRED)


async def test_a_handler_that_extends_a_job_which_is_no_longer_its_own_is_told(place: Place) -> None:
    told: list[bool] = []
    go = asyncio.Event()

    @place.catalog.task("long")
    async def long(job: JobContext) -> None:
        await go.wait()
        with pytest.raises(LeaseLost):
            await job.extend(100)
        told.append(job.cancelled)

    async with place.working() as worker:
        job_id = await place.send(long)
        await until(lambda: place.state(job_id) is ACTIVE)
        await place.queue.cancel(job_id)
        go.set()
        await until(lambda: told)
        await worker.drain()
    assert told == [True]
    assert (await place.job(job_id)).state is CANCELLED


async def test_what_a_handler_makes_of_its_cancellation_does_not_undo_the_deadline(place: Place) -> None:
    @place.catalog.task("stubborn", expire_in=60, retry_limit=0)
    async def stubborn(how: str) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "raises":
                raise ValueError("something else") from None
        return "too late"

    async with place.working() as worker:
        sent = [await place.send(stubborn, how) for how in ("returns", "raises")]
        await until(lambda: all(place.state(job_id) is ACTIVE for job_id in sent))
        await turns()
        place.clock.advance(60)
        await until(lambda: all(place.state(job_id) is EXPIRED for job_id in sent))
        await worker.drain()


async def test_a_handler_that_goes_on_after_its_cancellation_is_cancelled_again_and_reported(
    place: Place, lines: list[dict[str, Any]]
) -> None:
    asked = 0

    @place.catalog.task("deaf", expire_in=60, retry_limit=0)
    async def deaf() -> None:
        nonlocal asked
        while asked < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked += 1

    async with place.working(lease=1000, beat=10) as worker:
        job_id = await place.send(deaf)
        await until(lambda: place.state(job_id) is ACTIVE)
        await turns()
        for times in (1, 2, 3):
            place.clock.advance(60)
            await until(lambda at=times: asked == at)
        await worker.drain()
    assert "cancellation_ignored" in messages(lines)


# A storage that is away


async def test_outcomes_are_kept_until_the_storage_is_back(place: Place, lines: list[dict[str, Any]]) -> None:
    work = Handler(place)
    async with place.working() as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        place.storage.cut_all()
        work.go.set()
        for _ in range(10):
            await until(lambda: True)
            place.clock.advance(1)
            await turns()
        assert place.state(job_id) is ACTIVE
        place.storage.mend()
        place.clock.advance(5)
        await until(lambda: place.state(job_id) is COMPLETED)
        await worker.drain()
    assert messages(lines).count("storage_unavailable") == 1
    assert messages(lines).count("storage_back") == 1
    assert "lease_lost" not in messages(lines)


async def test_a_settlement_whose_answer_was_lost_is_no_lost_lease(
    place: Place, lines: list[dict[str, Any]]
) -> None:
    work = Handler(place)
    async with place.working() as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        place.storage.cut["settle"] = "after"
        work.go.set()
        await until(lambda: place.state(job_id) is COMPLETED)
        place.storage.mend()
        place.clock.advance(5)
        await worker.drain()
    assert (await place.job(job_id)).output == "done"
    assert "job_completed" in messages(lines)
    assert "lease_lost" not in messages(lines)


async def test_jobs_of_a_claim_whose_answer_was_lost_go_back_and_run_once(
    place: Place, lines: list[dict[str, Any]]
) -> None:
    work = Handler(place)
    work.go.set()
    async with place.working() as worker:
        await until(place.asleep)
        place.storage.cut["claim"] = "after"
        sent = [await place.send(work.task) for _ in range(3)]
        await until(lambda: all(place.state(job_id) is ACTIVE for job_id in sent))
        assert work.started == []
        place.storage.mend()
        place.clock.advance(1)
        await worker.drain()
    assert "claims_released" in messages(lines)
    assert sorted(work.started) == sorted(sent)
    jobs = [await place.job(job_id) for job_id in sent]
    assert {(job.state, job.attempt, job.retry_count) for job in jobs} == {(COMPLETED, 2, 0)}


async def test_a_worker_whose_lease_has_ended_stops_its_handlers_and_begins_anew(
    place: Place, lines: list[dict[str, Any]]
) -> None:
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        place.storage.cut_all()
        for _ in range(14):
            place.clock.advance(1)
            await turns()
        assert work.cancelled == []
        place.clock.advance(1)
        await until(lambda: work.cancelled)
        assert "lease_ended" in messages(lines)
        # Nobody took the job in the meantime, so the worker finds it as its own, and gives it back to itself.
        place.storage.mend()
        work.go.set()
        place.hurry()
        await until(lambda: place.state(job_id) is COMPLETED)
        await worker.drain()
    job = await place.job(job_id)
    assert (job.attempt, job.retry_count) == (2, 0)


async def test_a_silent_worker_that_could_still_claim_finds_its_jobs_again(place: Place) -> None:
    """Only its beats are lost; what it gave up is given back when one is answered, though nobody took it."""
    work = Handler(place)
    async with place.working(poll=1e6, **BEATING) as worker:
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        place.storage.cut["beat"] = "before"
        for _ in range(15):
            place.clock.advance(1)
            await turns()
        await until(lambda: work.cancelled)
        work.go.set()
        place.storage.mend()
        for _ in range(10):
            place.clock.advance(1)
            await turns()
        await until(lambda: place.state(job_id) is COMPLETED)
        await worker.drain()


async def test_a_dead_workers_jobs_are_run_by_another_and_its_own_late_outcome_is_fenced(
    place: Place,
) -> None:
    work = Handler(place, retry_delay=0)
    async with place.working(**BEATING):
        job_id = await place.send(work.task)
        await until(lambda: work.started)
        place.storage.cut["beat"] = "before"  # from here on it is silent
        for _ in range(16):
            place.clock.advance(1)
            await turns()
        assert (await Supervisor(place.queue).sweep()).reaped == 1
        place.storage.mend()
        work.go.set()
        async with place.working(**BEATING) as other:
            await until(lambda: place.state(job_id) is COMPLETED)
            assert (await place.job(job_id)).worker == other.id
    job = await place.job(job_id)
    assert (job.attempt, job.retry_count) == (2, 1)


async def test_a_worker_waits_for_a_storage_that_is_not_there_yet(place: Place) -> None:
    work = Handler(place)
    work.go.set()
    job_id = await place.send(work.task)
    place.storage.cut_all()
    place.hurry()
    running = asyncio.ensure_future(place.drain())
    await until(lambda: place.storage.calls.count("declare_queues") > 3)
    place.storage.mend()
    await running
    assert (await place.job(job_id)).state is COMPLETED


async def test_an_outcome_that_the_storage_refuses_holds_up_no_other_one(place: Place) -> None:
    real = place.storage.real.settle
    refused: list[UUID] = []

    async def settle(
        completed: Any = (), failed: Any = (), released: Any = (), *, again: bool = False
    ) -> Any:
        if any(isinstance(o, Completed) and o.id in refused for o in completed):
            raise ValueError("this one the driver can't encode")
        return await real(completed, failed, released, again=again)

    place.storage.real.settle = settle

    @place.catalog.task("work", retry_limit=5)
    async def work(n: int) -> int:
        return n

    sent = [await place.send(work, n) for n in range(5)]
    refused.append(sent[2])
    await place.drain()
    jobs = [await place.job(job_id) for job_id in sent]
    assert [job.state for job in jobs] == [COMPLETED, COMPLETED, FAILED, COMPLETED, COMPLETED]
    assert "the driver can't encode" in jobs[2].output["message"]


async def test_jobs_that_were_claimed_ahead_and_not_begun_go_back_for_others(place: Place) -> None:
    go = asyncio.Event()
    ran: list[int] = []

    @place.catalog.task("work")
    async def work(n: int) -> None:
        ran.append(n)
        if n == 1:
            await go.wait()

    async with place.working(concurrency=1, **BEATING) as one:
        await place.send(work, 0)
        await one.drain()  # it is known to be quick from here on, and claimed ahead
        sent = [await place.send(work, n) for n in range(1, 5)]
        await until(lambda: [place.state(job_id) for job_id in sent] == [ACTIVE] * 4)
        place.clock.advance(5)
        await until(lambda: [place.state(job_id) for job_id in sent] == [ACTIVE] + [CREATED] * 3)
        async with place.working(concurrency=1) as other:
            await until(lambda: [place.state(job_id) for job_id in sent[1:]] == [COMPLETED] * 3)
            assert other.id != one.id
        go.set()
        await one.drain()
    assert ran == [0, 1, 2, 3, 4]
