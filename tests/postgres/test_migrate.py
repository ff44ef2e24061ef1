"""Creating the tables, adopting those of pg-boss 9, and leaving other tables alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cases import check_each, check_each_async
from tests.conformance.driver import lock_due_schedules, lock_expired, record_tick, soon
from tests.postgres import pgboss9
from tests.postgres.many_jobs import ANNA, BERT, Connection
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import until
from zeke_queue.errors import (
    LockTimeoutError,
    PermissionDeniedError,
    SchemaVersionError,
    StorageUnavailableError,
)
from zeke_queue.model import (
    Extended,
    Failed,
    JobEvent,
    JobQuery,
    NewJob,
    QueueCapacity,
    QueueSettings,
    Schedule,
    WorkerInfo,
)
from zeke_queue.storage.access import NewKey
from zeke_queue.storage.postgres import PostgresStorage, migrate, migration_steps
from zeke_queue.storage.postgres.grants import grant
from zeke_queue.storage.postgres.server_info import read_pgboss
from zeke_queue.storage.postgres.statements import migrations

# What a schema is made of. The order of columns is left out: it follows from the order of events.
CATALOG: LiteralString = r"""
    select 'column', table_name, column_name, replace(udt_schema, %(schema)s, '') || '.' || udt_name,
           is_nullable, replace(column_default, %(schema)s || '.', '')
    from information_schema.columns where table_schema = %(schema)s
    union all
    select 'index', tablename, indexname, replace(indexdef, %(schema)s || '.', ''), null, null
    from pg_indexes where schemaname = %(schema)s
    union all
    select 'constraint', conrelid::regclass::text, replace(conname, %(schema)s, ''),
           pg_get_constraintdef(oid), null, null
    from pg_constraint where connamespace = %(schema)s::regnamespace and contype <> 'n'
    union all
    select 'trigger', relname, tgname, replace(pg_get_triggerdef(t.oid), %(schema)s || '.', ''), null, null
    from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
    where c.relnamespace = %(schema)s::regnamespace and not tgisinternal
    union all
    select 'options', relname, array_to_string(reloptions, ','), null, null, null
    from pg_class where relnamespace = %(schema)s::regnamespace and relkind = 'r'
"""

PGBOSS_10: LiteralString = """
    create table pgboss.version (version int primary key, maintained_on timestamptz);
    insert into pgboss.version values (24);
    create table pgboss.job (id uuid, name text) partition by list (name)
