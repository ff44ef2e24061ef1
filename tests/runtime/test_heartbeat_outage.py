"""Outages of the storage: which jobs a worker keeps, and which it releases when its lease ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from tests.runtime.workers.faulty import CALLS
from tests.runtime.workers.handler import Handler, Lines
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import PermissionDeniedError, StatementTimeoutError
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.model import Completed, QueueCapacity, Released, RowState, Settled
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.context import JobContext

COMPLETED, FAILED, RETRY, CREATED = RowState.COMPLETED, RowState.FAILED, RowState.RETRY, RowState.CREATED
ACTIVE, CANCELLED, EXPIRED = RowState.ACTIVE, RowState.CANCELLED, RowState.EXPIRED

BEATING = {"lease": 15.0, "heartbeat_interval": 5.0}


async def test_outcomes_are_kept_until_the_storage_is_back(place: Place, lines: Lines) -> None:
    work = Handler(place)
    async with place.working() as worker:
        job_id = await work.begin()
        place.storage.cut_all()
        work.go.set()
        for _ in range(10):
            await until(lambda: True)
            place.clock.advance(1)
            await turns()
        assert place.state(job_id) is ACTIVE
        place.storage.mend()
        await turns()
        place.clock.advance(5)
        await until(lambda: place.state(job_id) is COMPLETED)
        await worker.drain()
    assert lines.messages.count("storage_unavailable") == 1
    assert lines.messages.count("storage_back") == 1
    assert "lease_lost" not in lines.messages


async def test_settlement_with_a_lost_answer_is_not_taken_for_a_lost_lease(
    place: Place, lines: Lines
) -> None:
    work = Handler(place)
    async with place.working() as worker:
        job_id = await work.begin()
        place.storage.cut["settle"] = "after"
        work.go.set()
        await until(lambda: place.state(job_id) is COMPLETED)
        place.storage.mend()
        await turns()
        place.clock.advance(5)
        await worker.drain()
    assert (await place.job(job_id)).output == "done"
    assert "job_completed" in lines.messages
    assert "lease_lost" not in lines.messages


async def test_jobs_of_a_claim_with_a_lost_answer_are_released_and_run_once(
    place: Place, lines: Lines
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
        await turns()
        place.clock.advance(1)
        await worker.drain()
    assert "unknown_jobs_released" in lines.messages
    assert sorted(work.started) == sorted(sent)
    jobs = [await place.job(job_id) for job_id in sent]
    assert {(job.row_state, job.attempt, job.retry_count) for job in jobs} == {(COMPLETED, 2, 0)}


async def test_locked_job_of_a_claim_with_a_lost_answer_delays_only_itself(
    place: Place, lines: Lines
) -> None:
    work = Handler(place)
    work.go.set()
    async with place.working(**BEATING):
        await until(place.asleep)
        place.storage.cut["claim"] = "after"
        locked, *others = [await place.send(work.task) for _ in range(3)]
        await until(lambda: all(place.state(job_id) is ACTIVE for job_id in (locked, *others)))
        async with place.storage.real.transaction() as foreign:
            await foreign.lock_attempt(locked, 1)
            place.storage.mend()
            place.keep_advancing()
            others.append(await place.send(work.task))
            await until(lambda: [place.state(job_id) for job_id in others] == [COMPLETED] * 3)
            beats = place.storage.calls.count("heartbeat")
            await until(lambda: place.storage.calls.count("heartbeat") > beats + 4)
            assert place.state(locked) is ACTIVE
            assert lines.messages.count("unknown_jobs_released") == 1
        await until(lambda: place.state(locked) is COMPLETED)
    assert lines.messages.count("unknown_jobs_released") == 2


@pytest.mark.parametrize("error", [RuntimeError("refused by a trigger"), StatementTimeoutError("too slow")])
async def test_job_that_can_not_be_released_delays_only_itself(
    place: Place, lines: Lines, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A job that the storage refuses to release is left to its deadline; others are tried again."""
    work = Handler(place)
    work.go.set()
    tried: list[list[UUID]] = []
    settle = MemoryStorage.settle_unlocked

    async def settles(self: MemoryStorage, *, released: Sequence[Released] = (), **others: Any) -> Settled:
        tried.append([one.id for one in released])
        if bad in tried[-1]:
            raise error
        return await settle(self, released=released, **others)

    monkeypatch.setattr(MemoryStorage, "settle_unlocked", settles)
    async with place.working(**BEATING):
        await until(place.asleep)
        place.storage.cut["claim"] = "after"
        bad, *others = [await place.send(work.task) for _ in range(3)]
        await until(lambda: all(place.state(job_id) is ACTIVE for job_id in (bad, *others)))
        place.storage.mend()
        place.keep_advancing()
        others.append(await place.send(work.task))
        await until(lambda: [place.state(job_id) for job_id in others] == [COMPLETED] * 3)
        beats = place.storage.calls.count("heartbeat")
        await until(lambda: place.storage.calls.count("heartbeat") > beats + 6)
        assert place.state(bad) is ACTIVE
        assert tried[:2] == [[bad, *others[:2]], [bad]]
        assert (tried.count([bad]) == 1) is isinstance(error, RuntimeError)
        assert lines.messages.count("unknown_jobs_released") == 1


