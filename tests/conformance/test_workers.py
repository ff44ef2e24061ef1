"""Workers: registration, and the answer to a heartbeat."""

from __future__ import annotations

from dataclasses import replace

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver, lock_expired
from zeke_queue.model import WorkerInfo
from zeke_queue.storage import Storage

INFO = WorkerInfo(ANNA, "host-1", 4711, ("mail", "post"), 15.0, duties=("maintenance",))


async def test_first_heartbeat_registers_the_worker(storage: Storage, clock: FrozenClock) -> None:
    assert await storage.heartbeat(INFO) == {}
    assert await storage.workers() == [replace(INFO, started_on=clock.now(), beat_on=clock.now())]


async def test_later_heartbeats_keep_the_start_and_update_the_rest(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.heartbeat(INFO)
    started = clock.now()
    clock.advance(5)
    changed = replace(INFO, queues=("mail",), lease=30.5, duties=("maintenance", "schedules"))
    await storage.heartbeat(changed)
    assert await storage.workers() == [replace(changed, started_on=started, beat_on=clock.now())]


async def test_heartbeat_returns_the_active_attempts_of_the_worker(storage: Storage, jobs: Driver) -> None:
    kept, done, taken = [await jobs.running(worker=ANNA) for _ in range(3)]
    await jobs.running(worker=BERT)
    await jobs.complete(done)
    await storage.cancel([taken.id])
    again = await jobs.running(worker=BERT)
    await jobs.release(again)
    mine = await jobs.claim_one(worker=ANNA)
    assert await jobs.heartbeat(ANNA) == {kept.id: 1, mine.id: 2}


async def test_heartbeat_does_not_renew_the_lease_of_another_worker(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(BERT)
    await jobs.running(worker=BERT)
    assert await jobs.heartbeat(ANNA) == {}
    assert [worker.id for worker in await storage.workers()] == [ANNA, BERT]


async def test_workers_are_listed_by_their_start(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await jobs.heartbeat(BERT)
    clock.advance(1)
    await jobs.heartbeat(ANNA)
    clock.advance(1)
    await jobs.heartbeat(BERT)
    assert [worker.id for worker in await storage.workers()] == [BERT, ANNA]


async def test_deregistered_worker_is_not_listed(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(ANNA)
    await storage.deregister(ANNA)
    await storage.deregister(BERT)
    assert await storage.workers() == []


async def test_worker_registered_again_has_a_new_start(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(ANNA)
    await storage.deregister(ANNA)
    jobs.clock.advance(60)
    await jobs.heartbeat(ANNA)
    assert [worker.started_on for worker in await storage.workers()] == [jobs.clock.now()]


async def test_heartbeat_keeps_the_idle_flag(storage: Storage) -> None:
    await storage.heartbeat(INFO)
    await storage.set_idle(ANNA, ["mail"])
    await storage.heartbeat(INFO)
    assert [worker.asleep for worker in await storage.workers()] == [True]
    await storage.set_idle(ANNA, None)
    assert [worker.asleep for worker in await storage.workers()] == [False]


async def test_unregistered_worker_may_be_idle(storage: Storage) -> None:
    await storage.set_idle(ANNA, ["mail"])
    await storage.set_idle(ANNA, None)
    assert await storage.workers() == []


async def test_worker_silent_for_a_day_is_deleted_by_another_heartbeat(jobs: Driver) -> None:
    held = await jobs.running(worker=ANNA)
    await jobs.heartbeat(ANNA, lease=15)
    jobs.clock.advance(15 + 86_400)
    await jobs.heartbeat(BERT)
    assert [worker.id for worker in await jobs.storage.workers()] == [ANNA, BERT]
    jobs.clock.advance(0.000001)
    await jobs.heartbeat(BERT)
    assert [worker.id for worker in await jobs.storage.workers()] == [BERT]
    assert [(late.id, late.worker) for late in await lock_expired(jobs.storage, 100)] == [(held.id, ANNA)]


async def test_worker_silent_for_days_is_not_deleted_by_its_own_heartbeat(jobs: Driver) -> None:
    await jobs.heartbeat(ANNA)
    began = jobs.clock.now()
    jobs.clock.advance(3 * 86_400)
    await jobs.heartbeat(ANNA)
    assert [worker.started_on for worker in await jobs.storage.workers()] == [began]


async def test_workers_are_listed_with_the_number_of_jobs_that_they_hold(jobs: Driver) -> None:
    for worker in (ANNA, BERT):
        await jobs.storage.heartbeat(replace(INFO, id=worker))
        jobs.clock.advance(1)

    async def held() -> list[int]:
        return [worker.active_jobs for worker in await jobs.storage.workers()]

    assert await held() == [0, 0]
    first = await jobs.running(worker=ANNA)
    await jobs.running("post", worker=ANNA)
    await jobs.running(worker=BERT)
    await jobs.running(worker=jobs.new_id())  # a worker that left
    await jobs.send()
    assert await held() == [2, 1]
    await jobs.complete(first)
    assert await held() == [1, 1]
