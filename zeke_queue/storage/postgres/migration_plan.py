"""What a migration would do to a schema: its steps, the locks of each, and an estimate of its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.core.names import schema_name
from zeke_queue.storage.postgres.error_mapping import translated
from zeke_queue.storage.postgres.migrate import connected, find, missing_steps
from zeke_queue.storage.postgres.migration_steps import CONCURRENT, LOCK_SECONDS, existing
from zeke_queue.storage.postgres.session import LIMIT_READS

if TYPE_CHECKING:
    from zeke_queue.storage.postgres.migration_steps import Connection

_SIZES: Final = (
    "select coalesce(sum(pg_table_size(oid)), 0)::int8, coalesce(sum(greatest(reltuples, 0)), 0)::int8"
    " from pg_class where oid = any(%s::regclass[])"
)
STEP_SECONDS: Final = 0.1
"""Estimated seconds of a step that reads no rows."""

BYTES_PER_SECOND: Final = 200e6
ROWS_PER_SECOND: Final = 1e6
"""Estimated speed at which a build reads a table, which it does twice, and sorts its rows."""

METHOD: Final = (
    f"Locks other than {CONCURRENT}, behind which nothing that reads or writes rows waits, are awaited for"
    f" {LOCK_SECONDS:g} s at a time. Estimates: {STEP_SECONDS:g} s a step, and for each index two reads"
    f" of its table at {BYTES_PER_SECOND / 1e6:.0f} MB/s and its rows at {ROWS_PER_SECOND / 1e6:g} million/s,"
    " by the server's statistics; a slow or busy server takes several times as long. A build also waits for"
    " transactions that are older than itself."
)


class PlannedStep(NamedTuple):
    """A step of a migration that is missing.

    Attributes:
        kind: "create" for all tables of an empty schema, "index" for concurrent builds, "change" for others.
        lock: the lock that it takes on ``tables``, which exist; None if it locks none.
        rows: the estimated number of their rows, if the step reads them, and ``size`` their bytes.
        seconds: the estimated time.
    """

    number: int
    name: str
    kind: str
    lock: str | None
    tables: tuple[str, ...]
    rows: int
    size: int
    seconds: float


def plan(dsn: str, schema: str = "pgboss") -> list[PlannedStep]:
    """Return the steps that ``migrate`` would run now; change nothing, and take no lock that others wait for.

    Raises:
        SchemaVersionError: ``migrate`` would refuse the schema.
        StorageUnavailableError: the database can't be reached.
        UnsupportedServerError: the server is older than PostgreSQL 15.
    """
    schema = schema_name(schema)
    with translated(), connected(dsn) as connection, connection.transaction():
        connection.execute("set transaction read only")
        connection.execute(LIMIT_READS)
        found = find(connection, schema)
        if not found.tables:
            return [PlannedStep(1, "all_tables", "create", None, (), 0, 0, STEP_SECONDS)]
        planned: list[PlannedStep] = []
        for step in missing_steps(schema, found):
            if not step.texts:
                continue
            tables = tuple(existing(connection, schema, step))
            lock = step.lock if tables else None
            kind, size, rows, seconds = "change", 0, 0, STEP_SECONDS
            if step.concurrent:
                kind = "index"
                size, rows = _sizes(connection, schema, tables)
                reading = 2 * size / BYTES_PER_SECOND + rows / ROWS_PER_SECOND
                seconds += len(step.texts) * reading / max(1, len(tables))
            planned.append(PlannedStep(step.number, step.name, kind, lock, tables, rows, size, seconds))
        return planned


def _sizes(connection: Connection, schema: str, tables: tuple[str, ...]) -> tuple[int, int]:
    named = [f"{schema}.{table}" for table in tables]
    ((size, rows),) = connection.execute(_SIZES, [named]).fetchall()
    return int(str(size)), int(str(rows))