async def test_worker_without_a_lease_stops_its_handlers_and_starts_again(place: Place, lines: Lines) -> None:
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        job_id = await work.begin()
        place.storage.cut_all()
        await place.advance(22)
        assert work.cancelled == []
        place.clock.advance(1)
        await until(lambda: work.cancelled)
        assert "lease_ended" in lines.messages
        # No worker took the job in the meantime, so the worker still finds it as its own, and releases it.
        place.storage.mend()
        work.go.set()
        place.keep_advancing()
        await until(lambda: place.state(job_id) is COMPLETED)
        await worker.drain()
    job = await place.job(job_id)
    assert (job.attempt, job.retry_count) == (2, 0)


@pytest.mark.parametrize("hangs", [False, True])
async def test_outage_shorter_than_the_lease_interrupts_no_handler(
    place: Place,
    lines: Lines,
    hangs: bool,  # noqa: FBT001
) -> None:
    """It begins just before a heartbeat is due, when the lease has run for a whole interval."""
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        job_id = await work.begin()
        await place.advance(49, 0.1)
        repaired = asyncio.Event()
        if hangs:
            place.storage.late = dict.fromkeys(CALLS, repaired)
        else:
            place.storage.cut_all()
        await place.advance(149, 0.1)
        place.storage.mend()
        place.storage.late = {}  # what was sent before stays without an answer
        heartbeats = place.storage.calls.count("heartbeat")
        await place.advance(30, 0.1)
        assert place.storage.calls.count("heartbeat") > heartbeats
        assert (work.cancelled, "lease_ended" in lines.messages) == ([], False)
        repaired.set()
        work.go.set()
        await worker.drain()
    job = await place.job(job_id)
    assert (job.row_state, job.attempt) == (COMPLETED, 1)


async def test_worker_that_lost_only_heartbeats_finds_its_jobs_again(place: Place) -> None:
    """Only its heartbeats are lost; lost jobs are requeued when one is answered, if no worker took them."""
    work = Handler(place)
    async with place.working(poll_interval=1e6, **BEATING) as worker:
        job_id = await work.begin()
        place.storage.cut["heartbeat"] = "before"
        await place.advance(23)
        await until(lambda: work.cancelled)
        work.go.set()
        place.storage.mend()
        await place.advance(10)
        await until(lambda: place.state(job_id) is COMPLETED)
        await worker.drain()


