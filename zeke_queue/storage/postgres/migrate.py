"""Migrations: create the tables or update them, while workers and a pg-boss 9 keep running.

Any number of processes may migrate concurrently: one does it, and the others poll for its lock. The lock is
held by a transaction on a connection of its own, which lasts as long as the migration: a pooler that gives
each transaction another connection would leave a session's lock on one that later serves others. A concurrent
index build waits for every transaction that has a snapshot; between its statements, this one has none. On
tables in use, indexes are built concurrently and outside pg-boss's own lock, for which its processes wait
when they start.

Source: pg-boss 9 records its version in ``version`` and takes an advisory lock, on the first 64 bits of an
MD5, while it creates or changes tables.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg

from zeke_queue.core.names import schema_name
from zeke_queue.errors import (
    PermissionDeniedError,
    SchemaVersionError,
    SettingsError,
    StorageUnavailableError,
)
from zeke_queue.storage.postgres.error_mapping import check_server, how_to_migrate, translated
from zeke_queue.storage.postgres.migration_steps import (
    NO_LIMITS,
    POLL_SECONDS,
    literal,
    one,
    pgboss_lock,
    report_wait,
    run_step,
    steps_of,
)
from zeke_queue.storage.postgres.session import LIMIT_READS, accepted
from zeke_queue.storage.postgres.statements import migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from zeke_queue.storage.postgres.migration_steps import Connection, Step
    from zeke_queue.storage.postgres.statements import Migration

PGBOSS_VERSION: Final = 20
"""The version of the shared tables: pg-boss 9's last."""

_FRESH_ONLY: Final = 1
_ADOPTED_ONLY: Final = 4

_VERSION: Final = (
    "select true from pg_attribute where attrelid = to_regclass(%s) and attname = 'version'"
    " and atttypid = 'int'::regtype"
)
"""Whether a table is pg-boss's version table, not one of an application."""

_EMPTY_SECONDS: Final = 60
"""Seconds that a migration of an empty schema waits for a pg-boss that starts there."""

_POOL_EXHAUSTED: Final = "query_wait_timeout"
"""PgBouncer's message for it, which has no SQLSTATE."""

_LIMITS: Final = (
    "select string_agg(name || ' = ' || current_setting(name), ', ' order by name) from pg_settings"
    " where setting <> '0' and name in ('statement_timeout', 'lock_timeout', 'transaction_timeout')"
)
"""Selects the time limits that may cut an index build short: the role's, unless this session set others."""

RIGHTS: Final = {
    "job": "select, insert, update, delete",
    "archive": "select, insert, update, delete",
    "schedule": "select, insert, update, delete",
    "zeke_any_schedule": "select, update, delete",
    "zeke_schedule": "select, insert, update, delete",
    "version": "select",
    "queue": "select, insert, update",
    "worker": "select, insert, update, delete",
    "watcher": "select, insert, update, delete",
    "job_event": "select, insert, delete",
    "zeke_migration": "select",
}
"""The rights of a role that runs workers and sends jobs."""

API_RIGHTS: Final = {
    "api_key": "select, insert, update",
    "api_session": "select, insert, update, delete",
    "rate_limit": "select, insert, update, delete",
}
"""The further rights of a role that serves the HTTP API, or creates keys for it."""


class Found(NamedTuple):
    """The contents of a schema: whether it has tables, pg-boss's version, and applied migration numbers."""

    tables: bool
    version: int | None
    applied: frozenset[int]


def migrate(dsn: str, schema: str = "pgboss") -> list[str]:
    """Create the tables in a schema or update them; safe when several processes do so concurrently.

    Returns:
        The names of the applied migrations; empty if all were applied before.

    Raises:
        SchemaVersionError: the tables are of a pg-boss older than 9 or newer, or are not pg-boss's; nothing
            was changed.
        StorageUnavailableError: the database can't be reached, or another session keeps the tables locked.
        PermissionDeniedError: the role may not create the schema, or does not own the tables.
        UnsupportedServerError: the server is older than PostgreSQL 15.
        SettingsError: the connection is a pooler's, which keeps no settings, and the role has a time limit
            that may cut an index build short.
    """
    schema = schema_name(schema)
    with translated(), two_connections(), connected(dsn) as connection, alone(dsn, schema) as holds:
        if not _is_pooled(connection):
            connection.execute(NO_LIMITS, [False])
        holds()
        found = find(connection, schema)
        applied = [] if found.tables else _make(connection, schema)
        found = find(connection, schema)
        return applied + _adopt(connection, schema, found, holds)


def sql(schema: str = "pgboss") -> str:
    """Return the SQL that creates the tables in a new schema, to be run by hand."""
    schema = schema_name(schema)
    steps = [f"-- {m.number:04} {m.name}\n{_plain(m.fitted(schema))}" for m in migrations() if _is_fresh(m)]
    note = _record(schema, migrations())
    return "\n".join(["begin;\n", *steps, f"{_ledger(schema)};\n", f"{note};\n", "commit;\n"])


