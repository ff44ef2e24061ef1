"""Statements of the domain's store are files, which Postgres can prepare on the tables of the migrations."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from uuid import UUID

import psycopg
import pytest
from psycopg.pq import ExecStatus

from tests.clocks import START
from zeke_queue.errors import SchemaVersionError, StorageUnavailableError
from zeke_tasks.store.model import NewItem, NewSource, SourceType
from zeke_tasks.store.postgres import migrate
from zeke_tasks.store.postgres.repository import PostgresRows
from zeke_tasks.store.postgres.statements import STATEMENTS


def test_each_statement_can_be_prepared(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn) as connection:
        for name, text in STATEMENTS.items():
            prepared = connection.pgconn.prepare(name.encode(), _numbered(text).encode())
            assert prepared.status == ExecStatus.COMMAND_OK, (name, prepared.error_message)


def _numbered(text: str) -> str:
    """Return a statement with its parameters as Postgres counts them."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    return re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", text).replace("%%", "%")


async def test_times_are_in_utc_in_any_timezone_of_the_connection(dsn: str) -> None:
    migrate.migrate(dsn)
    async with await psycopg.AsyncConnection.connect(dsn, options="-c timezone=Asia/Tokyo") as connection:
        rows = PostgresRows(connection, lambda: START)
        source = await rows.ensure_source(UUID(int=1), NewSource(SourceType.RSS, "a", "https://a.example/"))
        await rows.record_failure(source.id, next_check_in=60, message="boom")
        (key,) = await rows.put_items(source.id, [NewItem(external_id="1", published_at=START)])
        health, (item,) = await rows.health(source.id), await rows.items([key])
    assert health is not None
    times = [health.next_check_at, health.last_error_at, item.published_at]
    assert [time and time.tzinfo for time in times] == [UTC] * 3


async def test_migrating_again_changes_nothing(dsn: str) -> None:
    assert migrate.migrate(dsn) == ["sources_to_stories", "stories_to_runs", "prompts_of_briefs"]
    assert migrate.migrate(dsn) == []
    await migrate.check(dsn)


def test_concurrent_migrations_run_once(dsn: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        applied = [names for names in threads.map(migrate.migrate, [dsn] * 8) if names]
    assert applied == [["sources_to_stories", "stories_to_runs", "prompts_of_briefs"]]


async def test_printed_sql_creates_the_same_tables(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(migrate.sql().encode())
    await migrate.check(dsn)
    assert migrate.migrate(dsn) == []


async def test_missing_tables_say_what_to_run(dsn: str) -> None:
    with pytest.raises(SchemaVersionError, match="zeke migrate"):
        await migrate.check(dsn)


async def test_missing_database_is_unavailable() -> None:
    nowhere = "postgresql://127.0.0.1:1/nothing?connect_timeout=2"
    with pytest.raises(StorageUnavailableError):
        migrate.migrate(nowhere)
    with pytest.raises(StorageUnavailableError):
        await migrate.check(nowhere)


async def test_newer_schema_is_accepted(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into zeke.migration values (9999, 'later', now())")
    await migrate.check(dsn)
