"""A statement that the server interrupts is not at fault: a worker repeats it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cases import check_each_async
from zeke_queue.core.timeouts import LOCKS_TRIED
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import Released, Schedule, Settled, Suspensions, Waiting
from zeke_queue.storage.postgres import PostgresStorage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.postgres.many_jobs import Connection, Sender


CANCEL_WHO_WAITS = (
    "select pg_cancel_backend(pid) from pg_stat_activity"
    " where datname = current_database() and wait_event_type = 'Lock'"
)


COMMIT_WAITS: LiteralString = """
    create function wait() returns trigger language plpgsql as $$ begin
        if current_setting('lock_timeout')::interval < interval '1 second' then
            raise 'canceling statement due to lock timeout' using errcode = 'lock_not_available';
        end if;
        return null;
    end $$;
    create constraint trigger wait after insert or update on pgboss.job deferrable initially deferred
    for each row execute function wait();
"""
"""Cancels the commit of a change of jobs as a lock would that another session has for a second."""

LEAST_WAITS: LiteralString = """
    create sequence public.least;
    create function count_least() returns trigger language plpgsql as $$ begin
        if current_setting('lock_timeout')::interval <= interval '1 millisecond' then
            perform nextval('public.least');
        end if;
        return new;
    end $$;
    create trigger count_least before update on pgboss.job for each row when (new.state = 'created')
    execute function count_least();
"""
"""Counts the tries to put a job back that wait for a millisecond at most, those that are rolled back too."""

SLOTS_TAKEN = (
    "insert into pgboss.job (name, singletonkey) select name, singletonkey from pgboss.job where id = any(%s)"
)


async def test_timeout_of_the_server_is_a_temporary_failure(dsn: str, sql: Connection) -> None:
    async def check(setting: str) -> None:
        async with PostgresStorage.open(make_conninfo(dsn, options=f"-c {setting}=50")) as storage:
            with sql.transaction():
                sql.execute("lock table pgboss.queue in access exclusive mode")
                with pytest.raises(StorageUnavailableError, match=f"{setting.partition('_')[0]} timeout.*"):
                    await storage.queues()
            assert await storage.queues() == []

    await check_each_async(["lock_timeout", "statement_timeout"], check)


async def test_cancelled_statement_is_a_temporary_failure(jobs: Sender, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        other.execute("lock table pgboss.job in access exclusive mode")
        claiming = asyncio.create_task(jobs.claim(1))
        async with asyncio.timeout(120), await psycopg.AsyncConnection.connect(dsn, autocommit=True) as third:
            while not await (await third.execute(CANCEL_WHO_WAITS)).fetchall():
                pass
        with pytest.raises(StorageUnavailableError, match=r"at a time limit: .*user request"):
            await claiming
        other.rollback()
    (sent,) = await jobs.send(1)
    assert [job.id for job in await jobs.claim(1)] == [sent]


async def release(storage: PostgresStorage, ids: Sequence[UUID], _child: UUID) -> Settled:
    return await storage.settle_unlocked([], [], [Released(job_id, 1) for job_id in ids])


async def suspend(storage: PostgresStorage, ids: Sequence[UUID], child: UUID) -> Suspensions:
    return await storage.suspend([Waiting(job_id, 1, child) for job_id in ids], skip_locked=True)


@pytest.mark.nightly
@pytest.mark.parametrize("settle", [release, suspend])
async def test_settlement_that_gives_up_locks_waits_for_others_in_its_commit(
    dsn: str,
    storage: PostgresStorage,
    jobs: Sender,
    sql: Connection,
    settle: Callable[[PostgresStorage, Sequence[UUID], UUID], Awaitable[Settled | Suspensions]],
) -> None:
    """A commit with notifications waits for other such commits, which may take long."""
    ids = sorted(await jobs.send(LOCKS_TRIED + 3))
    assert len(await jobs.claim()) == len(ids)
    child = UUID(int=0)
    sql.execute("insert into pgboss.job (id, name, state) values (%s, 'other', 'retry')", [child])
    sql.execute("update pgboss.job set singletonkey = '__pgboss__singleton_queue' || id")
    sql.execute(COMMIT_WAITS)
    sql.execute(LEAST_WAITS)
    with psycopg.connect(dsn) as other:
        other.execute(SLOTS_TAKEN, [ids[:-1]])
        done = await settle(storage, ids, child)
        other.rollback()
    assert (done.changed, done.locked) == ({ids[-1]}, set(ids[:-1]))
    assert sql.execute("select last_value from public.least").fetchall() == [(len(ids) - LOCKS_TRIED,)]


async def test_ticks_wait_for_others_in_their_commit(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await storage.declare([], [Schedule("daily", "0 5 * * *", "mail")])
    sql.execute(COMMIT_WAITS)
    async with storage.transaction(own=True) as transaction:
        for _ in range(2):
            now, found = await transaction.lock_due_schedules(10)
            await transaction.record_tick(found[0].name, now, now)
        await jobs.send(within=transaction)
    assert len(await jobs.claim()) == 1


async def test_timeout_set_by_the_application_raises_its_own_error(storage: PostgresStorage) -> None:
    async def too_long() -> None:
        async with storage.transaction() as transaction:
            await transaction.connection.execute("set local statement_timeout = 20")
            await transaction.connection.execute("select pg_sleep(30)")

    with pytest.raises(psycopg.errors.QueryCanceled):
        await too_long()
