"""Migrations as steps, and how a step runs on tables in use without making others wait.

A step is a transaction that changes definitions, or statements that build indexes concurrently. A transaction
needs locks for which statements of others wait; while it waits for such a lock, they wait behind it. So it
takes locks in three parts: first one that only schema changes and vacuum conflict with, which may take long,
and for which the server cancels an autovacuum; then pg-boss's own; and last the strong ones, for at most
``LOCK_SECONDS``, after which it gives up and tries again later. None of these steps reads rows of ``job`` or
``archive`` under a strong lock.
"""

from __future__ import annotations

import re
import threading
from itertools import count, groupby
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import psycopg

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import LiteralString

    from zeke_queue.storage.postgres.statements import Migration

    Connection = psycopg.Connection[tuple[object, ...]]

POLL_SECONDS: Final = 0.1
_REPORT_AFTER: Final = 50
"""Polls after which the wait for another migration, or for an index build, is logged."""

LOCK_SECONDS: Final = 0.25
"""Seconds for which a step may wait for locks that others then wait for behind it."""

_LOCK_TRIES: Final = 100
_PAUSE: Final = 4
"""The pause between two tries, in multiples of ``LOCK_SECONDS``, in which those that waited go on."""

_HARMLESS_SECONDS: Final = 3
"""Seconds that a try waits for locks behind which nothing of pg-boss waits.

Longer than ``deadlock_timeout``, after which the server cancels an autovacuum that is in the way.
"""

_REPEATED: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.QueryCanceled,  # at the limit for locks
    psycopg.errors.InternalError_,  # of two grants at once: "tuple concurrently updated"
)

NO_LIMITS: Final = (
    "select set_config(name, '0', %s) from pg_settings where setting <> '0' and name in"
    " ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"
)

CONCURRENT: Final = "share update exclusive"
"""The lock of a concurrent index build: nothing that reads or writes rows waits for it."""

_MODES: Final = (CONCURRENT, "share", "share row exclusive", "access exclusive")
_TAKEN: Final = (
    (CONCURRENT, r"create (?:unique )?index concurrently [^;]*? on {schema}\.(\w+)"),
    ("share", r"create (?:unique )?index (?!concurrently)[^;]*? on {schema}\.(\w+)"),
    ("share row exclusive", r"create trigger [^;]*? on {schema}\.(\w+)"),
    (CONCURRENT, r"alter table {schema}\.(\w+) validate constraint"),
    ("access exclusive", r"alter table {schema}\.(\w+) (?!validate constraint)"),
    ("access exclusive", r"drop (?:trigger|index)[^;]*? {schema}\.(job|archive)_"),
)
"""The locks of statements, by patterns that find the table. Weaker ones, which reading and writing rows takes
too, are left out."""

_BUILDS: Final = (
    "select count(*) from pg_stat_progress_create_index as build join pg_class on pg_class.oid = build.relid"
    " where build.datname = current_database() and pg_class.relnamespace = to_regnamespace(%s)"
)


class Step(NamedTuple):
    """A part of a migration.

    Attributes:
        texts: its statements.
        concurrent: whether they build indexes concurrently, each outside of a transaction.
        lock: the strongest lock that it takes on its tables; None if it locks no table.
        tables: the tables that it locks, some of which it may create itself.
        is_last: whether the migration is applied after it.
    """

    number: int
    name: str
    texts: tuple[str, ...]
    concurrent: bool
    lock: str | None
    tables: tuple[str, ...]
    is_last: bool = False


def steps_of(migration: Migration, schema: str, *, fresh_only: bool = False) -> list[Step]:
    """Return the steps of a migration of tables in use, in order.

    Args:
        fresh_only: whether such tables have all that it makes, so that its only step is empty.
    """
    text = "" if fresh_only else migration.fitted(schema)
    parts = [(False, [text] if text else [])]
    if "concurrently" in text:
        groups = groupby(_statements(text), lambda part: "concurrently" in part)
        parts = [(concurrent, list(group)) for concurrent, group in groups]
    steps = [_step(migration, schema, texts, concurrent=concurrent) for concurrent, texts in parts]
    return [*steps[:-1], steps[-1]._replace(is_last=True)]


def _step(migration: Migration, schema: str, texts: list[str], *, concurrent: bool) -> Step:
    bare = re.sub(r"--.*?$|\$\$.*?\$\$", "", ";".join(texts), flags=re.MULTILINE | re.DOTALL)
    bare = " ".join(bare.split())
    found = [
        (mode, table)
        for mode, pattern in _TAKEN
        for table in re.findall(pattern.replace("{schema}", schema), bare)
    ]
    # The one that most statements wait for comes last, so that it is held for the shortest time.
    tables = sorted({table for _, table in found}, key=lambda table: (table == "job", table))
    lock = max((mode for mode, _ in found), key=_MODES.index, default=None)
    return Step(migration.number, migration.name, tuple(texts), concurrent, lock, tuple(tables))


def existing(connection: Connection, schema: str, step: Step) -> list[str]:
    """Return the tables that a step locks and that exist before it."""
    return [name for name in step.tables if one(connection, "select to_regclass(%s)", f"{schema}.{name}")]


