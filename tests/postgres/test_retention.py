"""Rows that cannot be moved because of another table or trigger, and all the others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.clocks import FrozenClock
from tests.postgres.opening import WAITERS
from tests.runtime.workers.place import until
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import LockTimeoutError, StatementTimeoutError
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.model import JobEvent, NewJob
from zeke_queue.storage.postgres import PostgresStorage, retention, session
from zeke_queue.storage.postgres.retention import BAD_ROWS, GROW_AFTER, LISTS, Move
from zeke_queue.storage.postgres.statements import statement
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog

if TYPE_CHECKING:
    from tests.postgres.many_jobs import Connection, Sender


LEDGER: LiteralString = "create table ledger (job uuid references pgboss.job (id))"
REFUSAL: LiteralString = """
    create function refuse() returns trigger language plpgsql as $$ begin raise 'audited'; end $$;
    create trigger refuse before delete on pgboss.archive for each row when (old.priority > 0)
    execute function refuse();
"""
HELD: LiteralString = """
    create function wait() returns trigger language plpgsql as $$ begin
        perform pg_advisory_xact_lock(1);
        return null;
    end $$;
    create trigger wait after delete on pgboss.job for each row execute function wait();
"""
"""Keeps an archiving from its end while another session has the advisory lock."""

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

RECORD: LiteralString = """
    create table public.moved (size int);
    create function record() returns trigger language plpgsql as $$ begin
        insert into public.moved select count(*) from gone;
        return null;
    end $$;
    create trigger record after delete on pgboss.job referencing old table as gone for each statement
    execute function record();
"""
"""Stores how many jobs each statement archives."""

ODD: LiteralString = """
    insert into pgboss.job (name, state, completedon)
    select 'odd', state, at
    from
        unnest(enum_range(null::pgboss.job_state)) as state,
        unnest(array[
            null, '-infinity', '2020-02-02', now() - interval '1 hour', now() - interval '1 minute', now(),
            now() + interval '23 hours', now() + interval '2 days', 'infinity'
        ]) as at
"""
"""Jobs in every state, with every kind of end."""

ARCHIVED: LiteralString = """
    update pgboss.archive set archivedon = case state
        when 'completed' then '-infinity'
        when 'expired' then now() - interval '1 hour'
        when 'cancelled' then now() - interval '1 minute'
        else 'infinity'
    end;
    with parent as (
        insert into pgboss.job (name) values ('live')
        returning id
    )
    update pgboss.archive set parent = parent.id, awaited = completedon > '2021-01-01'
    from parent
    where completedon > '2020-01-01'
"""
"""Sets when jobs were archived; some have a live parent, which may have waited for them or not."""

UNDATABLE: LiteralString = """
    create function refuse() returns trigger language plpgsql as $$ begin raise 'audited'; end $$;
    create trigger refuse before update of completedon on pgboss.job for each row when (old.priority > 0)
    execute function refuse();