async def check(dsn: str, schema: str = "pgboss", *, reading: bool = False) -> None:
    """Check that the database is usable; change nothing.

    Args:
        reading: whether the tables will only be read, for which the right to select is enough.

    Raises:
        SchemaVersionError: the tables are missing, not up to date, or another system's; the message has the
            remedy.
        PermissionDeniedError: the role lacks a right; the message names the first one, and how to grant all.
        StorageUnavailableError: the database can't be reached, or another session keeps the tables locked.
        UnsupportedServerError: the server is older than PostgreSQL 15.
    """
    await asyncio.to_thread(_check, await accepted(dsn), schema_name(schema), reading=reading)


def _check(dsn: str, schema: str, *, reading: bool) -> None:
    with translated(), connected(dsn) as connection:
        if not one(connection, "select has_schema_privilege(%s, 'usage')", schema, missing=True):
            raise _lacking(connection, "usage", f"schema {schema}", schema, reading=reading)
        to_read = dict.fromkeys(RIGHTS, "select")
        # Check this first, since the schema's contents can't be read without these rights.
        _check_rights(connection, schema, to_read, reading=reading, of="to_regclass(%s)")
        with connection.transaction():
            connection.execute(LIMIT_READS)
            found = find(connection, schema)
        if not found.tables:
            raise SchemaVersionError(
                f"Schema {schema!r} does not have Zeke's tables yet. {how_to_migrate(schema)}"
            )
        if missing := [m.name for m in migrations() if m.number not in found.applied]:
            raise SchemaVersionError(
                f"Schema {schema!r} is not up to date: {', '.join(missing)} not applied. "
                f"{how_to_migrate(schema)}"
            )
        _check_rights(connection, schema, to_read if reading else RIGHTS, reading=reading)


def _check_rights(
    connection: Connection, schema: str, wanted: Mapping[str, str], *, reading: bool, of: str = "%s"
) -> None:
    """Check that the role has these rights; ``of`` may exclude those on missing tables."""
    for table, rights in wanted.items():
        for right in rights.split(", "):
            has = one(connection, f"select has_table_privilege({of}, %s)", f"{schema}.{table}", right)
            if has is False:
                raise _lacking(connection, right, f"{schema}.{table}", schema, reading=reading)


def _lacking(
    connection: Connection, right: str, on: str, schema: str, *, reading: bool
) -> PermissionDeniedError:
    """Return which right is missing, and that doctor prints all grants."""
    role, quoted = connection.execute("select current_user::text, quote_ident(current_user)").fetchall()[0]
    advice = (
        f"As the tables' owner: grant usage on schema {schema} to {quoted};"
        f" grant select on all tables in schema {schema} to {quoted}"
        if reading
        else f"Grant it: run `zeke migrate --grant {role}` as the tables' owner, or connect as the owner"
        " (`zeke doctor` prints all that are missing)"
    )
    return PermissionDeniedError(f"Role {role!r} lacks the right {right} on {on}. {advice}")


@contextmanager
def connected(dsn: str) -> Generator[Connection]:
    """Connect to change a schema, with a transaction for each statement."""
    with psycopg.connect(
        dsn, autocommit=True, connect_timeout=10, application_name="zeke migrate"
    ) as connection:
        check_server(connection.info.server_version)
        # The next transaction may be on another connection of a pooler, which knows no such statement.
        connection.prepare_threshold = None
        yield connection


def _is_pooled(connection: Connection) -> bool:
    """Return whether the connection goes through a pooler, which gives clients process ids of its own."""
    return one(connection, "select pg_backend_pid()") != connection.info.backend_pid


@contextmanager
def two_connections() -> Generator[None]:
    """Report what a migration needs of a pooler that has one connection, which the lock occupies."""
    try:
        yield
    except psycopg.OperationalError as error:
        if _POOL_EXHAUSTED not in str(error):
            raise
        raise StorageUnavailableError(
            "A migration needs two connections of the pooler at once, got one: raise its default_pool_size,"
            " or run `zeke migrate --database DSN` with the host and port of Postgres"
        ) from error


@contextmanager
def alone(dsn: str, schema: str) -> Generator[Callable[[], object]]:
    """Wait until no other process migrates this schema, and exclude others.

    Yields:
        A check, which raises if the lock was lost with its connection.
    """
    key = f"('x' || md5(current_database() || '.zeke.{schema}'))::bit(64)::bigint"
    with connected(dsn) as connection:
        for polls in count():
            connection.execute("begin isolation level read committed")
            connection.execute(NO_LIMITS, [True])
            if one(connection, f"select pg_try_advisory_xact_lock({key})"):
                break
            connection.execute("rollback")
            reason = "another process migrates this schema, or grants rights on it"
            report_wait(polls, schema, reason)
            threading.Event().wait(POLL_SECONDS)
        try:
            yield partial(connection.execute, "select")
        finally:
            if not connection.closed:
                connection.execute("rollback")


