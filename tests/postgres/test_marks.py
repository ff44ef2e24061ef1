"""Claims that begin where the last one did: which jobs they may skip, and for how long.

Time is the test's, so that "within a second" is a statement about the code and not about the machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import chosen
from tests.postgres.many_jobs import BERT, Connection, Sender
from tests.postgres.opening import Opened, opened
from zeke_queue.model import NewJob, QueueCapacity, QueueSettings, Released
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.entropy import SeededEntropy

TRUSTED = 1.0


@pytest.fixture
def clock() -> FrozenClock:
    """The clock by which marks are trusted."""
    return FrozenClock()


@pytest.fixture
async def parts(dsn: str, clock: FrozenClock) -> AsyncIterator[Opened]:
    async with opened(dsn, max_size=4, clock=clock) as parts:
        yield parts


@pytest.fixture
def storage(parts: Opened) -> PostgresStorage:
    return parts.storage


@pytest.fixture
async def load(jobs: Sender) -> None:
    """A backlog, of which the first claims have left marks."""
    await jobs.send(200)
    assert len(await jobs.claim(10)) == 10
    assert len(await jobs.claim(10)) == 10


pytestmark = pytest.mark.usefixtures("load")


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)  # noqa: TID251 - the server's clock rules here


async def sent_elsewhere(parts: Opened, jobs: Sender, clock: FrozenClock) -> UUID:
    """Send an early job from another process: the storage that claims does not hear of it."""
    early = jobs.new(start_at=an_hour_ago())
    await parts.another(clock).insert([early])
    return early.id


async def test_late_commit_is_found_within_a_second_of_steady_load(
    parts: Opened, storage: PostgresStorage, jobs: Sender, clock: FrozenClock
) -> None:
    async with storage.transaction() as transaction:
        (late,) = await jobs.send(within=transaction)
        await jobs.send(100)
        # Ten seconds in which everything that was sent before is worked off, and the marks pass the late one.
        for _ in range(100):
            clock.advance(0.1)
            await jobs.send(2)
            assert len(await jobs.claim(5, worker=BERT)) > 0
        await jobs.send(50)
        await jobs.claim(5)
        # Another process claims, which hears nothing of the commit.
        other = parts.another(clock)
        await jobs.claim(5, storage=other)
    await jobs.claim(5, storage=other)
    clock.advance(TRUSTED)
    assert late in {job.id for job in await jobs.claim(5, storage=other)}


async def test_mark_is_trusted_for_a_second_only(parts: Opened, jobs: Sender, clock: FrozenClock) -> None:
    early = await sent_elsewhere(parts, jobs, clock)
    assert early not in {job.id for job in await jobs.claim(5)}
    clock.advance(TRUSTED)
    assert (await jobs.claim(5))[0].id == early


async def test_job_with_a_past_start_of_the_same_process_is_found_at_once(jobs: Sender) -> None:
    (early,) = await jobs.send(start_at=an_hour_ago())
    assert (await jobs.claim(5))[0].id == early


async def test_commit_of_the_same_process_is_found_at_once(storage: PostgresStorage, jobs: Sender) -> None:
    async with storage.transaction() as transaction:
        (late,) = await jobs.send(within=transaction)
        await jobs.send(40)
        while (await jobs.claim(20))[-1].id < late:
            pass
    assert late in {job.id for job in await jobs.claim(5)}


async def test_higher_priority_is_claimed_first_with_any_marks(jobs: Sender) -> None:
    (urgent,) = await jobs.send(priority=5)
    assert (await jobs.claim(5))[0].id == urgent


async def test_priority_between_two_marked_ones_is_found(jobs: Sender) -> None:
    await jobs.send(10, priority=9)
    assert {job.priority for job in await jobs.claim(20)} == {9, 0}
    (between,) = await jobs.send(priority=4)
    assert (await jobs.claim(5))[0].id == between


async def test_lower_priority_is_claimed_after_the_marked_ones(jobs: Sender) -> None:
    (last,) = await jobs.send(priority=-1)
    assert last in {job.id for job in await jobs.claim(300)}


async def test_released_job_is_claimed_after_earlier_jobs(storage: PostgresStorage, jobs: Sender) -> None:
    (job,) = await jobs.claim(1)
    await storage.settle(released=[Released(job.id, job.attempt)])
    rest = [claimed.id for claimed in await jobs.claim(300)]
    assert rest[-1] == job.id


async def test_short_claim_searches_below_the_marks(parts: Opened, jobs: Sender, clock: FrozenClock) -> None:
    early = await sent_elsewhere(parts, jobs, clock)
    claimed = [job.id for job in await jobs.claim(1000)]
    assert claimed[0] == early
    assert len(claimed) == 181


async def test_search_below_the_marks_has_what_is_left_of_the_budget(
    parts: Opened, storage: PostgresStorage, jobs: Sender, clock: FrozenClock
) -> None:
    await jobs.send(data='"1234"')
    early = [jobs.new(start_at=an_hour_ago(), data='"1234"') for _ in range(3)]
    await parts.another(clock).insert(early)
    claimed = await storage.claim(BERT, [QueueCapacity("mail", 1000)], 1000, 13)
    assert sum(job.payload_bytes for job in claimed) == 12


async def test_marks_of_one_queue_are_not_renewed_by_claims_of_another(
    parts: Opened, jobs: Sender, clock: FrozenClock
) -> None:
    early = await sent_elsewhere(parts, jobs, clock)
    await jobs.send(50, "post")
    for _ in range(4):
        clock.advance(TRUSTED / 3)
        await jobs.claim(2, "post")
    assert (await jobs.claim(5))[0].id == early


async def test_row_that_was_locked_between_claimed_ones_is_found_by_the_next_claim(
    jobs: Sender, sql: Connection
) -> None:
    order = [job.id for job in await jobs.claim(5)]
    assert order == sorted(order)
    first, between, last = await jobs.send(3, priority=1)
    with sql.transaction():
        sql.execute("select from pgboss.job where id = %s for update", [between])
        assert [job.id for job in await jobs.claim(2)] == [first, last]
    assert (await jobs.claim(2))[0].id == between


async def test_claims_with_marks_take_what_their_definition_says(
    storage: PostgresStorage, jobs: Sender, clock: FrozenClock
) -> None:
    for seed in range(10):
        pick = SeededEntropy(seed).stream("marks").choice
        names = [f"{seed}-{letter}" for letter in pick(["a", "ab", "abcd"])]
        limits = {name: pick([None, None, 4]) for name in names}
        await storage.declare([QueueSettings(*one) for one in limits.items()], [])
        due: dict[UUID, NewJob] = {}
        for _ in range(8):
            sent = [
                jobs.new(pick(names), priority=pick(range(4)), data=pick(["1", '"1234"']))
                for _ in range(pick([0, 1, 6]))
            ]
            await storage.insert(sent)
            due |= {job.id: job for job in sent}
            clock.advance(pick([0.0, 0.4]))
            free = {name: pick([1, 100, 100]) for name in names}
            room = {name: min(free[name], 100 if (most := limits[name]) is None else most) for name in names}
            limit, bytes_max = pick([1, 2, 3, 100]), pick([None, None, 7])
            capacity = [QueueCapacity(*one) for one in free.items()]
            expected = [job.id for job in chosen(due.values(), room, limit, bytes_max)]
            claimed = await storage.claim(BERT, capacity, limit, bytes_max)
            assert [job.id for job in claimed] == expected, f"seed {seed}"
            for job in claimed:
                del due[job.id]
                if (most := limits[job.name]) is not None:
                    limits[job.name] = most - 1