def run_step(connection: Connection, schema: str, step: Step, record: str | None) -> None:
    """Run a step that is missing, or was interrupted.

    Args:
        record: the statement that records the migration as applied; None if it has further steps.

    Raises:
        StorageUnavailableError: other sessions keep the tables locked.
    """
    what = f"Migration {step.number:04}"
    recorded = [record] if record else []
    if not step.concurrent:
        locks = list(_locks(schema, existing(connection, schema, step), step.lock))
        run_with_lock_timeout(connection, schema, what, [*step.texts, *recorded], locks)
        return
    for text in step.texts:
        _build(connection, schema, text)
    if record:
        run_with_lock_timeout(connection, schema, what, recorded)


def _locks(schema: str, tables: Sequence[str], lock: str | None) -> Iterator[str]:
    """Yield what takes the locks of a transaction, from the harmless ones to the strong ones."""
    listed = ", ".join(f"{schema}.{table}" for table in tables)
    yield f"set local lock_timeout = '{_HARMLESS_SECONDS}s'"
    if tables:
        yield f"lock table {listed} in {CONCURRENT} mode"
    # No pg-boss changes tables meanwhile.
    yield pgboss_lock(schema)
    if tables:
        yield f"set local statement_timeout = '{LOCK_SECONDS * 1000:.0f}ms'"
        yield f"lock table {listed} in {lock} mode"
        yield "set local statement_timeout = 0"


def run_with_lock_timeout(
    connection: Connection, schema: str, what: str, steps: list[str], locks: Sequence[str] = ()
) -> None:
    """Run in one transaction. Waiting for a lock blocks later sessions, so give up soon and retry.

    Args:
        locks: the statements that take locks before, with limits of their own.
    """
    for _ in range(_LOCK_TRIES):
        try:
            with connection.transaction():
                connection.execute(NO_LIMITS, [True])
                for text in (*locks, f"set local lock_timeout = '{LOCK_SECONDS * 1000:.0f}ms'", *steps):
                    connection.execute(literal(text))
        except _REPEATED:
            threading.Event().wait(_PAUSE * LOCK_SECONDS)
        else:
            return
    raise StorageUnavailableError(
        f"{what} could not lock the tables of schema {schema!r} in {_LOCK_TRIES} tries within "
        f"{_LOCK_TRIES * LOCK_SECONDS * (1 + _PAUSE):.0f} s: a long transaction uses them. End it, and run"
        " `zeke migrate` again"
    )


def _build(connection: Connection, schema: str, text: str) -> None:
    """Build an index, unless an earlier migration did so; redo an interrupted build."""
    built = re.search(r"index concurrently if not exists (\w+)", text)
    for tries in count(1):
        try:
            _await_builds(connection, schema)
            if built:
                _drop_if_invalid(connection, schema, built.group(1))
            connection.execute(literal(text))
        except psycopg.errors.DeadlockDetected:
            # Of a build and a session that changes the table, the server aborts one.
            if tries == _LOCK_TRIES:
                raise
            threading.Event().wait(_PAUSE * LOCK_SECONDS)
        else:
            return


def _await_builds(connection: Connection, schema: str) -> None:
    """Wait for index builds on the schema's tables: the server ends those of a killed migration."""
    for polls in count():
        if not one(connection, _BUILDS, schema):
            return
        report_wait(polls, schema, "an index build on its tables runs, which an interrupted migration began")
        threading.Event().wait(POLL_SECONDS)


def report_wait(polls: int, schema: str, reason: str) -> None:
    """Log that a migration waits, once it has polled for long."""
    if polls == _REPORT_AFTER:
        hint = "wait for it, or stop it and end its sessions with pg_terminate_backend"
        get_logger().warning("migration_waits", schema=schema, reason=reason, hint=hint)


def _drop_if_invalid(connection: Connection, schema: str, index: str) -> None:
    """Drop an invalid index left by an interrupted build: it is maintained, but never used."""
    invalid = "select not indisvalid from pg_index where indexrelid = to_regclass(%s)"
    if one(connection, invalid, f"{schema}.{index}"):
        connection.execute(literal(f"drop index concurrently {schema}.{index}"))


def pgboss_lock(schema: str) -> str:
    """Return the statement that takes pg-boss's lock for schema changes and maintenance."""
    key = f"('x' || md5(current_database() || '.pgboss.{schema}'))::bit(64)::bigint"
    return f"select pg_advisory_xact_lock({key})"


def _statements(text: str) -> list[str]:
    bare = re.sub(r"^--.*$", "", text, flags=re.MULTILINE)
    return [part.strip() for part in bare.split(";") if part.strip()]


def one(connection: Connection, text: str, *parameters: str, missing: bool = False) -> object:
    """Return the single value that a statement selects; ``missing`` if an object in it does not exist."""
    try:
        row = connection.execute(literal(text), parameters or None).fetchone()
    except psycopg.errors.InvalidSchemaName:
        return missing
    return row[0] if row else None


def literal(text: str) -> LiteralString:
    """Declare text literal: it consists of this package's files and a checked schema name."""
    return cast("LiteralString", text)
