"""Concurrency limits and pauses: how many jobs of a queue may run at once, over all workers."""

from __future__ import annotations

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver
from zeke_queue.model import QueueSettings, RowState
from zeke_queue.storage import Storage


async def test_concurrency_limit_applies_across_workers(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 3)], [])
    await storage.insert([jobs.new() for _ in range(10)])
    assert len(await jobs.claim(worker=ANNA, limit=2)) == 2
    assert len(await jobs.claim(worker=BERT)) == 1
    assert await jobs.claim(worker=ANNA) == []


def shared(limit: int, *names: str) -> list[QueueSettings]:
    return [QueueSettings(name, limit, limited_with=names) for name in names]


async def test_queues_share_a_limit_in_claim_order(storage: Storage, jobs: Driver) -> None:
    await storage.declare([*shared(3, "a", "b"), QueueSettings("c", None)], [])
    for priority, name in enumerate("cababab"):
        await jobs.send(name, priority=priority)
    first = await jobs.claim("b", "c", limit=2, worker=ANNA)
    assert [job.priority for job in first] == [6, 4]
    second = await jobs.claim("a", "b", "c", worker=BERT)
    assert [job.priority for job in second] == [5, 0]
    assert await jobs.claim("a", "b") == []
    await jobs.complete(first[1])
    assert [job.priority for job in await jobs.claim("a", "b")] == [3]


async def test_queues_of_one_limit_take_the_place_of_no_other_queue(storage: Storage, jobs: Driver) -> None:
    await storage.declare([*shared(1, "a", "b", "e"), QueueSettings("c", 5)], [])
    for name, priority in (("a", 5), ("b", 4), ("e", 4), ("c", 3), ("c", 3), ("d", 0), ("d", 0)):
        await jobs.send(name, priority=priority)
    assert [job.name for job in await jobs.claim("a", "b", "c", "d", "e", limit=3)] == ["a", "c", "c"]


async def test_limit_that_an_earlier_version_divided_is_that_of_the_first_queue(
    storage: Storage, jobs: Driver
) -> None:
    limits = {"a": 3, "b": 1}
    await storage.declare([QueueSettings(name, n, limited_with=("a", "b")) for name, n in limits.items()], [])
    await storage.insert([jobs.new(name) for name in "abbb"])
    assert [job.name for job in await jobs.claim("a", limit=1)] == ["a"]
    assert len(await jobs.claim("a", "b")) == 2


async def test_any_of_the_queues_may_use_the_whole_shared_limit(storage: Storage, jobs: Driver) -> None:
    await storage.declare(shared(2, "a", "b"), [])
    await storage.insert([jobs.new("b") for _ in range(3)])
    assert len(await jobs.claim("a", "b")) == 2
    await storage.declare([QueueSettings("a", 2), QueueSettings("b", 2)], [])
    await jobs.send("a")
    assert [job.name for job in await jobs.claim("a", "b")] == ["a"]


async def test_shared_limit_outlives_the_row_of_its_first_queue(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("b", 1, limited_with=("a", "b"))], [])
    await storage.insert([jobs.new("b") for _ in range(2)])
    assert len(await jobs.claim("a", "b")) == 1


async def test_claim_takes_the_first_jobs_up_to_the_limit(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 2)], [])
    for priority in (1, 3, 2):
        await jobs.send(priority=priority)
    assert [job.priority for job in await jobs.claim()] == [3, 2]


async def test_every_end_of_an_attempt_frees_its_slot(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await storage.insert([jobs.new() for _ in range(6)])
    await jobs.complete(await jobs.claim_one())
    await jobs.fail(await jobs.claim_one())
    await jobs.fail(await jobs.claim_one(), retry_in=60)
    await jobs.release(await jobs.claim_one(), delay=60)
    cancelled = await jobs.claim_one()
    await storage.cancel([cancelled.id])
    await jobs.claim_one()
    assert await jobs.claim() == []


async def test_retried_job_counts_towards_the_limit_again(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await jobs.fail(await jobs.running(), retry_in=0)
    await jobs.send(priority=-1)
    assert len(await jobs.claim()) == 1


async def test_unlimited_queues_are_not_affected_by_a_full_queue(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("a", 1), QueueSettings("c", None)], [])
    for name in "aabbcc":
        await jobs.send(name)
    assert sorted(job.name for job in await jobs.claim("a", "b", "c")) == ["a", "b", "b", "c", "c"]


async def test_full_queue_does_not_block_lower_priorities_of_other_queues(jobs: Driver) -> None:
    await jobs.storage.declare([QueueSettings("a", 1)], [])
    for _ in range(3):
        await jobs.send("a", priority=9)
        await jobs.send("b")
    assert [job.name for job in await jobs.claim("a", "b", limit=3)] == ["a", "b", "b"]


async def test_lowered_limit_applies_to_new_claims_only(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 3)], [])
    await storage.insert([jobs.new() for _ in range(6)])
    running = await jobs.claim()
    await storage.declare([QueueSettings("mail", 1)], [])
    assert await jobs.claim() == []
    await jobs.complete(running[0])
    await jobs.complete(running[1])
    assert await jobs.claim() == []
    await jobs.complete(running[2])
    assert len(await jobs.claim()) == 1


async def test_raised_or_removed_limit_admits_more_jobs(storage: Storage, jobs: Driver) -> None:
    await storage.insert([jobs.new() for _ in range(6)])
    await storage.declare([QueueSettings("mail", 1)], [])
    assert len(await jobs.claim()) == 1
    await storage.declare([QueueSettings("mail", 2)], [])
    assert len(await jobs.claim()) == 1
    await storage.declare([QueueSettings("mail", None)], [])
    assert len(await jobs.claim()) == 4


async def test_deferred_job_uses_no_slot(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await jobs.send(priority=9, delay=60)
    due = await jobs.send()
    assert [job.id for job in await jobs.claim()] == [due]


async def test_settings_are_listed_by_name(storage: Storage) -> None:
    await storage.declare([QueueSettings("b", 2), QueueSettings("a", None)], [])
    assert await storage.queues() == [QueueSettings("a", None), QueueSettings("b", 2)]


async def test_pause_and_its_time_survive_a_declaration(storage: Storage, clock: FrozenClock) -> None:
    await storage.declare([QueueSettings("mail", 2)], [])
    await storage.pause_queue("mail", paused=True)
    paused_on = clock.now()
    clock.advance(60)
    await storage.declare([QueueSettings("mail", 5)], [])
    assert await storage.queues() == [QueueSettings("mail", 5, paused_on)]


async def test_pausing_a_paused_queue_keeps_the_first_time(storage: Storage, clock: FrozenClock) -> None:
    await storage.pause_queue("mail", paused=True)
    paused_on = clock.now()
    clock.advance(60)
    await storage.pause_queue("mail", paused=True)
    assert await storage.queues() == [QueueSettings("mail", None, paused_on)]


async def test_queue_without_jobs_can_be_paused(storage: Storage, jobs: Driver) -> None:
    await storage.pause_queue("mail", paused=True)
    await jobs.send()
    assert await jobs.claim() == []


async def test_running_jobs_of_a_paused_queue_continue(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await storage.pause_queue("mail", paused=True)
    assert await jobs.complete(job)
    assert (await jobs.look(job.id)).row_state is RowState.COMPLETED


async def test_limit_survives_a_pause(storage: Storage, jobs: Driver) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await storage.pause_queue("mail", paused=True)
    await storage.pause_queue("mail", paused=False)
    await storage.insert([jobs.new() for _ in range(2)])
    assert len(await jobs.claim()) == 1
