"""Rows of limited queues that another session has locked: they affect only their own queue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.postgres.many_jobs import ANNA, BERT, Connection, Sender
from zeke_queue.core.contended_queues import REPORT_AFTER, RETRY_FIRST
from zeke_queue.model import QueueCapacity, QueueSettings
from zeke_queue.storage.postgres import PostgresStorage, store

LOCK = "select from pgboss.queue where name = any(%s) for update"
LOCKED = "select count(*) from pgboss.queue where xmax <> '0'"


@pytest.fixture
def holder(dsn: str) -> Iterator[Connection]:
    """A session that locks rows and ends its transaction when the test says so."""
    with psycopg.connect(dsn, application_name="report.py") as connection:
        yield connection


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def timed(
    dsn: str, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresStorage]:
    """A storage whose pauses end when the test says so; its statements use the server's time."""
    monkeypatch.setattr(store, "SystemClock", lambda: clock)
    async with PostgresStorage.open(dsn) as opened:
        yield opened


async def test_locked_row_of_a_limited_queue_holds_up_no_other_queue(
    timed: PostgresStorage, jobs: Sender, holder: Connection, clock: FrozenClock
) -> None:
    await timed.declare([QueueSettings("mail", 2), QueueSettings("post", 2)], [])
    for name in ("mail", "post", "free"):
        await jobs.send(1, name)
    holder.execute(LOCK, [["mail"]])
    claimed = await soon(jobs.claim(10, "mail", "post", "free", storage=timed))
    assert sorted(job.name for job in claimed) == ["free", "post"]
    holder.rollback()
    assert await jobs.claim(10, "mail", "post", "free", storage=timed) == [], "its pause is not over"
    clock.advance(RETRY_FIRST)
    assert [job.name for job in await jobs.claim(10, "mail", "post", "free", storage=timed)] == ["mail"]


async def test_empty_claim_says_if_a_queue_was_left_out(
    timed: PostgresStorage, jobs: Sender, holder: Connection, clock: FrozenClock
) -> None:
    async def left_out(*names: str) -> bool:
        claimed = await timed.claim(ANNA, [QueueCapacity(name, 9) for name in names], 9)
        assert claimed == []
        return claimed.left_out

    await timed.declare([QueueSettings("mail", 2)], [])
    await jobs.send(1)
    holder.execute(LOCK, [["mail"]])
    assert await left_out("mail"), "it was locked"
    assert await left_out("mail", "free"), "its pause is not over"
    assert not await left_out("free"), "it is not asked"
    holder.execute("update pgboss.job set startafter = now() + interval '1 hour'")
    holder.commit()
    clock.advance(RETRY_FIRST)
    assert not await left_out("mail"), "nothing in it is due"


async def test_locked_queue_leaves_its_place_to_the_next_one(
    timed: PostgresStorage, jobs: Sender, holder: Connection
) -> None:
    await timed.declare([QueueSettings(name, 1) for name in "abc"], [])
    for name in "abc":
        await jobs.send(1, name)
    holder.execute(LOCK, [["a"]])
    assert [job.name for job in await jobs.claim(2, *"abc", storage=timed)] == ["b", "c"]


async def test_sleeping_worker_is_woken_to_try_a_locked_queue_again(
    storage: PostgresStorage, jobs: Sender, holder: Connection
) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await jobs.send()
    holder.execute(LOCK, [["mail"]])
    for _ in range(5):
        assert await jobs.claim() == []
        assert await soon(storage.wait_for_jobs(["mail"], 3600.0))
    holder.rollback()
    assert len(await jobs.claim()) == 1


async def test_claim_locks_no_more_queues_than_it_wants_jobs(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    names = [f"q{number}" for number in range(20)]
    await storage.declare([QueueSettings(name, 1) for name in names], [])
    for name in names:
        await jobs.send(2, name)
    await jobs.send(1, "q7", priority=1)
    assert sql.execute(LOCKED).fetchone() == (0,)
    assert [job.name for job in await jobs.claim(3, *names)] == ["q7", "q0", "q1"]
    assert sql.execute(LOCKED).fetchone() == (3,)


async def test_limit_counts_what_other_claims_took_while_the_queue_was_locked(
    storage: PostgresStorage, timed: PostgresStorage, jobs: Sender, holder: Connection, clock: FrozenClock
) -> None:
    await storage.declare([QueueSettings("mail", 3)], [])
    await jobs.send(9)
    holder.execute(LOCK, [["mail"]])
    assert await jobs.claim(10, worker=BERT, storage=timed) == []
    holder.rollback()
    assert len(await storage.claim(ANNA, [QueueCapacity("mail", 2)], 2)) == 2
    clock.advance(RETRY_FIRST)
    assert len(await jobs.claim(10, worker=BERT, storage=timed)) == 1


async def test_queue_that_stays_locked_is_logged_with_the_session(
    timed: PostgresStorage,
    jobs: Sender,
    holder: Connection,
    clock: FrozenClock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await timed.declare([QueueSettings("mail", 1)], [])
    await jobs.send()
    holder.execute(LOCK, [["mail"]])
    for _ in range(int(REPORT_AFTER) + 2):
        assert await jobs.claim(storage=timed) == []
        clock.advance(1.0)
    output = "".join(capsys.readouterr())
    assert output.count("queue_locked") == 1
    assert str(holder.info.backend_pid) in output
    assert "report.py" in output


async def test_queue_that_several_sessions_have_locked_is_logged_too(
    dsn: str, timed: PostgresStorage, jobs: Sender, clock: FrozenClock, capsys: pytest.CaptureFixture[str]
) -> None:
    await timed.declare([QueueSettings("mail", 1)], [])
    await jobs.send()
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        for connection in (one, other):
            connection.execute("select from pgboss.queue for share")
        for _ in range(int(REPORT_AFTER) + 2):
            assert await jobs.claim(storage=timed) == []
            clock.advance(1.0)
    output = "".join(capsys.readouterr())
    assert output.count("queue_locked") == 1
