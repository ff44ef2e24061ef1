"""Migrations by way of a pooler in transaction mode, which gives each transaction another connection."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as composing
from psycopg.conninfo import make_conninfo

from tests.database import database_name
from tests.postgres import pgboss9
from tests.postgres.pooler import Pooler, pooled
from zeke_queue.errors import SettingsError, StorageUnavailableError
from zeke_queue.storage.postgres import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.needs("pgbouncer")

SET_BY_SESSIONS = "select name from pg_settings where source = 'session' order by name"
LOCKS = (
    "select count(*) from pg_locks where locktype = 'advisory'"
    " and database = (select oid from pg_database where datname = current_database())"
)


@pytest.fixture
def sql(empty_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def behind(empty_dsn: str) -> Iterator[str]:
    with pooled(empty_dsn) as dsn:
        yield dsn


def left_behind(dsn: str) -> set[str]:
    """Return what is set on any of the pooler's two connections to the server."""
    with ExitStack() as stack:
        transactions = [stack.enter_context(psycopg.connect(dsn, prepare_threshold=None)) for _ in range(2)]
        clean = [set(one.execute(SET_BY_SESSIONS.encode()).fetchall()) for one in transactions]
    return {name for names in clean for (name,) in names if name.endswith("_timeout")}


async def test_migration_and_check_leave_nothing_on_the_connections_of_a_pooler(
    behind: str, sql: Connection
) -> None:
    before = left_behind(behind)  # opens both connections
    for _ in range(3):
        migrate.migrate(behind)
        await migrate.check(behind)
    assert sql.execute(LOCKS.encode()).fetchone() == (0,)
    assert left_behind(behind) == before


@pytest.mark.parametrize("before", ["nothing", "pgboss"])
def test_concurrent_migrations_through_a_pooler_succeed(behind: str, sql: Connection, before: str) -> None:
    if before == "pgboss":
        pgboss9.create(sql)
    pgboss9.check_concurrent_migrations(behind, sql, 6)
    assert sql.execute(LOCKS.encode()).fetchone() == (0,)


def test_index_build_that_a_time_limit_may_cut_is_refused_behind_a_pooler(
    empty_dsn: str, sql: Connection
) -> None:
    pgboss9.create(sql)
    database = composing.Identifier(database_name(empty_dsn))
    sql.execute(composing.SQL("alter database {} set statement_timeout = '5min'").format(database))
    with (
        pooled(empty_dsn) as behind,
        pytest.raises(SettingsError, match=r"Postgres itself .* \(statement_timeout = 5min\) .*--database"),
    ):
        migrate.migrate(behind, "boss9")
    assert migrate.migrate(empty_dsn, "boss9")


def test_pooler_with_a_single_connection_is_refused_with_a_remedy(empty_dsn: str) -> None:
    with (
        Pooler(empty_dsn, size=1, patience=1) as pooler,
        pytest.raises(StorageUnavailableError, match=r"two connections .* default_pool_size, .*--database"),
    ):
        migrate.migrate(pooler.dsn)
    assert migrate.migrate(empty_dsn)


def test_migration_refuses_options_that_its_pooler_refuses(behind: str) -> None:
    options = make_conninfo(behind, options="-c role=owner")
    with pytest.raises(SettingsError, match=r"a pooler refuses: unsupported startup parameter.*; change it"):
        migrate.migrate(options)