async def test_jobs_lost_during_a_search_for_claims_are_released_too(place: Place) -> None:
    """Else they would stay active under a worker that lives and does not know of them."""
    work = Handler(place)
    async with place.working(poll_interval=1e6, **BEATING):
        running = await work.begin()
        await until(place.asleep)
        place.storage.cut["claim"] = "after"
        lost = await place.send(work.task)
        await until(lambda: place.state(lost) is ACTIVE)
        await turns()
        place.storage.mend()
        answer = place.storage.late["heartbeat"] = asyncio.Event()
        place.clock.advance(1)
        await until(lambda: place.storage.calls[-1] == "heartbeat")  # finds the jobs that the claim took
        await place.advance(22)
        await until(lambda: work.cancelled)  # the lease has ended meanwhile
        work.go.set()
        answer.set()
        place.keep_advancing()
        await until(lambda: [place.state(job_id) for job_id in (running, lost)] == [COMPLETED] * 2)


async def test_claim_that_the_server_finishes_late_is_found_by_heartbeats(place: Place, lines: Lines) -> None:
    """Its connection had broken, and the worker's check for unknown jobs came too early to see it."""
    work = Handler(place)
    async with place.working(poll_interval=1e6, **BEATING) as worker:
        running = await work.begin()
        late = await place.send(work.task, delay=1)
        place.clock.advance(1)
        assert worker.id is not None
        (claimed,) = await place.storage.real.claim(worker.id, [QueueCapacity("work", 1)], 1)
        assert (claimed.id, place.state(late)) == (late, ACTIVE)
        work.go.set()
        await place.advance(5)
        assert "unknown_jobs_released" not in lines.messages
        await place.advance(6)
        await until(lambda: place.state(late) is COMPLETED)
        await worker.drain()
    assert "unknown_jobs_released" in lines.messages
    job = await place.job(late)
    assert (job.attempt, job.retry_count) == (2, 0)
    assert (await place.job(running)).attempt == 1


async def test_job_of_a_claim_under_way_is_not_released(place: Place, lines: Lines) -> None:
    work = Handler(place)
    work.go.set()
    async with place.working(**BEATING) as worker:
        await until(place.asleep)
        answer = place.storage.held["claim"] = asyncio.Event()
        job_id = await place.send(work.task)
        await until(lambda: place.state(job_id) is ACTIVE)
        await place.advance(16)
        assert place.state(job_id) is ACTIVE
        answer.set()
        await worker.drain()
    assert (await place.job(job_id)).attempt == 1
    assert "unknown_jobs_released" not in lines.messages


async def test_answer_to_an_older_heartbeat_does_not_shorten_the_lease(place: Place, lines: Lines) -> None:
    work = Handler(place)
    async with place.working(**BEATING) as worker:
        await work.begin()
        answer = place.storage.held["heartbeat"] = asyncio.Event()
        assert worker._lifecycle is not None
        older = asyncio.ensure_future(worker._lifecycle.heartbeat.send())
        await until(lambda: place.storage.calls[-1] == "heartbeat")
        await turns()
        del place.storage.held["heartbeat"]
        place.clock.advance(5)
        await turns()
        answer.set()
        await older
        place.storage.cut["heartbeat"] = "before"
        await place.advance(22)
        assert (work.cancelled, "lease_ended" in lines.messages) == ([], False)
        place.clock.advance(1)
        await until(lambda: work.cancelled)


async def test_answer_after_the_end_of_the_lease_does_not_end_it_twice(place: Place, lines: Lines) -> None:
    work = Handler(place)
    work.go.set()
    async with place.working(**BEATING):
        await until(place.asleep)
        answer = place.storage.held["heartbeat"] = asyncio.Event()
        place.clock.advance(5)
        await until(lambda: place.storage.calls[-1] == "heartbeat")
        await turns()
        place.storage.cut_all()
        await place.advance(24)
        assert lines.messages.count("lease_ended") == 1
        answer.set()
        await turns()
        assert lines.messages.count("lease_ended") == 1
        place.storage.mend()
        place.keep_advancing()
        job_id = await place.send(work.task)
        await until(lambda: place.state(job_id) is COMPLETED)
    assert lines.messages.count("lease_ended") == 1


