"""Concurrency limits between processes: who sets them, whom they bind, and their cost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.postgres.many_jobs import ANNA, BERT, Connection, Sender
from zeke_queue.model import QueueCapacity, QueueSettings
from zeke_queue.storage.postgres import PostgresStorage


@pytest.fixture
async def elsewhere(dsn: str) -> AsyncIterator[PostgresStorage]:
    async with PostgresStorage.open(dsn) as opened:
        yield opened


async def test_limit_set_by_another_process_holds_beside_a_backlog_elsewhere(
    storage: PostgresStorage, jobs: Sender, elsewhere: PostgresStorage
) -> None:
    await jobs.send(10)
    await jobs.send(500, "post")
    assert len(await jobs.claim(2)) == 2
    await elsewhere.declare([QueueSettings("mail", 2)], [])
    claimed = await storage.claim(ANNA, [QueueCapacity("mail", 100), QueueCapacity("post", 100)], 100)
    assert {job.name for job in claimed} == {"post"}


async def test_claim_that_learns_of_a_limit_brings_the_jobs_within_it(
    jobs: Sender, elsewhere: PostgresStorage
) -> None:
    assert await jobs.claim(2) == []
    await elsewhere.declare([QueueSettings("mail", 2)], [])
    await jobs.send(10)
    assert len(await jobs.claim(5)) == 2


async def test_limit_removed_by_another_process_does_not_apply(
    storage: PostgresStorage, jobs: Sender, elsewhere: PostgresStorage
) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await jobs.send(10)
    assert len(await jobs.claim(10)) == 1
    await elsewhere.declare([QueueSettings("mail", None)], [])
    assert len(await jobs.claim(10)) == 9


async def test_jobs_run_by_pgboss_count_towards_the_limit(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await storage.declare([QueueSettings("mail", 3)], [])
    await jobs.send(10)
    sql.execute(
        "update pgboss.job set state = 'active', startedon = now()"
        " where id in (select id from pgboss.job limit 2)"
    )
    assert len(await jobs.claim(10)) == 1


async def test_empty_claim_writes_nothing(storage: PostgresStorage, jobs: Sender, sql: Connection) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    touched = "select xmin::text, xmax::text from pgboss.queue"
    await jobs.send(3, delay=60)
    before = sql.execute(touched).fetchall()
    assert await jobs.claim(10) == [], "nothing is due"
    assert sql.execute(touched).fetchall() == before
    await jobs.send(3)
    await jobs.claim(1, worker=BERT)
    before = sql.execute(touched).fetchall()
    assert await jobs.claim(10) == [], "there is no room"
    assert sql.execute(touched).fetchall() == before