def find(connection: Connection, schema: str) -> Found:
    """Return the contents of a schema.

    Raises:
        SchemaVersionError: it belongs to another pg-boss, or to another system.
    """

    def has(table: str) -> bool:
        return bool(one(connection, "select to_regclass(%s) is not null", f"{schema}.{table}"))

    tables = [has(table) for table in ("version", "job", "archive")]
    version = one(connection, _VERSION, f"{schema}.version") and one(
        connection,
        f"select max(version) from {schema}.version",  # noqa: S608 - the name is checked
    )
    numbers: list[int] = []
    if has("zeke_migration"):
        applied = literal(f"select number from {schema}.zeke_migration")  # noqa: S608 - the name is checked
        rows = connection.execute(applied).fetchall()
        numbers = [int(str(row[0])) for row in rows]
    contents = Found(any(tables), int(str(version)) if version is not None else None, frozenset(numbers))
    _refuse_others(contents, schema)
    return contents


def _refuse_others(found: Found, schema: str) -> None:
    if not found.tables:
        return
    if found.version is None:
        raise _not_ours(schema, "no pg-boss version is recorded there")
    if found.version > PGBOSS_VERSION:
        raise SchemaVersionError(
            f"Schema {schema!r} belongs to pg-boss 10 or later (its version {found.version}), whose tables "
            "differ; nothing was changed. Set JOBS_SCHEMA to another name, and import its jobs with "
            f"`zeke import-pgboss --from-schema {schema}`"
        )
    if found.version < PGBOSS_VERSION:
        raise SchemaVersionError(
            f"Schema {schema!r} is of an older pg-boss (version {found.version}, not {PGBOSS_VERSION}). "
            "Start pg-boss 9.0.3 on it once, which brings the tables up to date, and migrate then"
        )


def _not_ours(schema: str, seen: str) -> SchemaVersionError:
    return SchemaVersionError(
        f"Schema {schema!r} has tables that are not pg-boss's ({seen}); nothing was changed. "
        "Set JOBS_SCHEMA to another name"
    )


def _make(connection: Connection, schema: str) -> list[str]:
    """Create everything at once in an empty schema, unless a pg-boss does so first."""
    steps = [m for m in migrations() if _is_fresh(m)]
    try:
        with connection.transaction():
            connection.execute(NO_LIMITS, [True])
            connection.execute(literal(f"set local lock_timeout = '{_EMPTY_SECONDS}s'"))
            connection.execute(literal(pgboss_lock(schema)))
            if find(connection, schema).tables:
                return []
            for migration in steps:
                connection.execute(literal(_plain(migration.fitted(schema))))
            connection.execute(literal(_ledger(schema)))
            connection.execute(literal(_record(schema, migrations())))
    except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject) as error:
        raise _not_ours(schema, str(error).partition("\n")[0]) from error
    except psycopg.errors.LockNotAvailable as error:
        raise StorageUnavailableError(
            f"A pg-boss that starts on schema {schema!r} keeps its lock for more than"
            f" {_EMPTY_SECONDS} s. End its transaction, and run `zeke migrate` again"
        ) from error
    return [m.name for m in steps]


def _adopt(connection: Connection, schema: str, found: Found, holds: Callable[[], object]) -> list[str]:
    """Apply missing migrations to tables that are in use."""
    steps = missing_steps(schema, found)
    if steps:
        connection.execute(literal(_ledger(schema)))
    for step in steps:
        holds()
        if step.concurrent:
            _check_limits(connection)
        run_step(connection, schema, step, _record(schema, [step]) if step.is_last else None)
    return [step.name for step in steps if step.is_last and step.texts]


def missing_steps(schema: str, found: Found) -> list[Step]:
    """Return the steps of all migrations that tables in use lack, in order."""
    return [
        step
        for migration in migrations()
        if migration.number not in found.applied
        for step in steps_of(migration, schema, fresh_only=migration.number == _FRESH_ONLY)
    ]


def _check_limits(connection: Connection) -> None:
    """Refuse time limits that this connection could not remove."""
    if limits := one(connection, _LIMITS):
        raise SettingsError(
            f"DATABASE_PRIMARY_URL: must name Postgres itself for this migration, which builds indexes, got a"
            f" pooler, which keeps no settings, and time limits ({limits}) that may cut the builds short; run"
            " `zeke migrate --database DSN` with the host and port of Postgres, or set these limits to 0"
        )


def _is_fresh(migration: Migration) -> bool:
    return migration.number != _ADOPTED_ONLY


def _plain(text: str) -> str:
    """Make index builds non-concurrent, since new tables are not in use."""
    return text.replace(" concurrently", "")


def _ledger(schema: str) -> str:
    return (
        f"create table if not exists {schema}.zeke_migration "
        "(number int primary key, name text not null, applied_on timestamptz not null default now())"
    )


def _record(schema: str, applied: Sequence[Migration | Step]) -> str:
    rows = ", ".join(f"({m.number}, '{m.name}')" for m in applied)
    table = f"{schema}.zeke_migration (number, name)"
    return f"insert into {table} values {rows} on conflict do nothing"  # noqa: S608 - the name is checked
