"""Sweeps: overdue jobs are requeued, old rows are archived and purged, and one failure stops nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver, rolled_back, soon
from tests.conformance.storages import on_both_storages
from tests.runtime.broken import Broken
from tests.runtime.catalogs import mail_catalog
from tests.runtime.ticking import pass_seconds, running
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import turns
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core.timeouts import STATEMENT_SECONDS
from zeke_queue.errors import StatementTimeoutError, StorageError, StorageUnavailableError
from zeke_queue.maintenance.outage_monitor import OutageMonitor
from zeke_queue.maintenance.runner import Maintenance, MaintenanceResult
from zeke_queue.model import FINAL, RowState
from zeke_queue.storage.forwarding import Call
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy

DAY = 86_400
AWAY = StorageUnavailableError("away")


# Released jobs


@on_both_storages
async def test_job_past_its_deadline_is_retried_after_the_backoff(queue: Queue, jobs: Driver) -> None:
    await jobs.heartbeat(lease=9_000)
    job = await jobs.running(expire_in=60, retry_limit=2, retry_delay=10)
    jobs.clock.advance(61)

    assert await Maintenance(parts_of(queue)).sweep() == MaintenanceResult(expired=1)

    back = await jobs.look(job.id)
    assert back.row_state is RowState.RETRY
    assert 10 <= (back.start_after - jobs.clock.now()).total_seconds() <= 20


@on_both_storages
async def test_job_past_its_deadline_without_retries_expires_with_a_reason(
    queue: Queue, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.heartbeat(lease=9_000)
    job = await jobs.running(expire_in=60, retry_limit=0)
    clock.advance(61)
    await Maintenance(parts_of(queue)).sweep()

    ended = await jobs.look(job.id)
    assert ended.row_state is RowState.EXPIRED
    assert ended.output["type"] == "Expired"
    assert "expire_in" in ended.output["message"]
    assert str(ANNA) in ended.output["message"]


@on_both_storages
async def test_jobs_of_a_worker_without_heartbeat_are_retried(queue: Queue, jobs: Driver) -> None:
    await jobs.heartbeat(lease=15)
    lost = await jobs.running(retry_limit=1)
    jobs.clock.advance(16)
    await jobs.heartbeat(BERT)
    kept = await jobs.running("clean", worker=BERT)

    assert await Maintenance(parts_of(queue)).sweep() == MaintenanceResult(rescued=1)

    assert (await jobs.look(lost.id)).row_state is RowState.RETRY
    assert (await jobs.look(kept.id)).row_state is RowState.ACTIVE


@on_both_storages
async def test_job_lost_with_its_worker_without_retries_fails_with_a_reason(
    queue: Queue, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.heartbeat(lease=15)
    job = await jobs.running(retry_limit=0)
    clock.advance(16)
    await Maintenance(parts_of(queue)).sweep()

    ended = await jobs.look(job.id)
    assert ended.row_state is RowState.FAILED
    assert ended.output["type"] == "WorkerLost"
    assert str(ANNA) in ended.output["message"]


@on_both_storages
async def test_backlog_of_many_batches_is_requeued_in_one_sweep(queue: Queue, jobs: Driver) -> None:
    for _ in range(7):
        await jobs.send("mail")
    await jobs.claim()
    assert await Maintenance(parts_of(queue), batch=2).sweep() == MaintenanceResult(rescued=7)


# What goes


@on_both_storages
async def test_ended_jobs_are_archived_and_archived_ones_purged_in_time(queue: Queue, jobs: Driver) -> None:
    ended = [await jobs.ended(state) for state in sorted(FINAL)]
    waiting = await jobs.send(delay=0)
    maintenance = Maintenance(parts_of(queue), batch=3)

    jobs.clock.advance(DAY - 1)
    assert await maintenance.sweep() == MaintenanceResult()
    jobs.clock.advance(2)
    assert await maintenance.sweep() == MaintenanceResult(archived=4)
    assert all(job.archived_on for job in (await parts_of(queue).storage.get(ended)).values())
    jobs.clock.advance(7 * DAY - 5)
    assert await maintenance.sweep() == MaintenanceResult()
    jobs.clock.advance(10)
    assert await maintenance.sweep() == MaintenanceResult(purged=4)
    assert list(await parts_of(queue).storage.get([*ended, waiting])) == [waiting]


async def test_retention_is_a_setting(queue: Queue, jobs: Driver, clock: FrozenClock) -> None:
    await jobs.ended(RowState.COMPLETED)
    clock.advance(11)
    short = Maintenance(parts_of(queue), archive_after=10, delete_after=0)
    assert (await short.sweep()).archived == 1
    clock.advance(1)
    assert (await short.sweep()).purged == 1


# Beside others


@on_both_storages
async def test_concurrent_maintenance_requeues_each_job_once(queue: Queue, jobs: Driver) -> None:
    ids = [await jobs.send() for _ in range(20)]
    await jobs.claim()
    jobs.clock.advance(1)
    swept = await asyncio.gather(*(Maintenance(parts_of(queue), batch=3).sweep() for _ in range(4)))
    assert sum(one.rescued for one in swept) == 20
    assert {len((await jobs.look(job_id)).history) for job_id in ids} == {1}


# When something is wrong: these sweep a storage that fails on purpose


async def test_row_that_can_not_be_settled_does_not_stop_the_others(
    maintained: Queue, broken: Broken
) -> None:
    ids = [await broken.jobs.send() for _ in range(16)]
    await broken.jobs.claim()
    broken.bad_rows = {ids[5]}
    assert (await Maintenance(parts_of(maintained)).sweep()).rescued == 15
    states = await broken.jobs.states(ids)
    assert states.pop(5) is RowState.ACTIVE
    assert set(states) == {RowState.RETRY}
    assert len(broken.sizes) <= 12, "the bad row is found by halving"


async def test_job_whose_slot_is_locked_does_not_stop_the_others(maintained: Queue, broken: Broken) -> None:
    jobs = broken.jobs
    key = "__pgboss__singleton_queue"
    slotted = [await jobs.running(singleton_key=f"{key}{number or ''}") for number in range(2)]
    others = [await jobs.running() for _ in range(6)]
    ids = [job.id for job in (*others[:3], *slotted, *others[3:])]
    jobs.clock.advance(3600)
    maintenance = Maintenance(parts_of(maintained))
    async with rolled_back(jobs.storage) as transaction:
        for number in range(2):
            await jobs.send(within=transaction, singleton_key=f"{key}{number or ''}")
        sweeping = asyncio.create_task(maintenance.sweep(["rescue"]))
        await pass_seconds(jobs.clock, 10)
        swept = await sweeping
        assert (swept.expired + swept.rescued, swept.failed) == (6, ())
        assert Counter(await jobs.states(ids)) == {RowState.ACTIVE: 2, RowState.RETRY: 6}
    swept = await maintenance.sweep(["rescue"])
    assert swept.expired + swept.rescued == 2


async def test_jobs_whose_rescue_does_not_commit_are_not_reported(clock: FrozenClock) -> None:
    async def check(error: StorageError) -> None:
        broken = Broken(clock)
        queue = Queue(mail_catalog(), broken.storage, clock=clock, entropy=SeededEntropy(1))
        await broken.jobs.running()
        broken.broken = {"commit": error}  # the row stays locked, as by a connection that was lost
        with logged() as lines:
            swept = await Maintenance(parts_of(queue)).sweep(["rescue"])
        assert swept.rescued == 0
        assert "job_lost" not in lines.messages

    await check_each_async([(AWAY,), (StorageError("a deferred trigger raised an error"),)], check)


async def test_bad_rows_that_fill_a_batch_do_not_stop_the_others_and_are_tried_once_a_sweep(
    maintained: Queue, broken: Broken
) -> None:
    jobs = broken.jobs
    await jobs.ended(RowState.COMPLETED)
    jobs.clock.advance(2 * DAY)
    bad, good = [await jobs.send() for _ in range(5)], [await jobs.send() for _ in range(5)]
    broken.bad_rows = set(bad)
    await jobs.claim(limit=5)
    jobs.clock.advance(1)  # the bad rows are the oldest, so each batch has them first
    await jobs.claim()

    maintenance = Maintenance(parts_of(maintained), batch=2)
    swept = await maintenance.sweep()
    assert (swept.rescued, swept.archived) == (5, 1)
    assert set(await jobs.states(good)) == {RowState.RETRY}

    tries = len(broken.sizes)
    assert (await maintenance.sweep()).rescued == 0
    assert 0 < len(broken.sizes) - tries <= tries
    broken.bad_rows = set()
    assert (await maintenance.sweep()).rescued == 5


async def test_slow_archive_is_followed_by_the_other_duties(maintained: Queue, broken: Broken) -> None:
    for _ in range(2):
        await broken.jobs.ended(RowState.COMPLETED)
    broken.jobs.clock.advance(2 * DAY)
    maintenance = Maintenance(parts_of(maintained), batch=1)

    def wait(call: Call) -> None:
        if call.verb == "archive":
            broken.jobs.clock.advance(STATEMENT_SECONDS)

    broken.before = wait
    assert [(await maintenance.sweep()).archived for _ in range(3)] == [1, 1, 0]


async def test_ends_are_set_once_a_sweep(maintained: Queue, broken: Broken) -> None:
    for _ in range(3):
        await broken.jobs.ended(RowState.COMPLETED)
    broken.jobs.clock.advance(2 * DAY)
    dated = list[bool]()

    def note(call: Call) -> None:
        if call.verb == "archive":
            dated.append(call.arguments["dating"])

    broken.before = note
    maintenance = Maintenance(parts_of(maintained), batch=2)
    for _ in range(2):
        await maintenance.sweep()
    assert dated == [True, False, False, True]


async def test_failed_duty_does_not_stop_the_others(clock: FrozenClock) -> None:
    async def check(what: str, error: Exception) -> None:
        broken = Broken(clock)
        queue = Queue(mail_catalog(), broken.storage, clock=clock, entropy=SeededEntropy(1))
        await broken.jobs.ended(RowState.COMPLETED)
        clock.advance(2 * DAY)
        await broken.jobs.running()
        broken.broken = {what: error}
        swept = await Maintenance(parts_of(queue)).sweep()
        assert (swept.rescued, swept.archived) == (0, 1)

    errors = [StorageError("no"), StorageUnavailableError("away"), ZeroDivisionError()]
    await check_each_async([(what, error) for what in ("lock_expired", "settle") for error in errors], check)


async def test_failed_duties_are_reported(maintained: Queue, broken: Broken) -> None:
    broken.broken = dict.fromkeys(["lock_expired", "archive"], StorageError("no"))
    assert (await Maintenance(parts_of(maintained)).sweep()).failed == ("rescue", "archive")


# The loop


async def test_loop_sweeps_at_its_interval_until_it_is_stopped(maintained: Queue, broken: Broken) -> None:
    async with running(Maintenance(parts_of(maintained), every=5)):
        await turns()
        job = await broken.jobs.running()
        await pass_seconds(broken.jobs.clock, 4)
        assert (await broken.jobs.look(job.id)).row_state is RowState.ACTIVE
        await pass_seconds(broken.jobs.clock, 1)
        assert (await broken.jobs.look(job.id)).row_state is RowState.RETRY


async def test_loop_survives_an_outage_and_polls_more_rarely_meanwhile(
    maintained: Queue, broken: Broken
) -> None:
    jobs = broken.jobs
    broken.broken = dict.fromkeys(["lock_expired", "archive"], StorageUnavailableError("away"))
    async with running(Maintenance(parts_of(maintained), every=1)):
        await pass_seconds(jobs.clock, 120)
        assert 55 <= broken.asked["lock_expired"] <= 65
        broken.broken = {}
        job = await jobs.running()
        await pass_seconds(jobs.clock, 2)
        assert (await jobs.look(job.id)).row_state is not RowState.ACTIVE


async def test_silent_worker_keeps_its_jobs_for_its_lease_after_an_outage(
    maintained: Queue, broken: Broken
) -> None:
    """After an outage, or a restart of everything, other workers may be about to renew their leases."""
    jobs, clock = broken.jobs, broken.jobs.clock
    monitor = OutageMonitor(clock, 8.0)
    await jobs.heartbeat(lease=15)
    lost, late = await jobs.running(), await jobs.running("clean", expire_in=20)
    clock.advance(100)
    async with running(Maintenance(parts_of(maintained), every=5, monitor=monitor)):
        for seconds, state in ((10, RowState.ACTIVE), (15, RowState.ACTIVE), (5, RowState.RETRY)):
            for _ in range(seconds):
                monitor.answered(clock.monotonic())
                await pass_seconds(clock, 1)
            assert await jobs.states([lost.id, late.id]) == [state, RowState.RETRY]
            if seconds == 10:
                await pass_seconds(clock, 10)


async def test_outage_during_the_search_keeps_the_jobs_of_silent_workers(
    maintained: Queue, broken: Broken
) -> None:
    jobs, clock = broken.jobs, broken.jobs.clock
    monitor = OutageMonitor(clock, 8.0)
    monitor.answered(clock.monotonic())
    maintenance = Maintenance(parts_of(maintained), monitor=monitor)
    await jobs.heartbeat(lease=15)
    lost, late = await jobs.running(), await jobs.running("clean", expire_in=20)
    for _ in range(6):
        clock.advance(5)
        monitor.answered(clock.monotonic())
    check, broken.before = broken.before, lambda call: _hang(call, clock)
    await maintenance.sweep()
    assert await jobs.states([lost.id, late.id]) == [RowState.ACTIVE, RowState.RETRY]
    broken.before = check
    for _ in range(6):
        clock.advance(5)
        monitor.answered(clock.monotonic())
    assert (await maintenance.sweep()).rescued == 1


def _hang(call: Call, clock: FrozenClock) -> None:
    if call.verb == "lock_expired":
        clock.advance(30)


async def test_duty_that_keeps_failing_backs_off_and_does_not_slow_the_others(
    maintained: Queue, broken: Broken
) -> None:
    broken.broken = {
        "archive": StorageError("a right is missing"),
        "purge": StatementTimeoutError("it took too long"),
    }
    async with running(Maintenance(parts_of(maintained), every=5)):
        await pass_seconds(broken.jobs.clock, 120)
        assert 4 <= broken.asked["archive"] <= 8
        assert 4 <= broken.asked["purge"] <= 8
        job = await broken.jobs.running()
        broken.jobs.clock.advance(5)
        await turns()
        assert (await broken.jobs.look(job.id)).row_state is RowState.RETRY


async def test_loop_stopped_before_its_start_does_nothing(maintained: Queue) -> None:
    maintenance = Maintenance(parts_of(maintained))
    maintenance.stop()
    await soon(maintenance.run())


# Whatever happens


@given(
    policies=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)
def test_job_whose_workers_all_die_runs_its_retry_limit_plus_once(
    policies: list[tuple[int, int, bool]], seed: int
) -> None:
    async def live() -> None:
        clock = FrozenClock()
        storage = MemoryStorage(clock)
        jobs = Driver(storage, clock)
        maintenance = Maintenance(
            parts_of(Queue(mail_catalog(), storage, clock=clock, entropy=SeededEntropy(seed)))
        )
        ids = [
            await jobs.send(retry_limit=limit, retry_delay=delay, retry_backoff=backoff)
            for limit, delay, backoff in policies
        ]
        for _ in range(5):
            await jobs.claim()
            await maintenance.sweep()
            clock.advance(1_000)
        for job_id, (limit, _, _) in zip(ids, policies, strict=True):
            job = await jobs.look(job_id)
            assert (job.row_state, job.attempt, job.retry_count) == (RowState.FAILED, limit + 1, limit)

    asyncio.run(live())
