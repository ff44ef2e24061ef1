"""The errors of a server that can't be reached, is too old, refuses, or disappears."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg import sql as composing
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.postgres.many_jobs import Connection, Sender
from tests.postgres.opening import END_ALL, until_one_waits
from zeke_queue.errors import (
    PermissionDeniedError,
    SchemaVersionError,
    SerializationError,
    StorageUnavailableError,
    UnsupportedServerError,
)
from zeke_queue.model import Completed
from zeke_queue.storage.postgres import PostgresStorage, migrate
from zeke_queue.storage.postgres.error_mapping import check_server

NOBODY = "postgresql://nobody@127.0.0.1:9/nowhere?connect_timeout=2"


async def test_missing_server_is_reported_as_unreachable_at_once() -> None:
    with pytest.raises(StorageUnavailableError, match=r"can't be reached: .*127\.0\.0\.1"):
        async with PostgresStorage.open(NOBODY):
            pass
    with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1"):
        await migrate.check(NOBODY)
    with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1"):
        migrate.migrate(NOBODY)


async def test_missing_database_is_named(dsn: str) -> None:
    with pytest.raises(StorageUnavailableError, match="nowhere"):
        async with PostgresStorage.open(make_conninfo(dsn, dbname="nowhere")):
            pass


def test_server_older_than_15_is_rejected_with_its_version() -> None:
    for version in [90_624, 130_012, 140_019]:
        with pytest.raises(
            UnsupportedServerError, match=f"is PostgreSQL {version // 10_000}; PostgreSQL 15 is the oldest"
        ):
            check_server(version)
    for version in (150_000, 180_006):
        check_server(version)


async def test_broken_connection_reports_an_unknown_outcome(dsn: str, storage: PostgresStorage) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await other.execute("lock table pgboss.queue")
        asking = asyncio.ensure_future(storage.queues())
        await until_one_waits(other)
        await other.execute(END_ALL)
        with pytest.raises(StorageUnavailableError):
            await asking


async def test_storage_recovers_when_the_server_returns(jobs: Sender, sql: Connection) -> None:
    await jobs.send()
    sql.execute(END_ALL)
    for _ in range(5):  # at most as many as there are connections that don't know yet
        try:
            claimed = await jobs.claim(1)
        except StorageUnavailableError:
            continue
        break
    assert len(claimed) == 1


async def test_missing_tables_are_reported_with_the_migration_command(
    storage: PostgresStorage, sql: Connection
) -> None:
    sql.execute("drop table pgboss.queue")
    with pytest.raises(SchemaVersionError, match="zeke migrate"):
        await storage.queues()


async def test_missing_permission_is_named(dsn: str, sql: Connection) -> None:
    sql.execute("drop role if exists zeke_sender")
    sql.execute("create role zeke_sender")
    try:
        sql.execute("grant usage on schema pgboss to zeke_sender")
        async with PostgresStorage.open(make_conninfo(dsn, options="-c role=zeke_sender")) as storage:
            with pytest.raises(PermissionDeniedError, match=r"table queue"):
                await storage.queues()
    finally:
        sql.execute("drop owned by zeke_sender")
        sql.execute("drop role zeke_sender")


async def test_read_only_transaction_is_distinguished_from_an_outage(
    dsn: str, storage: PostgresStorage, jobs: Sender
) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.set_read_only(True)
        with pytest.raises(StorageUnavailableError, match=r"is read-only here: .*read-only"):
            async with storage.transaction(connection) as transaction:
                await transaction.insert([jobs.new()])


async def test_options_of_the_dsn_are_kept(dsn: str) -> None:
    patient = make_conninfo(dsn, options="-c statement_timeout=12345")
    async with PostgresStorage.open(patient) as storage, storage.transaction() as transaction:
        cursor = await transaction.connection.execute("show statement_timeout")
        assert await cursor.fetchone() == ("12345ms",)


async def test_connections_use_read_committed_whatever_the_default(dsn: str, sql: Connection) -> None:
    name = composing.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    sql.execute(
        composing.SQL("alter database {} set default_transaction_isolation = serializable").format(name)
    )
    async with PostgresStorage.open(dsn) as storage, storage.transaction() as transaction:
        cursor = await transaction.connection.execute("show transaction_isolation")
        assert await cursor.fetchone() == ("read committed",)


async def test_application_statement_in_a_transaction_has_default_planning(storage: PostgresStorage) -> None:
    async with storage.transaction() as transaction:
        cursor = await transaction.connection.execute(
            "select name, setting from pg_settings"
            " where name in ('plan_cache_mode', 'enable_seqscan', 'jit') order by name"
        )
        settings = await cursor.fetchall()
    assert settings == [("enable_seqscan", "on"), ("jit", "on"), ("plan_cache_mode", "auto")]


async def test_planner_settings_of_the_database_apply_to_application_statements(
    dsn: str, sql: Connection
) -> None:
    name = composing.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    for setting in ("jit = off", "plan_cache_mode = force_custom_plan"):
        sql.execute(composing.SQL("alter database {} set " + setting).format(name))
    async with PostgresStorage.open(dsn) as storage, storage.transaction() as transaction:
        cursor = await transaction.connection.execute(
            "select current_setting('jit'), current_setting('plan_cache_mode')"
        )
        assert await cursor.fetchone() == ("off", "force_custom_plan")


async def test_application_error_in_a_transaction_is_unchanged(storage: PostgresStorage) -> None:
    with pytest.raises(TimeoutError, match="of a page"):
        async with storage.transaction():
            raise TimeoutError("of a page")
    with pytest.raises(psycopg.errors.UndefinedTable, match="page"):
        async with storage.transaction() as transaction:
            await transaction.connection.execute("select * from page")


@pytest.mark.nightly
async def test_deadlocked_statement_is_retried_silently(
    dsn: str, storage: PostgresStorage, jobs: Sender
) -> None:
    await jobs.send(2)
    first, second = await jobs.claim(2)
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await other.execute("set deadlock_timeout = '1min'")  # so that the storage's is aborted
        await other.execute("select from pgboss.job where id = %s for update", [second.id])
        settling = asyncio.ensure_future(
            storage.settle([Completed(first.id, 1, None), Completed(second.id, 1, None)])
        )
        await until_one_waits(other)
        # The settlement holds the first row and waits for the second: now each waits for the other.
        await other.execute("select from pgboss.job where id = %s for update", [first.id])
    assert await settling == {first.id, second.id}


async def test_outputs_reach_their_jobs_with_any_content(storage: PostgresStorage, jobs: Sender) -> None:
    outputs = ['"a"', None, "null", '""', '"\\u001f"', '" , }{ "', '{"a": [1, 2]}', "[]"]
    await jobs.send(len(outputs))
    claimed = await jobs.claim(len(outputs))
    await storage.settle([Completed(job.id, 1, output) for job, output in zip(claimed, outputs, strict=True)])
    stored = await storage.get([job.id for job in claimed])
    expected = ["a", None, None, "", "\x1f", " , }{ ", {"a": [1, 2]}, []]
    assert [stored[job.id].output for job in claimed] == expected


async def test_output_that_would_shift_the_others_is_refused(storage: PostgresStorage, jobs: Sender) -> None:
    await jobs.send(2)
    first, second = await jobs.claim(2)
    with pytest.raises(SerializationError, match="control character"):
        await storage.settle([Completed(first.id, 1, '"a\x1fb"'), Completed(second.id, 1, None)])