"""


@pytest.fixture
def sql(empty_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        yield connection


def adopt(dsn: str, sql: Connection, without: Sequence[int] = ()) -> None:
    """Adopt the tables of a pg-boss, and forget some of the migrations."""
    pgboss9.create(sql)
    migrate.migrate(dsn, "boss9")
    sql.execute("delete from boss9.zeke_migration where number = any(%s)", [list(without)])


def same_as_fresh(dsn: str, sql: Connection) -> bool:
    """Return whether the adopted tables have all that fresh ones have."""
    migrate.migrate(dsn, "fresh")
    return catalog(sql, "fresh") <= catalog(sql, "boss9")


def catalog(sql: Connection, schema: str) -> set[tuple[Any, ...]]:
    rows = sql.execute(CATALOG, {"schema": schema}).fetchall()
    return {tuple(value.replace(schema + ".", "") if value else value for value in row) for row in rows}


def test_first_migration_creates_everything_and_a_second_nothing(empty_dsn: str) -> None:
    assert migrate.migrate(empty_dsn)[0] == "tables_of_pgboss_9"
    assert migrate.migrate(empty_dsn) == []


def test_schema_may_have_another_name(empty_dsn: str, sql: Connection) -> None:
    migrate.migrate(empty_dsn, "Jobs")
    assert sql.execute("select count(*) from jobs.job").fetchone() == (0,)


def test_applied_migrations_are_recorded(empty_dsn: str, sql: Connection) -> None:
    migrate.migrate(empty_dsn)
    recorded = sql.execute("select number, name from pgboss.zeke_migration order by number").fetchall()
    assert recorded == [(m.number, m.name) for m in migrations()]


def test_adopted_tables_equal_fresh_ones_except_for_the_fetch_of_pgboss(
    empty_dsn: str, sql: Connection
) -> None:
    adopt(empty_dsn, sql)
    migrate.migrate(empty_dsn, "fresh")
    adopted, fresh = catalog(sql, "boss9"), catalog(sql, "fresh")
    assert fresh - adopted == set()
    assert {row[2] for row in adopted - fresh} == {"job_name", "job_fetch"}


def test_printed_sql_creates_what_a_migration_creates(empty_dsn: str, sql: Connection) -> None:
    migrate.migrate(empty_dsn, "run")
    sql.execute(migrate.sql("printed").encode())
    assert catalog(sql, "printed") == catalog(sql, "run")
    assert migrate.migrate(empty_dsn, "printed") == []


async def test_jobs_of_pgboss_are_run_after_adoption(empty_dsn: str, sql: Connection) -> None:
    pgboss9.create(sql)
    sql.execute("insert into boss9.job (name, data) values ('mail', '{\"to\": \"ann\"}')")
    migrate.migrate(empty_dsn, "boss9")
    async with PostgresStorage.open(empty_dsn, schema="boss9") as storage:
        (job,) = await storage.claim(ANNA, [QueueCapacity("mail", 1)], 1)
    assert (job.data, job.attempt, job.retry_limit) == (b'{"to": "ann"}', 1, 0)


def test_pgboss_inserts_and_archives_after_adoption(empty_dsn: str, sql: Connection) -> None:
    adopt(empty_dsn, sql)
    columns: LiteralString = (
        "id, name, priority, data, state, retrylimit, retrycount, retrydelay, retrybackoff, startafter,"
        " startedon, singletonkey, singletonon, expirein, createdon, completedon, keepuntil, on_complete,"
        " output"
    )
    sql.execute("insert into boss9.job (name, state, completedon) values ('mail', 'completed', now())")
    sql.execute(
        f"with gone as (delete from boss9.job returning *)"  # noqa: S608 - constant
        f" insert into boss9.archive ({columns}) select {columns} from gone"
    )
    assert sql.execute("select name, attempt from boss9.archive").fetchall() == [("mail", 0)]


def test_interrupted_index_build_is_continued(empty_dsn: str, sql: Connection) -> None:
    adopt(empty_dsn, sql, without=[3, 4])
    # What a build that was interrupted leaves behind.
    sql.execute("update pg_index set indisvalid = false where indexrelid = 'boss9.job_claim'::regclass")
    assert migrate.migrate(empty_dsn, "boss9") == ["indexes_of_ours", "narrow_indexes_of_pgboss"]
    assert sql.execute(
        "select indisvalid from pg_index where indexrelid = 'boss9.job_claim'::regclass"
    ).fetchone() == (True,)


@pytest.mark.nightly
@pytest.mark.parametrize("before", ["nothing", "pgboss"])
def test_ten_concurrent_migrations_succeed(empty_dsn: str, sql: Connection, before: str) -> None:
    if before == "pgboss":
        pgboss9.create(sql)
    pgboss9.check_concurrent_migrations(empty_dsn, sql, 10)


def test_index_build_does_not_wait_for_the_lock_of_pgboss(empty_dsn: str, sql: Connection) -> None:
    adopt(empty_dsn, sql, without=[3])
    key = "('x' || md5(current_database() || '.pgboss.boss9'))::bit(64)::bigint"
    sql.execute(f"select pg_advisory_lock({key})".encode())
    assert migrate.migrate(empty_dsn, "boss9") == ["indexes_of_ours"]


def test_new_tables_wait_for_the_lock_of_pgboss_only_for_so_long(
    empty_dsn: str, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_EMPTY_SECONDS", 0.001)
    key = "('x' || md5(current_database() || '.pgboss.boss9'))::bit(64)::bigint"
    sql.execute(f"select pg_advisory_lock({key})".encode())
    with pytest.raises(StorageUnavailableError, match="A pg-boss that starts on schema 'boss9'"):
        migrate.migrate(empty_dsn, "boss9")


async def test_grants_and_migrations_wait_for_another_migration_and_say_so(
    empty_dsn: str, sql: Connection, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_steps, "_REPORT_AFTER", 0)
    migrate.migrate(empty_dsn)
    key = "('x' || md5(current_database() || '.zeke.pgboss'))::bit(64)::bigint"

    async def check(call: Callable[[], object]) -> None:
        sql.execute(f"select pg_advisory_lock({key})".encode())
        with logged() as lines:
            called = asyncio.ensure_future(asyncio.to_thread(call))
            try:
                await until(lambda: lines.messages or called.done())
                waits = not called.done()
            finally:
                # Else the thread of a call that is wrong would wait forever.
                sql.execute(f"select pg_advisory_unlock({key})".encode())
            await soon(called)
        assert (lines.messages, waits) == (["migration_waits"], True)

    await check_each_async(
        [lambda: grant(empty_dsn, "pgboss", role), lambda: migrate.migrate(empty_dsn)], check
    )


def test_migration_repairs_unreadable_schedules(empty_dsn: str, sql: Connection) -> None:
    migrate.migrate(empty_dsn)
    sql.execute("delete from pgboss.zeke_migration where number = 5")
    sql.execute("alter table pgboss.schedule drop constraint schedule_readable")
    sql.execute("drop function pgboss.zeke_start_anew cascade")
    sql.execute(
        "insert into pgboss.schedule (name, cron, catch_up, last_tick, next_tick) values"
        " ('a', '* * * * *', 'never', '2026-01-01', '2026-01-01'),"
        " ('b', '* * * * *', 'skip', '2026-01-01', 'infinity')"
    )
    assert migrate.migrate(empty_dsn) == ["schedules_edited_by_others"]
    found = sql.execute("select catch_up, last_tick is null, next_tick is null from pgboss.schedule")
    assert found.fetchall() == [("once", False, False), ("skip", True, True)]


async def test_migration_moves_our_schedules_away_from_pgboss(empty_dsn: str, sql: Connection) -> None:
    adopt(empty_dsn, sql, without=[11, 13])
    sql.execute("drop function boss9.zeke_move_schedule cascade")
    sql.execute("drop table boss9.zeke_schedule")
    sql.execute("alter table boss9.schedule no inherit boss9.zeke_any_schedule")
    sql.execute("drop table boss9.zeke_any_schedule")
    sql.execute(
        "insert into boss9.schedule (name, cron, task, paused, last_tick) values"
        " ('ours', '* * * * *', 'mail', true, '2026-01-01'), ('theirs', '* * * * *', null, false, null)"
    )
    applied = migrate.migrate(empty_dsn, "boss9")
    assert applied == ["schedules_apart_from_pgboss", "schedules_of_earlier_versions"]
    assert sql.execute("select name from only boss9.schedule").fetchall() == [("theirs",)]
    async with PostgresStorage.open(empty_dsn, schema="boss9") as storage:
        ours, theirs = await storage.schedules()
    last_tick = datetime(2026, 1, 1, tzinfo=UTC)
    assert ours == Schedule("ours", "* * * * *", "mail", paused=True, last_tick=last_tick)
    assert theirs == Schedule("theirs", "* * * * *", "theirs", of_pgboss=True)


def test_migration_moves_schedules_that_an_earlier_version_has_stored_since(
    empty_dsn: str, sql: Connection
) -> None:
    migrate.migrate(empty_dsn)
    sql.execute("delete from pgboss.zeke_migration where number = 13")
    sql.execute("drop function pgboss.zeke_move_schedule cascade")
    sql.execute("insert into pgboss.zeke_schedule (name, cron, task) values ('a', '* * * * *', 'old')")
    sql.execute("insert into pgboss.schedule (name, cron, task) values ('a', '* * * * *', 'new')")
    sql.execute("insert into pgboss.schedule (name, cron) values ('b', '* * * * *')")
    assert migrate.migrate(empty_dsn) == ["schedules_of_earlier_versions"]
    assert sql.execute("select name from only pgboss.schedule").fetchall() == [("b",)]
    assert sql.execute("select name, task from only pgboss.zeke_schedule").fetchall() == [("a", "new")]


def test_migration_does_not_queue_others_behind_a_busy_table(
    empty_dsn: str, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_steps, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(migration_steps, "_LOCK_TRIES", 2)
    adopt(empty_dsn, sql, without=[4])
    with psycopg.connect(empty_dsn) as busy:
        busy.execute("select from boss9.job")
        with pytest.raises(StorageUnavailableError, match="a long transaction uses them"):
            migrate.migrate(empty_dsn, "boss9")
    assert migrate.migrate(empty_dsn, "boss9") == ["narrow_indexes_of_pgboss"]
    assert same_as_fresh(empty_dsn, sql)


@pytest.mark.parametrize("dropped", ["job_singletonon", "zeke_singletonon"])
def test_interrupted_index_swap_is_continued(empty_dsn: str, sql: Connection, dropped: str) -> None:
    adopt(empty_dsn, sql, without=[4])
    sql.execute("create index zeke_singletonon on boss9.job (name, singletonon)")
    sql.execute(
        "update pg_index set indisvalid = false where indexrelid = 'boss9.zeke_singletonon'::regclass"
    )
    sql.execute(f"drop index boss9.{dropped}".encode())
    assert migrate.migrate(empty_dsn, "boss9") == ["narrow_indexes_of_pgboss"]
    assert same_as_fresh(empty_dsn, sql)


async def test_events_of_earlier_versions_have_no_numbers(empty_dsn: str, sql: Connection) -> None:
    adopt(empty_dsn, sql, without=[14])
    sql.execute("alter table boss9.job_event drop column number")
    event = JobEvent(ANNA, 1, "log", '{"message": "a"}')
    old = "insert into boss9.job_event (job_id, attempt, kind, data, at) values (%s, 1, 'log', %s, now())"
    for _ in range(2):
        sql.execute(old, [ANNA, event.data])
    # An interrupted migration has left an index that is not used.
    sql.execute("alter table boss9.job_event add number bigint")
    sql.execute("create unique index job_event_number on boss9.job_event (number)")
    sql.execute(
        "update pg_index set indisvalid = false where indexrelid = 'boss9.job_event_number'::regclass"
    )
    assert migrate.migrate(empty_dsn, "boss9") == ["numbers_of_events"]
    assert same_as_fresh(empty_dsn, sql)
    sql.execute(old, [ANNA, event.data])  # by a worker of an earlier version, which still runs
    async with PostgresStorage.open(empty_dsn, schema="boss9") as storage:
        for _ in range(2):
            await storage.append_events([replace(event, number=1)])
        assert len(await storage.events({ANNA: 0})) == 4


async def test_connecting_to_a_schema_of_pgboss_10_names_it(empty_dsn: str, sql: Connection) -> None:
    pgboss9.create(sql, version=21)
    with pytest.raises(SchemaVersionError, match="pg-boss 10 or later"):
        await migrate.check(empty_dsn, "boss9")


def test_older_pgboss_must_be_upgraded_first(empty_dsn: str, sql: Connection) -> None:
    pgboss9.create(sql, version=17)
    with pytest.raises(SchemaVersionError, match=r"pg-boss 9\.0\.3"):
        migrate.migrate(empty_dsn, "boss9")
    assert sql.execute("select to_regclass('boss9.zeke_migration')").fetchone() == (None,)


def test_foreign_tables_are_refused_and_left_unchanged(empty_dsn: str, sql: Connection) -> None:
    def check(theirs: LiteralString, told: str = "JOBS_SCHEMA") -> None:
        sql.execute("drop schema if exists pgboss cascade")
        sql.execute("create schema pgboss")
        sql.execute(theirs)
        before = catalog(sql, "pgboss")
        with pytest.raises(SchemaVersionError, match=told):
            migrate.migrate(empty_dsn)
        assert catalog(sql, "pgboss") == before

    check_each(
        [
            ("create table pgboss.job (id int)", "not pg-boss's"),
            (PGBOSS_10, "pg-boss 10 or later"),
            "create table pgboss.version (number text)",
            "create table pgboss.version (version text); insert into pgboss.version values ('1.2.3')",
            "create table pgboss.worker (name text)",
            "create type pgboss.job_state as enum ('open')",
        ],
        check,
    )


async def test_missing_schema_is_reported_with_the_migration_command(empty_dsn: str) -> None:
    with pytest.raises(SchemaVersionError, match="zeke migrate"):
        await migrate.check(empty_dsn)


async def test_outdated_schema_is_reported_with_the_migration_command(
    empty_dsn: str, sql: Connection
) -> None:
    migrate.migrate(empty_dsn)
    sql.execute("delete from pgboss.zeke_migration where number = 3")
    with pytest.raises(SchemaVersionError, match="indexes_of_ours not applied"):
        await migrate.check(empty_dsn)


async def test_newer_schema_is_used(empty_dsn: str, sql: Connection) -> None:
    migrate.migrate(empty_dsn)
    sql.execute("insert into pgboss.zeke_migration (number, name) values (9999, 'of_tomorrow')")
    await migrate.check(empty_dsn)


@pytest.mark.nightly
async def test_checks_wait_for_locked_tables_only_for_so_long(empty_dsn: str, sql: Connection) -> None:
    """A worker that starts beside a session which has locked the tables says so."""
    migrate.migrate(empty_dsn)
    unlimited = make_conninfo(empty_dsn, options="-c lock_timeout=0")
    patient = make_conninfo(empty_dsn, options="-c lock_timeout=10min")
    with sql.transaction():
        sql.execute("lock table pgboss.version in access exclusive mode")
        waiting = asyncio.ensure_future(migrate.check(patient))
        checks = asyncio.gather(migrate.check(unlimited), read_pgboss(unlimited), return_exceptions=True)
        assert [type(error) for error in await soon(checks)] == [LockTimeoutError, LockTimeoutError]
        assert not waiting.done(), "the limit of the connection string has precedence"
    await soon(waiting)


async def test_missing_permission_is_named(empty_dsn: str, sql: Connection) -> None:
    migrate.migrate(empty_dsn)
    sql.execute("drop role if exists zeke_reader")
    sql.execute("create role zeke_reader")
    try:
        limited = make_conninfo(empty_dsn, options="-c role=zeke_reader")
        with pytest.raises(PermissionDeniedError, match="usage on schema pgboss"):
            await migrate.check(limited)
        sql.execute("grant usage on schema pgboss to zeke_reader")
        sql.execute("grant select on all tables in schema pgboss to zeke_reader")
        with pytest.raises(PermissionDeniedError, match=r"insert on pgboss\.job"):
            await migrate.check(limited)
        with pytest.raises(PermissionDeniedError, match="lacks a right"):
            migrate.migrate(limited, "elsewhere")
    finally:
        sql.execute("drop owned by zeke_reader")
        sql.execute("drop role zeke_reader")


@pytest.fixture
def role(sql: Connection) -> Iterator[str]:
    name = f"zeke_role_{sql.info.backend_pid}"
    sql.execute(f"create role {name}".encode())
    yield name
    sql.execute(f"drop owned by {name} cascade".encode())
    sql.execute(f"drop role {name}".encode())


def test_role_with_its_own_schema_needs_no_database_permission(
    empty_dsn: str, sql: Connection, role: str
) -> None:
    sql.execute(f"create schema jobs authorization {role}".encode())
    assert migrate.migrate(make_conninfo(empty_dsn, options=f"-c role={role}"), "jobs")


async def test_documented_permissions_suffice_for_every_verb(
    empty_dsn: str, sql: Connection, role: str
) -> None:
    migrate.migrate(empty_dsn)
    sql.execute(f"grant usage on schema pgboss to {role}".encode())
    for table, rights in (migrate.RIGHTS | migrate.API_RIGHTS).items():
        sql.execute(f"grant {rights} on pgboss.{table} to {role}".encode())
    limited = make_conninfo(empty_dsn, options=f"-c role={role}")
    await migrate.check(limited)
    async with PostgresStorage.open(limited) as storage:
        await storage.declare([QueueSettings("mail", 1)], [])
        await storage.pause_queue("mail", paused=False)
        await storage.put_schedule(Schedule("mail", "* * * * *", "mail"))
        await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("mail",), 15.0))
        await storage.set_idle(ANNA, ["mail"])
        await storage.insert([NewJob(BERT, "mail"), NewJob(ANNA, "mail")])
        (job,) = await storage.claim(ANNA, [QueueCapacity("mail", 1)], 1)
        await storage.extend([Extended(job.id, 1, 5.0)])
        await storage.append_events([JobEvent(job.id, 1, "log", "{}")])
        async with storage.subscribe() as watch:
            await watch.add([job.id])
            await storage.settle(failed=[Failed(job.id, 1, None, "{}")])
        await storage.retry([job.id])
        await storage.cancel([ANNA, BERT])
        await storage.resume([ANNA])
        assert await lock_expired(storage, 1) == []
        now, (schedule,) = await lock_due_schedules(storage, 1)
        await record_tick(storage, schedule.name, now, None)
        await storage.delete_schedule("mail")
        assert await storage.archive(-1.0, 2) == 1
        assert await storage.purge(-1.0, 2) == 1
        await storage.deregister(ANNA)
        key = await storage.access.create_key(NewKey(ANNA, "key", "mid_0", bytes(32), frozenset()))
        assert await storage.access.keys() == await storage.access.valid_keys("mid_0") == [key]
        assert await storage.access.has_keys()
        assert await storage.access.create_session(bytes(1), key.id, -1.0)
        assert await storage.access.create_session(bytes(2), key.id, 60.0)
        assert await storage.access.get_session(bytes(2)) == key
        assert await storage.access.delete_session(bytes(2))
        assert await storage.access.create_session(bytes(2), key.id, 60.0)
        await storage.access.touch_key(key.id)
        assert await storage.access.revoke_key(key.id)
        for caller in ("a", "b"):
            assert (await storage.access.acquire(caller, 1, 60.0)).allowed
        await storage.find(JobQuery(text="a"))
        await storage.throughput((), 60, 60)
        await storage.events({ANNA: 0})
        assert [one.name for one in await storage.queue_stats()] == ["mail"]