async def test_jobs_of_a_lost_worker_run_elsewhere_and_its_late_outcome_is_dropped(place: Place) -> None:
    work = Handler(place, retry_delay=0)
    async with place.working(**BEATING):
        job_id = await work.begin()
        place.storage.cut["heartbeat"] = "before"  # from here on it is silent
        await place.advance(24)
        assert (await Maintenance(parts_of(place.queue)).sweep()).rescued == 1
        place.storage.mend()
        work.go.set()
        async with place.working(**BEATING) as other:
            await until(lambda: place.state(job_id) is COMPLETED)
            assert (await place.job(job_id)).worker == other.id
    job = await place.job(job_id)
    assert (job.attempt, job.retry_count) == (2, 1)


async def test_worker_waits_for_an_unavailable_storage_at_its_start(place: Place) -> None:
    work = Handler(place)
    work.go.set()
    job_id = await place.send(work.task)
    place.storage.cut_all()
    place.keep_advancing()
    running = asyncio.ensure_future(place.drain())
    await until(lambda: place.storage.calls.count("declare") > 3)
    place.storage.mend()
    await running
    assert (await place.job(job_id)).row_state is COMPLETED


async def test_outcomes_are_kept_while_the_storage_refuses_them_all(place: Place, lines: Lines) -> None:
    """A revoked right is not caused by an outcome; completed work must not be repeated."""
    real, refusals = place.storage.real.settle, 3

    async def settle(**outcomes: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise PermissionDeniedError("The role lacks a right")
        return await real(**outcomes)

    place.storage.real.settle = settle
    work = Handler(place, retry_limit=5)
    work.go.set()
    sent = [await place.send(work.task) for _ in range(3)]
    place.keep_advancing()
    await place.drain()
    assert [(await place.job(job_id)).output for job_id in sent] == ["done"] * 3
    assert sorted(work.finished) == sorted(sent)
    assert lines.messages.count("storage_error") == 3


async def test_refused_outcome_does_not_delay_the_others(place: Place) -> None:
    real = place.storage.real
    refused: list[UUID] = []

    def refusing(settle: Any) -> Any:
        async def wrapped(completed: Any = (), failed: Any = (), released: Any = (), **how: Any) -> Any:
            if any(isinstance(o, Completed) and o.id in refused for o in completed):
                raise ValueError("this one the driver can't encode")
            return await settle(completed, failed, released, **how)

        return wrapped

    real.settle, real.settle_unlocked = refusing(real.settle), refusing(real.settle_unlocked)

    @place.catalog.task("work", retry_limit=5)
    async def work(n: int) -> int:
        return n

    sent = [await place.send(work, n) for n in range(5)]
    refused.append(sent[2])
    place.keep_advancing()
    await place.drain()
    jobs = [await place.job(job_id) for job_id in sent]
    assert [job.row_state for job in jobs] == [COMPLETED, COMPLETED, FAILED, COMPLETED, COMPLETED]
    assert "the driver can't encode" in jobs[2].output["message"]


async def test_job_does_not_begin_after_the_end_of_the_lease(place: Place) -> None:
    """A handler has blocked the loop until then; other workers may have taken the jobs claimed ahead."""
    ran: list[tuple[int, int]] = []

    @place.catalog.task("work")
    async def work(n: int, job: JobContext) -> None:
        ran.append((n, job.attempt))
        if n == 1:  # no timer of the loop runs before the next job
            assert one._lifecycle is not None
            one._lifecycle.shared.state.alive_until = place.clock.monotonic()

    async with place.working(concurrency=1, **BEATING) as one:
        await place.send(work, 0)
        await one.drain()  # it is known to be quick from here on, and claimed ahead
        sent = [await place.send(work, n) for n in (1, 2)]
        place.keep_advancing()
        await until(lambda: place.state(sent[1]) is COMPLETED)
    assert [n for n, _ in ran] == [0, 1, 2]
    assert ran[2][1] > 1


async def test_jobs_claimed_early_are_released_for_other_workers(place: Place) -> None:
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
