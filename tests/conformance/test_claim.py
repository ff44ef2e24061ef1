"""Claiming: what is due, in which order, and what a claim does to a job."""

from __future__ import annotations

from datetime import timedelta

from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver
from zeke_queue.model import Claimed, QueueCapacity, RowState
from zeke_queue.storage import Storage


async def test_a_claimed_job_is_its_workers(jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.send()
    clock.advance(3)
    assert [job.id for job in await jobs.claim(worker=ANNA)] == [job_id]
    job = await jobs.look(job_id)
    assert (job.state, job.worker, job.attempt, job.retry_count) == (RowState.ACTIVE, ANNA, 1, 0)
    assert (job.started_on, job.completed_on) == (clock.now(), None)


async def test_a_worker_gets_all_it_needs_to_run_the_job(jobs: Driver, clock: FrozenClock) -> None:
    parent = jobs.new_id()
    job_id = await jobs.send(
        data='{"to":"anna"}',
        priority=-2,
        retry_limit=5,
        retry_delay=2,
        retry_backoff=False,
        retry_delay_max=30,
        expire_in=1.5,
        parent=parent,
        meta='{"trace":"t1"}',
    )
    assert await jobs.claim_one() == Claimed(
        id=job_id,
        name="mail",
        data=b'{"to": "anna"}',
        attempt=1,
        priority=-2,
        retry_count=0,
        retry_limit=5,
        retry_delay=2,
        retry_backoff=False,
        retry_delay_max=30,
        expire_in=1.5,
        start_after=clock.now(),
        parent=parent,
        meta=b'{"trace": "t1"}',
    )


async def test_a_claimed_job_is_not_claimed_again(jobs: Driver) -> None:
    await jobs.running()
    assert await jobs.claim(worker=BERT) == []


async def test_two_workers_share_the_jobs_between_them(jobs: Driver) -> None:
    sent = {await jobs.send() for _ in range(5)}
    first = {job.id for job in await jobs.claim(worker=ANNA, limit=3)}
    second = {job.id for job in await jobs.claim(worker=BERT, limit=3)}
    assert (len(first), len(second)) == (3, 2)
    assert first | second == sent


async def test_a_higher_priority_comes_first(jobs: Driver) -> None:
    low, high, middle = [await jobs.send(priority=p) for p in (-1, 10, 3)]
    assert [job.id for job in await jobs.claim()] == [high, middle, low]


async def test_of_one_priority_the_earlier_start_comes_first(jobs: Driver, clock: FrozenClock) -> None:
    late, early = [await jobs.send(delay=seconds) for seconds in (20, 10)]
    clock.advance(30)
    assert [job.id for job in await jobs.claim()] == [early, late]


async def test_of_one_start_the_lower_id_comes_first(storage: Storage, jobs: Driver) -> None:
    first, second, third = jobs.new(), jobs.new(), jobs.new()
    await storage.insert([third])
    await storage.insert([second, first])
    assert [job.id for job in await jobs.claim()] == [first.id, second.id, third.id]


async def test_the_order_holds_over_all_queues_of_one_claim(jobs: Driver) -> None:
    last = await jobs.send("a", priority=1)
    first = await jobs.send("b", priority=3)
    second = await jobs.send("a", priority=2)
    assert [job.id for job in await jobs.claim("a", "b")] == [first, second, last]


async def test_a_limit_takes_the_best_over_all_queues(jobs: Driver) -> None:
    for priority in (1, 5, 3):
        await jobs.send("a", priority=priority)
        await jobs.send("b", priority=priority + 1)
    assert [(job.name, job.priority) for job in await jobs.claim("a", "b", limit=3)] == [
        ("b", 6),
        ("a", 5),
        ("b", 4),
    ]


async def test_a_worker_gets_no_more_of_a_queue_than_it_has_room_for(storage: Storage, jobs: Driver) -> None:
    for _ in range(4):
        await jobs.send("a", priority=9)
        await jobs.send("b")
    claimed = await storage.claim(ANNA, [QueueCapacity("a", 2), QueueCapacity("b", 3)], 100)
    assert [job.name for job in claimed] == ["a", "a", "b", "b", "b"]


async def test_what_one_queue_may_not_have_another_gets(storage: Storage, jobs: Driver) -> None:
    for _ in range(4):
        await jobs.send("a", priority=9)
        await jobs.send("b")
    claimed = await storage.claim(ANNA, [QueueCapacity("a", 1), QueueCapacity("b", 100)], 3)
    assert [job.name for job in claimed] == ["a", "b", "b"]


async def test_other_queues_are_left_alone(jobs: Driver) -> None:
    await jobs.send("mail")
    await jobs.send("mails")
    assert [job.name for job in await jobs.claim("mail", "nothing-here")] == ["mail"]


async def test_nothing_due_is_an_empty_answer(jobs: Driver) -> None:
    assert await jobs.claim("never-heard-of") == []


async def test_a_job_is_not_claimed_before_its_start(jobs: Driver, clock: FrozenClock) -> None:
    job_id = await jobs.send(delay=60)
    clock.advance(59.999999)
    assert await jobs.claim() == []
    clock.advance(0.000001)
    assert [job.id for job in await jobs.claim()] == [job_id]


async def test_a_deferred_job_does_not_hide_due_ones_of_a_lower_priority(jobs: Driver) -> None:
    await jobs.send(priority=10, delay=60)
    due = await jobs.send(priority=1)
    assert [job.id for job in await jobs.claim()] == [due]


async def test_a_job_that_becomes_due_takes_its_place_by_priority(jobs: Driver, clock: FrozenClock) -> None:
    high = await jobs.send(priority=10, delay=60)
    low = await jobs.send(priority=1)
    assert await jobs.claim(limit=1) != []
    later = await jobs.send(priority=1)
    clock.advance(60)
    assert [job.id for job in await jobs.claim()] == [high, later]
    assert (await jobs.look(low)).state is RowState.ACTIVE


async def test_a_job_sent_later_with_an_earlier_start_comes_first(jobs: Driver, clock: FrozenClock) -> None:
    now = await jobs.send()
    past = await jobs.send(start_at=clock.now() - timedelta(hours=1))
    assert [job.id for job in await jobs.claim()] == [past, now]


async def test_a_clock_that_was_set_back_makes_jobs_wait_again(jobs: Driver, clock: FrozenClock) -> None:
    first = await jobs.send(delay=10)
    second = await jobs.send(delay=10)
    clock.advance(10)
    assert [job.id for job in await jobs.claim(limit=1)] == [first]
    clock.advance(-5)
    assert await jobs.claim() == []
    clock.advance(5)
    assert [job.id for job in await jobs.claim()] == [second]


async def test_a_retry_counts_when_it_is_claimed(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    await jobs.fail(job, retry_in=0)
    assert (await jobs.look(job.id)).retry_count == 0
    again = await jobs.claim_one()
    assert (again.retry_count, again.attempt) == (1, 2)


async def test_a_new_attempt_starts_its_own_time(jobs: Driver, clock: FrozenClock) -> None:
    job = await jobs.running()
    await jobs.fail(job, retry_in=30)
    clock.advance(45)
    await jobs.claim_one(worker=BERT)
    stored = await jobs.look(job.id)
    assert (stored.started_on, stored.worker) == (clock.now(), BERT)


async def test_a_cancelled_job_is_not_claimed(storage: Storage, jobs: Driver) -> None:
    await storage.cancel([await jobs.send()])
    assert await jobs.claim() == []


async def test_a_paused_queue_gives_nothing_and_goes_on_where_it_was(storage: Storage, jobs: Driver) -> None:
    job_id = await jobs.send()
    other = await jobs.send("other")
    await storage.pause_queue("mail", paused=True)
    assert [job.id for job in await jobs.claim("mail", "other")] == [other]
    await storage.pause_queue("mail", paused=False)
    assert [job.id for job in await jobs.claim()] == [job_id]


async def test_a_backlog_is_drained_whole_and_in_order(storage: Storage, jobs: Driver) -> None:
    sent = [jobs.new(priority=n % 7) for n in range(300)]
    await storage.insert(sent)
    drained: list[Claimed] = []
    while batch := await jobs.claim(limit=37):
        drained += batch
    assert [job.id for job in drained] == [job.id for job in sorted(sent, key=lambda j: (-j.priority, j.id))]
