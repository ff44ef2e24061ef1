"""Workers: how they are known, and what their beat tells them."""

from __future__ import annotations

from dataclasses import replace

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver, lock_expired
from zeke_queue.model import WorkerInfo
from zeke_queue.storage import Storage

INFO = WorkerInfo(ANNA, "host-1", 4711, ("mail", "post"), 15.0)


async def test_the_first_beat_registers_a_worker(storage: Storage, clock: FrozenClock) -> None:
    assert await storage.heartbeat(INFO) == {}
    assert await storage.workers() == [replace(INFO, started_on=clock.now(), beat_on=clock.now())]


async def test_later_beats_keep_the_start_and_note_what_changed(storage: Storage, clock: FrozenClock) -> None:
    await storage.heartbeat(INFO)
    started = clock.now()
    clock.advance(5)
    changed = replace(INFO, queues=("mail",), lease=30.5)
    await storage.heartbeat(changed)
    assert await storage.workers() == [replace(changed, started_on=started, beat_on=clock.now())]


async def test_a_beat_tells_which_attempts_the_worker_holds(storage: Storage, jobs: Driver) -> None:
    kept, done, taken = [await jobs.running(worker=ANNA) for _ in range(3)]
    await jobs.running(worker=BERT)
    await jobs.complete(done)
    await storage.cancel([taken.id])
    again = await jobs.running(worker=BERT)
    await jobs.release(again)
    mine = await jobs.claim_one(worker=ANNA)
    assert await jobs.heartbeat(ANNA) == {kept.id: 1, mine.id: 2}


async def test_a_beat_of_one_worker_does_not_speak_for_another(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(BERT)
    await jobs.running(worker=BERT)
    assert await jobs.heartbeat(ANNA) == {}
    assert [worker.id for worker in await storage.workers()] == [ANNA, BERT]


async def test_workers_are_listed_by_start(storage: Storage, jobs: Driver, clock: FrozenClock) -> None:
    await jobs.heartbeat(BERT)
    clock.advance(1)
    await jobs.heartbeat(ANNA)
    clock.advance(1)
    await jobs.heartbeat(BERT)
    assert [worker.id for worker in await storage.workers()] == [BERT, ANNA]


async def test_a_worker_that_leaves_is_forgotten(storage: Storage, jobs: Driver) -> None:
    await jobs.heartbeat(ANNA)
    await storage.deregister(ANNA)
    await storage.deregister(BERT)
    assert await storage.workers() == []


async def test_a_worker_that_comes_back_starts_anew(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.heartbeat(ANNA)
    await storage.deregister(ANNA)
    clock.advance(60)
    await jobs.heartbeat(ANNA)
    assert [worker.started_on for worker in await storage.workers()] == [clock.now()]


async def test_a_worker_says_that_it_sleeps_and_a_beat_does_not_wake_it(storage: Storage) -> None:
    await storage.heartbeat(INFO)
    await storage.set_idle(ANNA, ["mail"])
    await storage.heartbeat(INFO)
    assert [worker.asleep for worker in await storage.workers()] == [True]
    await storage.set_idle(ANNA, None)
    assert [worker.asleep for worker in await storage.workers()] == [False]


async def test_a_worker_that_is_not_registered_may_sleep_too(storage: Storage) -> None:
    await storage.set_idle(ANNA, ["mail"])
    await storage.set_idle(ANNA, None)
    assert await storage.workers() == []


async def test_a_worker_that_has_been_dead_for_a_day_is_forgotten_when_another_beats(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    held = await jobs.running(worker=ANNA)
    await jobs.heartbeat(ANNA, lease=15)
    clock.advance(15 + 86_400)
    await jobs.heartbeat(BERT)
    assert [worker.id for worker in await storage.workers()] == [ANNA, BERT]
    clock.advance(0.000001)
    await jobs.heartbeat(BERT)
    assert [worker.id for worker in await storage.workers()] == [BERT]
    assert [(late.id, late.worker) for late in await lock_expired(storage, 100)] == [(held.id, ANNA)]


async def test_a_worker_that_slept_for_days_is_not_forgotten_by_its_own_beat(
    storage: Storage, jobs: Driver, clock: FrozenClock
) -> None:
    await jobs.heartbeat(ANNA)
    began = clock.now()
    clock.advance(3 * 86_400)
    await jobs.heartbeat(ANNA)
    assert [worker.started_on for worker in await storage.workers()] == [began]
