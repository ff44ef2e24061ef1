"""Concurrency limits and pauses: how many jobs of a queue may run at once, over all workers."""

from __future__ import annotations

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver
from zeke_queue.model import QueueSettings, RowState
from zeke_queue.storage import Storage


async def test_a_limit_holds_over_all_workers(storage: Storage, jobs: Driver) -> None:
    await storage.declare_queues([QueueSettings("mail", 3)])
    await storage.insert([jobs.new() for _ in range(10)])
    assert len(await jobs.claim(worker=ANNA, limit=2)) == 2
    assert len(await jobs.claim(worker=BERT)) == 1
    assert await jobs.claim(worker=ANNA) == []


async def test_one_claim_takes_no_more_than_the_limit_and_the_best_first(
    storage: Storage, jobs: Driver
) -> None:
    await storage.declare_queues([QueueSettings("mail", 2)])
    for priority in (1, 3, 2):
        await jobs.send(priority=priority)
    assert [job.priority for job in await jobs.claim()] == [3, 2]


async def test_whatever_ends_an_attempt_makes_room(storage: Storage, jobs: Driver) -> None:
    await storage.declare_queues([QueueSettings("mail", 1)])
    await storage.insert([jobs.new() for _ in range(6)])
    await jobs.complete(await jobs.claim_one())
    await jobs.fail(await jobs.claim_one())
    await jobs.fail(await jobs.claim_one(), retry_in=60)
    await jobs.release(await jobs.claim_one(), delay=60)
    cancelled = await jobs.claim_one()
    await storage.cancel([cancelled.id])
    await jobs.claim_one()
    assert await jobs.claim() == []


async def test_a_retried_job_counts_again(storage: Storage, jobs: Driver) -> None:
    await storage.declare_queues([QueueSettings("mail", 1)])
    await jobs.fail(await jobs.running(), retry_in=0)
    await jobs.send(priority=-1)
    assert len(await jobs.claim()) == 1


async def test_queues_without_a_limit_are_not_held_up(storage: Storage, jobs: Driver) -> None:
    await storage.declare_queues([QueueSettings("a", 1), QueueSettings("c", None)])
    for name in "aabbcc":
        await jobs.send(name)
    assert sorted(job.name for job in await jobs.claim("a", "b", "c")) == ["a", "b", "b", "c", "c"]


async def test_a_full_queue_gives_its_turn_to_others_of_lower_priority(
    storage: Storage, jobs: Driver
) -> None:
    await storage.declare_queues([QueueSettings("a", 1)])
    for _ in range(3):
        await jobs.send("a", priority=9)
        await jobs.send("b")
    assert [job.name for job in await jobs.claim("a", "b", limit=3)] == ["a", "b", "b"]


async def test_a_lowered_limit_binds_new_claims_only(storage: Storage, jobs: Driver) -> None:
    await storage.declare_queues([QueueSettings("mail", 3)])
    await storage.insert([jobs.new() for _ in range(6)])
    running = await jobs.claim()
    await storage.declare_queues([QueueSettings("mail", 1)])
    assert await jobs.claim() == []
    await jobs.complete(running[0])
    await jobs.complete(running[1])
    assert await jobs.claim() == []
    await jobs.complete(running[2])
    assert len(await jobs.claim()) == 1


async def test_a_raised_or_lifted_limit_admits_more(storage: Storage, jobs: Driver) -> None:
    await storage.insert([jobs.new() for _ in range(6)])
    await storage.declare_queues([QueueSettings("mail", 1)])
    assert len(await jobs.claim()) == 1
    await storage.declare_queues([QueueSettings("mail", 2)])
    assert len(await jobs.claim()) == 1
    await storage.declare_queues([QueueSettings("mail", None)])
    assert len(await jobs.claim()) == 4


async def test_a_deferred_job_takes_no_room(storage: Storage, jobs: Driver) -> None:
    await storage.declare_queues([QueueSettings("mail", 1)])
    await jobs.send(priority=9, delay=60)
    due = await jobs.send()
    assert [job.id for job in await jobs.claim()] == [due]


async def test_settings_are_listed_by_name(storage: Storage) -> None:
    await storage.declare_queues([QueueSettings("b", 2), QueueSettings("a", None)])
    assert await storage.queues() == [QueueSettings("a", None), QueueSettings("b", 2)]


async def test_a_pause_is_noted_with_its_time_and_survives_a_declaration(
    storage: Storage, clock: FrozenClock
) -> None:
    await storage.declare_queues([QueueSettings("mail", 2)])
    await storage.pause_queue("mail", paused=True)
    paused_on = clock.now()
    clock.advance(60)
    await storage.declare_queues([QueueSettings("mail", 5)])
    assert await storage.queues() == [QueueSettings("mail", 5, paused_on)]


async def test_a_pause_of_a_paused_queue_keeps_its_time(storage: Storage, clock: FrozenClock) -> None:
    await storage.pause_queue("mail", paused=True)
    paused_on = clock.now()
    clock.advance(60)
    await storage.pause_queue("mail", paused=True)
    assert await storage.queues() == [QueueSettings("mail", None, paused_on)]


async def test_a_queue_is_paused_before_anything_was_sent_to_it(storage: Storage, jobs: Driver) -> None:
    await storage.pause_queue("mail", paused=True)
    await jobs.send()
    assert await jobs.claim() == []


async def test_running_jobs_of_a_paused_queue_go_on(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await storage.pause_queue("mail", paused=True)
    assert await jobs.complete(job)
    assert (await jobs.look(job.id)).state is RowState.COMPLETED


async def test_a_limit_survives_a_pause(storage: Storage, jobs: Driver) -> None:
    await storage.declare_queues([QueueSettings("mail", 1)])
    await storage.pause_queue("mail", paused=True)
    await storage.pause_queue("mail", paused=False)
    await storage.insert([jobs.new() for _ in range(2)])
    assert len(await jobs.claim()) == 1
