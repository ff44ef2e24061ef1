"""Looking at jobs, cancelling them, and bringing them back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.conformance.storages import on_both_storages
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import JobConflictError, JobNotFoundError, UsageError
from zeke_queue.model import JobQuery, JobStatus, RowState

NOBODY = UUID("0193aaaa-0000-7000-8000-00000000dead")
DAY = 86_400


async def state(queue: Queue, job_id: UUID) -> RowState:
    job = await queue.get(job_id)
    assert job is not None
    return job.row_state


# Looking


@on_both_storages
async def test_run_of_a_job_sent_elsewhere_is_found_by_its_id(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.send("mail")
    run = await queue.get_run(job_id)
    assert (run.id, run.task) == (job_id, "mail")


async def test_run_is_one_of_its_task_by_any_of_its_names(queue: Queue, jobs: Driver) -> None:
    @queue.catalog.task("letter", aliases=("epistle",))
    async def letter() -> None: ...

    for name in ("letter", "epistle"):
        assert (await queue.get_run(await jobs.send(name), letter)).task == name
    with pytest.raises(UsageError, match="is one of 'mail', not of 'letter'"):
        await queue.get_run(await jobs.send("mail"), letter)


@on_both_storages
async def test_jobs_are_listed_newest_first_and_counted_by_state(queue: Queue, jobs: Driver) -> None:
    first, second = (await queue.send("clean")).id, (await queue.send("clean")).id
    await jobs.claim("clean", limit=1)
    assert [job.id for job in (await queue.find(JobQuery(names=("clean",)))).jobs] == [second, first]
    (stats,) = await queue.stats()
    assert stats.row_counts == {RowState.CREATED: 1, RowState.ACTIVE: 1}
    assert stats.counts == {**dict.fromkeys(JobStatus, 0), JobStatus.QUEUED: 1, JobStatus.EXECUTING: 1}


# Cancelling


async def test_ended_job_is_not_cancelled(queue: Queue, jobs: Driver) -> None:
    assert await queue.cancel(await jobs.ended(RowState.COMPLETED)) is False


# Bringing back


@on_both_storages
async def test_ended_job_is_requeued_by_the_verb_for_its_state(queue: Queue, jobs: Driver) -> None:
    async def check(ended: RowState, verb: str, back: RowState | None) -> None:
        job_id = await jobs.ended(ended, f"{verb}-{ended.value}")
        assert await getattr(queue, verb)(job_id) is (back is not None)
        assert await state(queue, job_id) is (back or ended)

    cases = [
        (RowState.CANCELLED, "resume", RowState.CREATED),
        (RowState.FAILED, "retry", RowState.RETRY),
        (RowState.EXPIRED, "retry", RowState.RETRY),
        (RowState.COMPLETED, "retry", None),
        (RowState.CANCELLED, "retry", None),
        (RowState.COMPLETED, "resume", None),
        (RowState.FAILED, "resume", None),
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_archived_job_is_not_requeued(queue: Queue, jobs: Driver, clock: FrozenClock) -> None:
    failed, cancelled = await jobs.ended(RowState.FAILED), await jobs.ended(RowState.CANCELLED)
    clock.advance(2 * DAY)
    assert await parts_of(queue).storage.archive(DAY, 10) == 2
    assert await queue.retry(failed) is False
    assert await queue.resume(cancelled) is False


async def test_verb_on_an_unknown_job_is_an_error(queue: Queue) -> None:
    async def check(verb: str) -> None:
        with pytest.raises(JobNotFoundError):
            await getattr(queue, verb)(NOBODY)

    await check_each_async(["get_run", "cancel", "resume", "retry"], check)
    assert await queue.get(NOBODY) is None


RULES: list[dict[str, Any]] = [
    {"singleton_key": "k"},
    {"slot_seconds": 60},
    {"slot_seconds": 3600, "singleton_key": "k"},
    {"slot_seconds": 7},
]


@on_both_storages
async def test_requeue_is_refused_with_the_conflicting_job_named(queue: Queue, jobs: Driver) -> None:
    async def check(ended: RowState, verb: str, rule: dict[str, Any]) -> None:
        name = f"{verb}-{RULES.index(rule)}"
        job_id = await jobs.ended(ended, name, **rule)
        holder = await jobs.send(name, **rule)
        with pytest.raises(JobConflictError) as caught:
            await getattr(queue, verb)(job_id)
        assert caught.value.holder == holder
        assert str(holder) in str(caught.value)
        assert await state(queue, job_id) is ended

    verbs = [(RowState.CANCELLED, "resume"), (RowState.FAILED, "retry")]
    await check_each_async([(ended, verb, rule) for ended, verb in verbs for rule in RULES], check)


@on_both_storages
async def test_requeued_job_keeps_the_slot_it_had(queue: Queue, jobs: Driver, clock: FrozenClock) -> None:
    async def check(seconds: int, later: int) -> None:
        name = f"every-{seconds}"
        job_id = await jobs.ended(RowState.FAILED, name, slot_seconds=seconds)
        holder = await jobs.send(name, slot_seconds=seconds)
        clock.advance(later)
        with pytest.raises(JobConflictError) as caught:
            await queue.retry(job_id)
        assert caught.value.holder == holder

    await check_each_async([(60, 50), (3600, 3000), (7, 500), (86_400, 400_000)], check)
