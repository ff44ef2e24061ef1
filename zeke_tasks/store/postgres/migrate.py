"""Migrations of the schema ``zeke``, run by ``zeke migrate``.

Migrations are ``migrations/NNNN_what_they_do.sql``. All missing ones are applied in order in one transaction,
under an advisory lock: of several processes that start concurrently, one migrates and the others find nothing
to do.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Final, LiteralString, NamedTuple, cast

import psycopg
from psycopg import errors

from zeke_queue.errors import PermissionDeniedError, SchemaVersionError, StorageUnavailableError
from zeke_queue.storage.postgres.error_mapping import translated
from zeke_queue.storage.postgres.grants import ALL, run_grants
from zeke_queue.storage.postgres.session import LIMIT_READS, accepted
from zeke_queue.system import logging as log

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('zeke.migration', 0))"
_SCHEMA: Final = """\
create schema if not exists zeke;

"""
_TABLE: Final = """\
create table if not exists zeke.migration (
    number integer primary key,
    name text not null,
    applied_on timestamptz not null
);
"""
_NOTE: Final = """\
insert into zeke.migration (number, name, applied_on)
values ({number}, '{name}', statement_timestamp());
"""


class Migration(NamedTuple):
    """One migration: its number, its name without the number, and its statements."""

    number: int
    name: str
    text: LiteralString

    @property
    def whole(self) -> LiteralString:
        """The statements, and the insert that records the migration."""
        # Both come from the package's own file names, so there is no injection.
        note = _NOTE.format(number=self.number, name=self.name)
        return self.text + "\n" + cast("LiteralString", note)


def migrations() -> Sequence[Migration]:
    """Return every migration, in order."""
    folder = files("zeke_tasks.store.postgres") / "migrations"
    found: list[Migration] = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql"):
            # The files are part of the package, so they are as safe as a literal.
            text = cast("LiteralString", file.read_text(encoding="utf-8"))
            found.append(Migration(int(number), name, text))
    return found


def sql() -> str:
    """Return the SQL that ``migrate`` runs on an empty database, for review or manual execution."""
    return "\n".join(["begin;\n", _SCHEMA + _TABLE, *(step.whole for step in migrations()), "commit;\n"])


def migrate(dsn: str) -> list[str]:
    """Apply the missing migrations.

    Returns:
        The names of the applied migrations, in order; empty if the tables were up to date.

    Raises:
        StorageUnavailableError: the database can't be reached.
        PermissionDeniedError: the role is not allowed to create the schema or the tables.
    """
    try:
        with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction():
            connection.add_notice_handler(_hand_on)
            connection.execute(_LOCK)
            # "create … if not exists" requires the CREATE privilege even if the schema exists, so check
            # first.
            if connection.execute("select to_regnamespace('zeke')").fetchone() == (None,):
                connection.execute(_SCHEMA)
            if connection.execute("select to_regclass('zeke.migration')").fetchone() == (None,):
                connection.execute(_TABLE)
            missing = _missing(connection)
            for step in missing:
                connection.execute(step.whole)
    except errors.InsufficientPrivilege as error:
        raise PermissionDeniedError(
            f"The role may not make the tables of schema zeke ({error.diag.message_primary}): migrate with a"
            " role that owns the schema, or that has CREATE on the database."
        ) from error
    except psycopg.OperationalError as error:
        raise StorageUnavailableError(f"The database can't be migrated: {error}") from error
    return [step.name for step in missing]


def grant(dsn: str, role: str) -> None:
    """Grant a role the rights of the tasks on all tables of the schema."""
    run_grants(dsn, "zeke", role, {ALL: "select, insert, update, delete"})


async def check(dsn: str) -> None:
    """Check that the tables exist and are new enough; newer ones are accepted.

    Raises:
        SchemaVersionError: they are missing or too old; the message says what to do.
        StorageUnavailableError: the database can't be reached, or another session keeps the table locked.
    """
    await asyncio.to_thread(_check, await accepted(dsn))


def _check(dsn: str) -> None:
    with translated():
        try:
            with psycopg.connect(dsn, connect_timeout=10) as connection:
                connection.execute(LIMIT_READS)
                missing = _missing(connection)
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            missing = migrations()
    if missing:
        names = ", ".join(step.name for step in missing)
        raise SchemaVersionError(f"The schema zeke lacks {names}: run `zeke migrate`.")


def _hand_on(notice: errors.Diagnostic) -> None:
    """Log warnings of a migration; notices that an object exists already are ignored."""
    if notice.severity_nonlocalized == "WARNING":
        log.get_logger().warning(notice.message_primary or "")


def _missing(connection: psycopg.Connection) -> list[Migration]:
    applied = {number for (number,) in connection.execute("select number from zeke.migration").fetchall()}
    return [step for step in migrations() if step.number not in applied]
