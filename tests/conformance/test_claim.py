"""Claiming: what is due, in which order, and what a claim does to a job."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver, chosen
from tests.conformance.planting import Plant
from zeke_queue.model import Claimed, QueueCapacity, QueueSettings, RowState
from zeke_queue.storage import Storage
from zeke_queue.system.entropy import SeededEntropy


async def test_claimed_job_belongs_to_its_worker(jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.send()
    clock.advance(3)
    assert [job.id for job in await jobs.claim(worker=ANNA)] == [job_id]
    job = await jobs.look(job_id)
    assert (job.row_state, job.worker, job.attempt, job.retry_count) == (RowState.ACTIVE, ANNA, 1, 0)
    assert (job.started_on, job.completed_on) == (clock.now(), None)


async def test_claim_returns_all_that_a_run_needs(jobs: Driver, clock: FrozenClock) -> None:
    as_sent: dict[str, Any] = {
        "priority": -2,
        "retry_limit": 5,
        "retry_delay": 2,
        "retry_backoff": False,
        "retry_delay_max": 30,
        "expire_in": 1.5,
        "parent": jobs.new_id(),
    }
    job_id = await jobs.send(data='{"to":"anna"}', meta='{"trace":"t1"}', **as_sent)
    assert await jobs.claim_one() == Claimed(
        id=job_id,
        name="mail",
        data=b'{"to": "anna"}',
        meta=b'{"trace": "t1"}',
        attempt=1,
        retry_count=0,
        start_after=clock.now(),
        **as_sent,
    )


async def test_two_workers_claim_different_jobs(jobs: Driver) -> None:
    sent = {await jobs.send() for _ in range(5)}
    first = {job.id for job in await jobs.claim(worker=ANNA, limit=3)}
    second = {job.id for job in await jobs.claim(worker=BERT, limit=3)}
    assert (len(first), len(second)) == (3, 2)
    assert first | second == sent


async def test_higher_priority_is_claimed_first(jobs: Driver) -> None:
    low, high, middle = [await jobs.send(priority=p) for p in (-1, 10, 3)]
    assert [job.id for job in await jobs.claim()] == [high, middle, low]


async def test_earlier_start_is_claimed_first_within_a_priority(jobs: Driver, clock: FrozenClock) -> None:
    late, early = [await jobs.send(delay=seconds) for seconds in (20, 10)]
    clock.advance(30)
    assert [job.id for job in await jobs.claim()] == [early, late]


async def test_lower_id_is_claimed_first_at_equal_starts(storage: Storage, jobs: Driver) -> None:
    first, second, third = jobs.new(), jobs.new(), jobs.new()
    await storage.insert([third])
    await storage.insert([second, first])
    assert [job.id for job in await jobs.claim()] == [first.id, second.id, third.id]


async def test_claim_orders_jobs_across_queues(jobs: Driver) -> None:
    last = await jobs.send("a", priority=1)
    first = await jobs.send("b", priority=3)
    second = await jobs.send("a", priority=2)
    assert [job.id for job in await jobs.claim("a", "b")] == [first, second, last]


async def test_claim_limit_applies_across_queues(jobs: Driver) -> None:
    for priority in (1, 5, 3):
        await jobs.send("a", priority=priority)
        await jobs.send("b", priority=priority + 1)
    expected = [("b", 6), ("a", 5), ("b", 4)]
    assert [(job.name, job.priority) for job in await jobs.claim("a", "b", limit=3)] == expected


async def test_claim_respects_the_capacity_of_each_queue(storage: Storage, jobs: Driver) -> None:
    for _ in range(4):
        await jobs.send("a", priority=9)
        await jobs.send("b")
    claimed = await storage.claim(ANNA, [QueueCapacity("a", 2), QueueCapacity("b", 3)], 100)
    assert [job.name for job in claimed] == ["a", "a", "b", "b", "b"]


async def test_claim_fills_from_other_queues_when_one_is_at_capacity(storage: Storage, jobs: Driver) -> None:
    for _ in range(4):
        await jobs.send("a", priority=9)
        await jobs.send("b")
    claimed = await storage.claim(ANNA, [QueueCapacity("a", 1), QueueCapacity("b", 100)], 3)
    assert [job.name for job in claimed] == ["a", "b", "b"]


async def test_claim_ignores_other_queues(jobs: Driver) -> None:
    await jobs.send("mail")
    await jobs.send("mails")
    assert [job.name for job in await jobs.claim("mail", "nothing-here")] == ["mail"]


async def test_job_is_not_claimed_before_its_start(jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.send(delay=60)
    clock.advance(59.999999)
    assert await jobs.claim() == []
    clock.advance(0.000001)
    assert [job.id for job in await jobs.claim()] == [job_id]


async def test_deferred_job_does_not_hide_due_jobs_of_lower_priority(jobs: Driver) -> None:
    await jobs.send(priority=10, delay=60)
    due = await jobs.send(priority=1)
    assert [job.id for job in await jobs.claim()] == [due]


async def test_job_that_becomes_due_is_claimed_by_priority(jobs: Driver, clock: FrozenClock) -> None:
    high = await jobs.send(priority=10, delay=60)
    low = await jobs.send(priority=1)
    assert await jobs.claim(limit=1) != []
    later = await jobs.send(priority=1)
    clock.advance(60)
    assert [job.id for job in await jobs.claim()] == [high, later]
    assert (await jobs.look(low)).row_state is RowState.ACTIVE


async def test_later_sent_job_with_an_earlier_start_is_claimed_first(jobs: Driver) -> None:
    now = await jobs.send()
    past = await jobs.send(start_at=jobs.clock.now() - timedelta(hours=1))
    assert [job.id for job in await jobs.claim()] == [past, now]


async def test_clock_set_back_defers_jobs_again(jobs: Driver, clock: FrozenClock) -> None:
    first = await jobs.send(delay=10)
    second = await jobs.send(delay=10)
    clock.advance(10)
    assert [job.id for job in await jobs.claim(limit=1)] == [first]
    clock.advance(-5)
    assert await jobs.claim() == []
    clock.advance(5)
    assert [job.id for job in await jobs.claim()] == [second]


async def test_retry_is_counted_when_claimed(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    await jobs.fail(job, retry_in=0)
    assert (await jobs.look(job.id)).retry_count == 0
    again = await jobs.claim_one()
    assert (again.retry_count, again.attempt) == (1, 2)


async def test_new_attempt_has_its_own_start(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    await jobs.fail(job, retry_in=30)
    clock.advance(45)
    await jobs.claim_one(worker=BERT)
    stored = await jobs.look(job.id)
    assert (stored.started_on, stored.worker) == (clock.now(), BERT)


async def test_cancelled_job_is_not_claimed(storage: Storage, jobs: Driver) -> None:
    await storage.cancel([await jobs.send()])
    assert await jobs.claim() == []


async def test_paused_queue_is_not_claimed_until_resumed(storage: Storage, jobs: Driver) -> None:
    job_id = await jobs.send()
    other = await jobs.send("other")
    await storage.pause_queue("mail", paused=True)
    assert [job.id for job in await jobs.claim("mail", "other")] == [other]
    await storage.pause_queue("mail", paused=False)
    assert [job.id for job in await jobs.claim()] == [job_id]


async def test_backlog_is_claimed_completely_and_in_order(storage: Storage, jobs: Driver) -> None:
    sent = [jobs.new(priority=n % 7) for n in range(300)]
    await storage.insert(sent)
    drained: list[Claimed] = []
    while batch := await jobs.claim(limit=37):
        drained += batch
    assert [job.id for job in drained] == [job.id for job in sorted(sent, key=lambda j: (-j.priority, j.id))]


async def test_counters_at_the_integer_maximum_stop_no_claim(jobs: Driver, plant: Plant) -> None:
    odd, plain = await jobs.look(await jobs.send()), await jobs.send()
    last = 2**31 - 1
    await plant(replace(odd, row_state=RowState.RETRY, attempt=last, retry_count=last))
    claimed = {job.id: (job.attempt, job.retry_count) for job in await jobs.claim()}
    assert claimed == {odd.id: (1, last), plain: (1, 0)}


async def test_retry_at_the_integer_maximum_of_retries_keeps_the_limit(jobs: Driver, plant: Plant) -> None:
    last = 2**31 - 1
    odd = await jobs.look(await jobs.ended(RowState.FAILED))
    await plant(replace(odd, retry_count=last))
    assert await jobs.storage.retry([odd.id]) == {odd.id}
    assert (await jobs.look(odd.id)).retry_limit == last


async def test_claims_take_what_their_definition_says(storage: Storage, jobs: Driver) -> None:
    """Few values, so that jobs tie, queues are full, and jobs that are due later lie between others."""
    for seed in range(80):
        pick = SeededEntropy(seed).stream("claims").choice
        names = [f"{seed}-{letter}" for letter in pick(["a", "a", "abcd"])]
        limits = {name: pick([None, 1, 1, 3]) for name in names}
        await storage.declare([QueueSettings(*one) for one in limits.items()], [])
        sent = [
            jobs.new(pick(names), priority=pick(range(5)), delay=pick([0, 60]), data=pick(["1", '"1234"']))
            for _ in range(pick([4, 8, 12]))
        ]
        await storage.insert(sent)
        begun = await jobs.claim(*names, worker=BERT, limit=pick([1, 3]), free=1)
        running = Counter(job.name for job in begun)
        free = {name: pick([0, 1, 100, 100]) for name in names}
        room = {name: min(free[name], (limits[name] or 100) - running[name]) for name in names}
        limit, bytes_max = pick([1, 2, 3, 100]), pick([None, None, 0, 7])
        due = [job for job in sent if not job.delay and job.id not in {one.id for one in begun}]
        expected = [job.id for job in chosen(due, room, limit, bytes_max)]
        claimed = await storage.claim(ANNA, [QueueCapacity(*one) for one in free.items()], limit, bytes_max)
        assert [job.id for job in claimed] == expected, f"seed {seed}"
