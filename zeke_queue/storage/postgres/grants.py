"""Grants for a role that runs workers, serves the API and sends jobs, without owning the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from psycopg import errors, sql

from zeke_queue.core.names import schema_name
from zeke_queue.errors import InvalidOptionError, PermissionDeniedError
from zeke_queue.storage.postgres.error_mapping import translated
from zeke_queue.storage.postgres.migrate import (
    API_RIGHTS,
    RIGHTS,
    alone,
    connected,
    two_connections,
)
from zeke_queue.storage.postgres.migration_steps import run_with_lock_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import LiteralString

ALL: Final = "*"


def grant(dsn: str, schema: str, role: str) -> None:
    """Grant a role the rights that workers and the API need, on every table of a migrated schema.

    Raises:
        InvalidOptionError: there is no such role.
        PermissionDeniedError: the tables belong to another role.
        StorageUnavailableError: the database can't be reached, or another session keeps the tables locked.
    """
    rights = {**RIGHTS, **API_RIGHTS, "zeke_job": "select"}
    run_grants(dsn, schema_name(schema), role, rights)


def run_grants(dsn: str, schema: str, role: str, rights: Mapping[str, str]) -> None:
    """Grant rights by table, ``*`` for all tables of the schema; raises the errors of ``grant``."""
    refused: list[str] = []
    place, grantee = sql.Identifier(schema), sql.Identifier(role)
    granted = [sql.SQL("grant usage on schema {} to {}").format(place, grantee)]
    for table, words in rights.items():
        on = (
            sql.SQL("all tables in schema {}").format(place)
            if table == ALL
            else sql.SQL("{}.{}").format(place, sql.Identifier(table))
        )
        # The rights are words of this package, so they are as safe as a literal.
        what = sql.SQL(cast("LiteralString", words))
        granted.append(sql.SQL("grant {} on {} to {}").format(what, on, grantee))
    with translated(), two_connections(), connected(dsn) as connection, alone(dsn, schema):
        # A role without the right to grant gets a warning, not an error, if it may use the table itself.
        connection.add_notice_handler(lambda notice: refused.append(notice.message_primary or ""))
        try:
            run_with_lock_timeout(connection, schema, "The grant", [one.as_string() for one in granted])
        except errors.UndefinedObject:
            raise _no_role(role) from None
        except errors.InsufficientPrivilege as error:
            refused.append(error.diag.message_primary or "")
    if refused:
        raise PermissionDeniedError(
            f"The role may not grant rights on schema {schema} ({refused[0]}): migrate as the"
            " owner of its tables"
        )


def check_role(dsn: str, role: str) -> None:
    """Check that a role exists. Raises as ``grant``."""
    with translated(), connected(dsn) as connection:
        if not connection.execute("select from pg_roles where rolname = %s", [role]).fetchall():
            raise _no_role(role)


def _no_role(role: str) -> InvalidOptionError:
    return InvalidOptionError(f"--grant: must be a role of the database, got {role!r}; create it first")
