"""Migrations of tables that a pg-boss 9 uses meanwhile: which locks they take, and how they are continued."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import psycopg
import pytest

from tests.cases import check_each
from tests.postgres import pgboss9
from tests.postgres.test_migrate import catalog, same_as_fresh
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import until
from tests.tidy import ROOT
from zeke_queue.errors import SchemaVersionError
from zeke_queue.storage.postgres import migrate, migration_steps
from zeke_queue.storage.postgres.migration_plan import plan
from zeke_queue.storage.postgres.pgboss_check import check_pgboss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly

ROWS: Final = 20_000
FILL: Final = """
    insert into boss9.job (name, state, singletonkey, completedon)
    select 'mail', (enum_range(null::boss9.job_state))[1 + n %% 7], n::text, now()
    from generate_series(1, %s) as n
"""
ARCHIVE: Final = "insert into boss9.archive select * from boss9.job limit %s"

STRONG: Final = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
HELD: Final = """
    select relname::text, mode from pg_locks join pg_class on pg_class.oid = relation
    where pid = pg_backend_pid() and relnamespace = 'boss9'::regnamespace and mode = any(%s)
"""
READ: Final = """
    select relname::text, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
    where schemaname = 'boss9' and relname in ('job', 'archive')
"""
WAITS: Final = """
    select mode from pg_locks join pg_stat_activity using (pid)
    where application_name = 'zeke migrate' and not granted and locktype = 'relation'
