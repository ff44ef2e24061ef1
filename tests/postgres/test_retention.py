"""Rows that cannot be moved because of another table or trigger, and all the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest

from zeke_queue.errors import StatementTimeoutError
from zeke_queue.storage.postgres.retention import BAD_ROWS, GROW_AFTER, PARTS

if TYPE_CHECKING:
    from uuid import UUID

    from tests.postgres.many_jobs import Connection, Sender
    from zeke_queue.storage.postgres import PostgresStorage


LEDGER: LiteralString = "create table ledger (job uuid references pgboss.job (id))"
REFUSAL: LiteralString = """
    create function refuse() returns trigger language plpgsql as $$ begin raise 'audited'; end $$;
    create trigger refuse before delete on pgboss.archive for each row when (old.priority > 0)
    execute function refuse();
"""
SLOW: LiteralString = """
    create function be_slow() returns trigger language plpgsql as $$ begin
        if (select count(*) from gone) > 100 then
            raise 'canceling statement due to statement timeout' using errcode = 'query_canceled';
        end if;
        return null;
    end $$;
    create trigger be_slow after delete on pgboss.job referencing old table as gone for each statement
    execute function be_slow();
"""
"""Cancels a statement that archives more than 100 jobs, as a time limit would on a slow disk."""


async def ended(jobs: Sender, times: int, **options: Any) -> list[UUID]:
    ids = await jobs.send(times, **options)
    assert await jobs.storage.cancel(ids) == set(ids)
    return ids


async def test_referenced_row_is_kept_and_the_others_are_archived(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    ids = [job_id for _ in range(9) for job_id in await ended(jobs, 1)]
    sql.execute(LEDGER)
    sql.execute("insert into ledger values (%s), (%s)", [ids[0], ids[5]])
    assert await storage.archive(0, 9) == 7
    assert {job_id for job_id, job in (await storage.get(ids)).items() if job.archived_on is None} == {
        ids[0],
        ids[5],
    }
    more = await ended(jobs, 4)
    assert await storage.archive(0, 3) == 1
    assert await storage.archive(0, 5) == 3
    sql.execute("drop table ledger")
    assert await storage.archive(0, 100) == 2
    assert all(job.archived_on for job in (await storage.get([*ids, *more])).values())


async def test_row_kept_by_a_trigger_stays_and_the_others_are_purged(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    kept = await ended(jobs, 1, priority=1)
    await ended(jobs, 5)
    await storage.archive(0, 100)
    sql.execute(REFUSAL)
    assert await storage.purge(0, 100) == 5
    assert sql.execute("select id from pgboss.archive").fetchall() == [(job_id,) for job_id in kept]


async def test_purge_fails_if_nearly_every_row_fails(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await ended(jobs, BAD_ROWS + 1, priority=1)
    await ended(jobs, 5)
    await storage.archive(0, 100)
    sql.execute(REFUSAL)
    with pytest.raises(psycopg.errors.RaiseException, match="audited"):
        await storage.purge(0, 100)


async def test_batch_that_takes_too_long_is_halved_and_grows_again(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await ended(jobs, 800)
    sql.execute(SLOW)
    # 800, 400 and 200 rows take too long; then batches of 100 succeed.
    assert await storage.archive(-1, 800) == (PARTS - 3) * 100
    assert await storage.archive(-1, 800) == 300
    sql.execute("drop trigger be_slow on pgboss.job")
    for _ in range(GROW_AFTER):
        await storage.archive(-1, 800)
    await ended(jobs, 800)
    assert await storage.archive(-1, 200) == 200
    for _ in range(2 * GROW_AFTER):
        await storage.archive(-1, 800)
    await ended(jobs, 800)
    assert await storage.archive(-1, 800) == 800


async def test_row_that_takes_too_long_by_itself_fails_the_sweep_visibly(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await ended(jobs, 2)
    sql.execute(SLOW.replace("> 100", "> 0"))
    with pytest.raises(StatementTimeoutError):
        await storage.archive(-1, 2)