"""


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
    assert await storage.archive(0, 3) == 3
    assert await storage.archive(0, 3) == 1
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


async def test_purge_fails_at_many_bad_rows_and_then_begins_behind_them(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await ended(jobs, BAD_ROWS + 1, priority=1)
    await ended(jobs, 5)
    await storage.archive(0, 100)
    sql.execute(REFUSAL)
    with pytest.raises(psycopg.errors.RaiseException, match="audited"):
        await storage.purge(0, 100)
    assert await storage.purge(0, 100) == 5
    await ended(jobs, 1)
    await ended(jobs, BAD_ROWS + 1, priority=1)
    await ended(jobs, 1)
    await storage.archive(0, 100)
    assert [await storage.purge(0, 100) for _ in range(2)] == [1, 1]


async def test_lines_without_a_job_are_deleted_some_at_a_time(
    storage: PostgresStorage, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ORPHANS_AT_ONCE", 2)
    lines = [JobEvent(UUID(int=n), 1, "log", "{}") for n in (1, 2, 2, 2, 3, 4, 5, 5, 5)]
    await storage.append_events(lines)
    await storage.insert([NewJob(UUID(int=n), "mail") for n in (1, 3, 4)])
    left: list[int] = []
    for _ in range(6):
        assert await storage.purge(0, 10) == 0
        left += sql.execute("select count(*) from pgboss.job_event").fetchone() or ()
    assert left == [7, 6, 6, 4, 3, 3]
    # Behind the last job it begins again with the first.
    sql.execute("delete from pgboss.job where id = %s", [UUID(int=1)])
    for _ in range(4):
        assert await storage.purge(0, 10) == 0
    assert sql.execute("select count(*) from pgboss.job_event").fetchone() == (2,)


async def test_batch_that_takes_too_long_is_halved_and_grows_again(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    async def archive(number: int) -> list[int]:
        await ended(jobs, number)
        assert await storage.archive(-1, 1000) == number
        return [row[0] for row in sql.execute("delete from public.moved returning size").fetchall()]

    sql.execute(RECORD)
    sql.execute(SLOW)
    # 1000, 500, 250 and 125 rows take too long.
    assert await archive(1000) == [62] * 16 + [8]
    for _ in range(GROW_AFTER - 17 - 1):
        await archive(1)
    sql.execute("drop trigger be_slow on pgboss.job")
    assert await archive(1000) == [62] + [124] * 7 + [70]
    for _ in range(4 * GROW_AFTER):
        await archive(1)
    assert await archive(1000) == [1000]


async def test_row_that_takes_too_long_is_kept_and_the_others_are_archived(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    ids = await ended(jobs, 8)
    sql.execute(SLOW.replace("from gone) > 100", "from gone where priority = 7) > 0"))
    sql.execute("update pgboss.job set priority = 7 where id = any(%s)", [ids[:4]])
    assert [await storage.archive(-1, 8) for _ in range(2)] == [4, 0]


async def test_slow_rows_cost_later_calls_one_try_each(
    storage: PostgresStorage, jobs: Sender, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETRY_SECONDS", 0.0)
    ids = await ended(jobs, 8)
    sql.execute("create sequence public.tries minvalue 0")
    slow = SLOW.replace("from gone) > 100", "from gone where priority = 7) > 0")
    sql.execute(slow.replace("raise", "perform nextval('public.tries'); raise"))
    sql.execute("update pgboss.job set priority = 7 where id = any(%s)", [ids[:2]])
    assert await storage.archive(-1, 8) == 6
    sql.execute("select setval('public.tries', 0)")
    for tries in (1, 2):
        await ended(jobs, 1)
        assert await storage.archive(-1, 8) == 1
        assert sql.execute("select last_value from public.tries").fetchall() == [(tries,)]


async def test_server_that_is_too_slow_for_every_row_fails_the_sweep_visibly(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await ended(jobs, 3)
    sql.execute(SLOW.replace("> 100", "> 0"))
    with pytest.raises(StatementTimeoutError):
        await storage.archive(-1, 3)


async def test_bad_rows_at_the_head_do_not_stop_small_batches(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    ids = await ended(jobs, 20)
    sql.execute(SLOW.replace("> 100", "> 2"))
    assert await storage.archive(-1, 4) == 4
    kept = [job_id for job_id, job in (await storage.get(ids)).items() if job.archived_on is None][:6]
    sql.execute(LEDGER)
    sql.execute("insert into ledger select unnest(%s::uuid[])", [kept])
    assert (await maintenance(storage, archive_after=-1.0, batch=8).sweep(["archive"])).archived == 10


async def test_sweep_goes_on_past_rows_that_live_parents_keep(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    (parent,) = await jobs.send(1)
    ids = await ended(jobs, 5)
    await storage.archive(-1, 5)
    sql.execute("update pgboss.archive set archivedon = now() - interval '2 days'")
    sql.execute("update pgboss.archive set awaited = true, parent = %s where id = %s", [parent, min(ids)])
    assert (await maintenance(storage, delete_after=86_400.0, batch=2).sweep(["purge"])).purged == 4


async def test_job_sent_while_its_id_is_archived_is_not_there_twice(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    (job_id,) = await ended(jobs, 1)
    sql.execute(HELD)
    sql.execute("select pg_advisory_lock(1)")
    archiving = asyncio.ensure_future(storage.archive(-1, 1))
    await until(lambda: sql.execute(WAITERS).fetchall() == [(1,)])
    sending = asyncio.ensure_future(storage.insert([NewJob(job_id, "again")]))
    await until(lambda: sql.execute(WAITERS).fetchall() == [(2,)])
    sql.execute("select pg_advisory_unlock(1)")
    assert (await archiving, await sending) == (1, [job_id])
    assert sql.execute("select id from pgboss.job").fetchall() == []
    assert sql.execute("select id from pgboss.archive").fetchall() == [(job_id,)]


async def test_row_whose_end_can_not_be_set_is_named_and_the_others_are_set(
    storage: PostgresStorage, jobs: Sender, sql: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = await ended(jobs, 4)
    sql.execute("update pgboss.job set completedon = null")
    sql.execute("update pgboss.job set completedon = 'infinity' where id = %s", [ids[3]])
    sql.execute("update pgboss.job set priority = 7 where id = %s", [ids[1]])
    sql.execute(UNDATABLE)
    assert [await storage.archive(0, 100) for _ in range(2)] == [3, 0]
    rows = sql.execute("select id from pgboss.job where completedon is null").fetchall()
    assert rows == [(ids[1],)]
    said = [line for line in "".join(capsys.readouterr()).splitlines() if "date_row_failed" in line]
    assert said
    assert all(str(ids[1]) in line for line in said)
    sql.execute("drop trigger refuse on pgboss.job")
    assert await storage.archive(0, 100) == 1


async def test_many_rows_whose_ends_can_not_be_set_do_not_stop_archiving(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await ended(jobs, BAD_ROWS + 1, priority=1)
    sql.execute("update pgboss.job set completedon = null")
    await ended(jobs, 2)
    sql.execute(UNDATABLE)
    assert await storage.archive(0, 100) == 2


async def test_ends_are_set_while_a_slow_server_makes_batches_small(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await ended(jobs, 8)
    sql.execute(SLOW.replace("> 100", "> 2"))
    assert await storage.archive(-1, 4) == 4
    sql.execute("update pgboss.job set completedon = null")
    await storage.archive(60, 4)
    assert sql.execute("select count(*) from pgboss.job where completedon is null").fetchall() == [(0,)]


async def test_lock_of_the_table_is_not_taken_for_bad_rows(
    dsn: str, jobs: Sender, sql: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await ended(jobs, BAD_ROWS + 2)
    hurried = make_conninfo(dsn, options="-c lock_timeout=20")
    async with PostgresStorage.open(hurried, listen=False) as storage:
        with sql.transaction():
            sql.execute("lock table pgboss.job in share mode")  # as "create index" does
            with pytest.raises(LockTimeoutError):
                await storage.archive(-1, 100)
        assert await storage.archive(-1, 100) == BAD_ROWS + 2
    assert "archive_row_failed" not in "".join(capsys.readouterr())


async def test_row_that_another_table_locks_is_kept_and_the_others_are_archived(
    dsn: str, jobs: Sender, sql: Connection
) -> None:
    ids = await ended(jobs, 9)
    sql.execute(LEDGER.replace("(id)", "(id) on delete cascade"))
    sql.execute("insert into ledger values (%s)", [min(ids)])
    hurried = make_conninfo(dsn, options="-c lock_timeout=20")
    async with PostgresStorage.open(hurried, listen=False) as storage:
        with psycopg.connect(dsn) as other:
            other.execute("select from ledger for update")
            assert await storage.archive(-1, 9) == 8


async def test_others_are_archived_while_the_last_row_is_locked(
    dsn: str, jobs: Sender, sql: Connection
) -> None:
    ids = [job_id for _ in range(9) for job_id in await ended(jobs, 1)]
    sql.execute(LEDGER.replace("(id)", "(id) on delete cascade"))
    sql.execute("insert into ledger values (%s)", [ids[-1]])
    hurried = make_conninfo(dsn, options="-c lock_timeout=20")
    async with PostgresStorage.open(hurried, listen=False) as storage:
        with psycopg.connect(dsn) as other:
            other.execute("select from ledger for update")
            assert await storage.archive(-1, 9) == 8


@pytest.mark.parametrize("move", ["date", "archive", "purge"])
def test_rows_are_the_same_listed_or_moved_together_or_by_their_ids(sql: Connection, move: Move) -> None:
    """The statements state the choice separately, for the sake of their plans."""

    def run(name: str, **options: Any) -> list[Any]:
        given = {"now": None, "after": 1_800_000_000, "ids": None, "without": [], "limit": 1000, **options}
        return sql.execute(statement(name, "pgboss", 1000), given).fetchall()

    kept: LiteralString = "select id, completedon::text from pgboss.job"
    sql.execute(ODD)
    if move == "purge":
        kept = "select id, archivedon::text from pgboss.archive"
        run("archive")
        sql.execute(ARCHIVED)
    every = sql.execute(kept).fetchall()

    def moved(**options: Any) -> tuple[set[UUID], set[UUID]]:
        """Return the jobs that changed or left, and those that left."""
        with sql.transaction(force_rollback=True):
            run(move, **options)
            left = sql.execute(kept).fetchall()
            changed = {row[0] for row in set(every).difference(left)}
            return changed, changed - {row[0] for row in left}

    listed = {row[0] for row in run(LISTS[move])}
    assert 0 < len(listed) < len(every)
    changed, gone = moved()
    assert (changed, gone) == moved(ids=[row[0] for row in every])
    assert changed == listed
    if move == "purge":
        assert 0 < len(gone) < len(listed)
    one = min(listed)
    assert moved(without=[one])[0] == {row[0] for row in run(LISTS[move], without=[one])} == listed - {one}


async def test_bad_last_row_does_not_keep_the_others_of_a_locked_one(
    dsn: str, jobs: Sender, sql: Connection
) -> None:
    ids = [job_id for _ in range(9) for job_id in await ended(jobs, 1)]
    sql.execute(LEDGER.replace("(id)", "(id) on delete cascade"))
    sql.execute("insert into ledger values (%s)", [ids[0]])
    sql.execute(REFUSAL.replace("pgboss.archive", "pgboss.job").replace("priority > 0", "priority = 7"))
    sql.execute("update pgboss.job set priority = 7 where id = %s", [ids[-1]])
    hurried = make_conninfo(dsn, options="-c lock_timeout=20")
    async with PostgresStorage.open(hurried, listen=False) as storage:
        with psycopg.connect(dsn) as other:
            other.execute("select from ledger for update")
            assert await storage.archive(-1, 9) == 7


async def test_retention_does_not_depend_on_the_zone_of_the_session(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day is 24 hours, also the one that has 23 in the zone that a pooler gives to sessions."""
    monkeypatch.setattr(session, "RELIED_ON", {**session.RELIED_ON, "timezone": "America/New_York"})
    clock, day = FrozenClock(datetime(2026, 3, 8, 5, tzinfo=UTC)), 86_400.0
    async with PostgresStorage.open(dsn, listen=False, now=clock.now) as storage:
        for number, move in enumerate((storage.archive, storage.purge), 1):
            job = NewJob(UUID(int=number), "work")
            await storage.insert([job])
            await storage.cancel([job.id])
            if move == storage.purge:
                clock.advance(1.0)
                assert await storage.archive(0.0, 10) == 1
                assert (await storage.get([job.id]))[job.id].archived_on == clock.now()
            clock.advance(day - 1800.0)
            assert await move(day, 10) == 0
            clock.advance(1801.0)
            assert await move(day, 10) == 1
            clock.advance(-day - 1.0)


def maintenance(storage: PostgresStorage, **options: Any) -> Maintenance:
    return Maintenance(parts_of(Queue(Catalog(), storage, settings=Settings.load())), **options)