"""
SECONDS: Final = "select setting::int / 1000.0 from pg_settings where name = 'statement_timeout'"


class Seen(NamedTuple):
    """A statement of a migration: the strong locks held after it, rows read, and its limit in seconds."""

    text: str
    held: set[tuple[str, str]]
    read: dict[str, int]
    limit: float


class Watched(psycopg.Connection[Any]):
    """A connection that reports each statement."""

    before: ClassVar[list[Callable[[str], None]]] = []
    seen: ClassVar[list[Seen]] = []

    def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
        text = str(query)
        if self.before:
            self.before[0](text)
            return super().execute(query, *arguments, **options)
        limit, before = 0.0, dict[str, int]()
        if self.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            limit = float(super().execute(SECONDS).fetchall()[0][0])
            before = dict(super().execute(READ).fetchall())
        cursor = super().execute(query, *arguments, **options)
        if self.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            held = set(super().execute(HELD, [list(STRONG)]).fetchall())
            # The statistics of this session, some of which are of earlier transactions.
            after = super().execute(READ).fetchall()
            read = {table: rows - before[table] for table, rows in after if table in before}
            self.seen.append(Seen(text, held, read, limit))
        return cursor


@pytest.fixture
def sql(empty_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        pgboss9.create(connection)
        yield connection


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """The connections of migrations, which this class describes."""
    Watched.before.clear()
    Watched.seen.clear()
    monkeypatch.setattr(psycopg, "connect", Watched.connect)
    return Watched


def test_adoption_reads_no_rows_under_a_lock_for_which_others_wait(
    empty_dsn: str, sql: Connection, watched: type[Watched]
) -> None:
    sql.execute(FILL, [ROWS])
    sql.execute(ARCHIVE, [ROWS])
    files = "select pg_relation_filenode('boss9.job'), pg_relation_filenode('boss9.archive')"
    before = sql.execute(files).fetchall()
    migrate.migrate(empty_dsn, "boss9")
    assert sql.execute(files).fetchall() == before, "no table was written anew"
    strong = [one for one in watched.seen if one.held & {("job", mode) for mode in STRONG}]
    assert strong
    for one in watched.seen:
        assert not any(one.read.get(table) for table, _ in one.held), one
    assert same_as_fresh(empty_dsn, sql)


def test_strong_locks_are_awaited_for_half_a_second_at_most(
    empty_dsn: str, sql: Connection, watched: type[Watched]
) -> None:
    migrate.migrate(empty_dsn, "boss9")
    before: set[str] = set()
    for one in watched.seen:
        held = {table for table, _ in one.held} & {"job", "archive", "schedule"}
        assert held <= before or 0 < one.limit <= 0.5, one
        before = held


def test_migration_waits_for_a_vacuum_with_a_lock_that_blocks_no_writes(
    empty_dsn: str, sql: Connection
) -> None:
    with psycopg.connect(empty_dsn) as vacuum, ThreadPoolExecutor(1) as pool:
        vacuum.execute("lock table boss9.job in share update exclusive mode")
        migrating = pool.submit(migrate.migrate, empty_dsn, "boss9")
        waits: list[Any] = []
        while not waits and not migrating.done():
            waits = sql.execute(WAITS).fetchall()
        vacuum.rollback()
        assert migrating.result()
    assert waits == [("ShareUpdateExclusiveLock",)]


def test_adoption_is_continued_after_an_end_at_any_statement(
    empty_dsn: str, sql: Connection, watched: type[Watched]
) -> None:
    class KilledError(Exception):
        """The end of a process."""

    left = 0

    def before(text: str) -> None:
        nonlocal left
        if "pg_try_advisory" in text:
            left = allowed
        left -= 1
        if left == 0:
            raise KilledError

    watched.before.append(before)
    allowed, applied = 0, None
    while applied is None:
        allowed += 1
        with suppress(KilledError):
            applied = migrate.migrate(empty_dsn, "boss9")
    assert allowed > 20
    assert migrate.migrate(empty_dsn, "boss9") == []
    assert same_as_fresh(empty_dsn, sql)


def test_plan_names_the_locks_that_a_migration_takes(
    empty_dsn: str, sql: Connection, watched: type[Watched]
) -> None:
    sql.execute(FILL, [ROWS])
    sql.execute("analyze boss9.job")
    before = catalog(sql, "boss9")
    steps = plan(empty_dsn, "boss9")
    assert catalog(sql, "boss9") == before
    locked = {(step.lock, step.tables) for step in steps if step.kind == "change" and step.lock}
    watched.seen.clear()
    migrate.migrate(empty_dsn, "boss9")
    ours = ("boss9.worker", "boss9.job_event", "boss9.queue")
    texts = [one.text for one in watched.seen if one.text.startswith("lock table") and one.held]
    taken = {text for text in texts if not any(table in text for table in ours)}
    assert taken == {
        f"lock table {', '.join(f'boss9.{table}' for table in tables)} in {lock} mode"
        for lock, tables in locked
    }
    # Locks beyond those are of tables that the migration itself made, which are not used yet.
    kept: set[str] = set()
    for one in watched.seen:
        held = {table for table, _ in one.held} & {"job", "archive", "schedule", "version", "subscription"}
        kept = held if one.text in taken else kept & held
        assert held == kept, one
    builds = [step for step in steps if step.kind == "index" and "job" in step.tables]
    assert {(step.rows, step.lock) for step in builds} == {(ROWS, "share update exclusive")}
    assert all(step.seconds > 0 for step in steps)
    assert plan(empty_dsn, "boss9") == []
    assert [step.kind for step in plan(empty_dsn, "empty")] == ["create"]


def test_check_names_what_pgboss_misses_and_changes_nothing(empty_dsn: str, sql: Connection) -> None:
    migrate.migrate(empty_dsn, "boss9")
    check_pgboss(empty_dsn, "boss9")

    def check(damage: str, told: str) -> None:
        with psycopg.connect(empty_dsn) as damaging:
            damaging.execute(damage.encode())
            damaging.commit()
            before = catalog(sql, "boss9"), sql.execute("select * from boss9.version").fetchall()
            with pytest.raises(SchemaVersionError, match=told):
                check_pgboss(empty_dsn, "boss9")
            assert (catalog(sql, "boss9"), sql.execute("select * from boss9.version").fetchall()) == before
            assert sql.execute("select count(*) from boss9.job").fetchone() == (0,)
        sql.execute("drop schema boss9 cascade")
        pgboss9.create(sql)

    index = "create unique index job_singletonkey on boss9.job (name, singletonkey)"
    check_each(
        [
            ("alter table boss9.job drop column on_complete", r"job\.on_complete: must be boolean not null"),
            ("alter table boss9.job alter retrylimit drop default", r"job\.retrylimit: must be integer not"),
            (
                "alter table boss9.job add team text not null",
                r"job\.team: must be nullable or have a default",
            ),
            ("alter type boss9.job_state add value 'paused' before 'active'", "job_state: must be created"),
            ("drop index boss9.job_singletonkey", "job_singletonkey: must be a valid unique index, got none"),
            (f"drop index boss9.job_singletonkey; {index}", "must insert the first job"),
            (
                f"drop index boss9.job_singletonkey; {index} where state < 'active' and singletonon is null",
                "send: must refuse the key of an active job",
            ),
            ("insert into boss9.version values (19)", "version: must be a single row, got 2"),
            ("alter table boss9.job add check (not on_complete)", "send: fails with .*check constraint"),
            ("drop table boss9.subscription", r"subscription\.event: must be text not null, got no such"),
        ],
        check,
    )


async def test_index_build_of_a_killed_migration_is_awaited_and_used(
    empty_dsn: str, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_steps, "_REPORT_AFTER", 0)
    migrate.migrate(empty_dsn, "boss9")
    sql.execute("delete from boss9.zeke_migration where number = 3")
    build = sql.execute("select pg_get_indexdef('boss9.job_claim'::regclass)").fetchall()[0][0]
    sql.execute("drop index boss9.job_claim")
    with psycopg.connect(empty_dsn) as old, ThreadPoolExecutor(2) as pool, logged() as lines:
        # A build waits for every transaction that is older.
        old.execute("insert into boss9.job (name) values ('mail')")
        with psycopg.connect(empty_dsn, autocommit=True) as killed:
            building = pool.submit(killed.execute, build.replace("INDEX", "INDEX CONCURRENTLY", 1))
            begun = "select count(*) from pg_stat_progress_create_index"
            await until(lambda: sql.execute(begun).fetchall() == [(1,)])
            migrating = pool.submit(migrate.migrate, empty_dsn, "boss9")
            # Without a message it waits for the build with a lock, which ends in a deadlock.
            await until(lambda: lines.messages or sql.execute(WAITS).fetchall())
            half = sql.execute("select 'boss9.job_claim'::regclass::oid").fetchall()
            old.rollback()
            building.result()
            assert migrating.result() == ["indexes_of_ours"]
    assert lines.messages == ["migration_waits"]
    assert sql.execute("select 'boss9.job_claim'::regclass::oid").fetchall() == half


def test_documented_sql_removes_all_that_a_migration_added(empty_dsn: str, sql: Connection) -> None:
    """The SQL of docs/adopt-pgboss.md leaves the tables as pg-boss made them, whatever migrations add."""
    before = catalog(sql, "boss9")
    page = (ROOT / "docs/adopt-pgboss.md").read_text(encoding="utf-8").partition("## Back out")[2]
    listing, *changes = re.findall(r"```sql\n(.*?)```", page.replace("pgboss.", "boss9."), re.DOTALL)
    migrate.migrate(empty_dsn, "boss9")
    sql.execute(
        "insert into boss9.job (name, state, startafter, startedon, waitsfor, policy, worker)"
        " select 'mail', state::boss9.job_state, now() + interval '1 day', now(), waitsfor, policy, waitsfor"
        " from (values ('created', gen_random_uuid(), null), ('retry', null, 'unique'),"
        " ('active', gen_random_uuid(), null), ('created', null, null)) as job (state, waitsfor, policy)"
    )
    sql.execute("insert into boss9.queue (name, concurrency_limit) values ('mail', 5), ('free', null)")
    sql.execute("insert into boss9.zeke_schedule (name, cron, task) values ('night', '0 2 * * *', 'mail')")
    listed = [what.partition(",")[0] for what, *_ in sql.execute(listing).fetchall()]
    assert listed == [
        "has a policy or a group key",
        "is active on a worker of Zeke",
        "queue with a limit or a pause",
        "schedule",
        "waits for the end of another job",
    ]
    for block in changes:
        for statement in [block] if block.startswith("BEGIN") else block.split(";")[:-1]:
            sql.execute(statement.encode())
    narrow = {
        row for row in catalog(sql, "boss9") - before if row[2] in ("job_singletonon", "job_singletonkeyon")
    }
    assert catalog(sql, "boss9") - narrow <= before
    assert {row[2] for row in before - catalog(sql, "boss9")} == {row[2] for row in narrow}
    check_pgboss(empty_dsn, "boss9")
    due = sql.execute("select count(*) from boss9.job where state < 'active' and startafter <= now()")
    assert due.fetchone() == (1,)
    assert migrate.migrate(empty_dsn, "boss9")
    assert same_as_fresh(empty_dsn, sql)
