"""Translation of the driver's errors to this package's; the only module that reads SQLSTATEs."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from zeke_queue.errors import (
    LockTimeoutError,
    PermissionDeniedError,
    SchemaVersionError,
    SettingsError,
    StatementFailedError,
    StatementTimeoutError,
    StorageUnavailableError,
    UnsupportedServerError,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from zeke_queue.errors import StorageError

OLDEST_SERVER: Final = 15

_DEFAULT_SCHEMA: Final = "pgboss"

_MISSING: Final = ("3F000", "42P01", "42703", "42704", "42883")  # schema, table, column, type, function
_GONE: Final = ("08", "57P", "53", "58")  # connection, shutdown, resources, system
_LOCKED: Final = "55P03"
_CANCELLED: Final = ("57014", "25P04")  # by statement_timeout, an operator, or transaction_timeout
_IDLE: Final = "25P03"
_TOO_MANY: Final = "54000"
_READ_ONLY: Final = "25006"
_SERIALIZATION: Final = ("40001", "40P01")

_NAMED_SCHEMA: Final = re.compile(r"schema \"(\w+)\"|\"(\w+)\.\w+\"")
_REFUSED: Final = re.compile(r"permission denied for (\w+) (\S+)")

# libpq checks options when it connects, and has no code for these errors, so match their text.
_WRONG_OPTION: Final = re.compile(
    r"invalid \S+ value: .*|invalid integer value .* for connection option .*"
    r"|definition of service .* not found|could not parse network address .*|unsupported startup parameter.*"
)


_OF_VALUES: Final = ("22", "23", "44", "54", "P0")
"""Classes of errors in the values of a statement: data, constraints, views, sizes, and errors of triggers."""


class _Failures:
    """Context manager that turns errors of the driver into failures of a statement.

    Args:
        values: whether errors in values propagate unchanged, so that the caller can tell them apart.
    """

    def __init__(self, *, values: bool) -> None:
        self._values = values

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, psycopg.Error):
            return
        state = error.sqlstate
        if self._values and (not state or is_of_values(state)):
            return
        raise StatementFailedError(
            f"The database failed in a statement ({state or type(error).__name__}): {str(error).strip()}."
            " See the server's log"
        ) from error


class _Translation:
    """A context entered around every statement; a class, since a generator would cost more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _DRIVERS):
            mine = _wrong_option(error) or as_storage_error(error)
            if mine is not None:
                raise mine from error


_DRIVERS: Final = (TimeoutError, psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests, OSError)
_TRANSLATION: Final = _Translation()
_VALUE_ERRORS_ONLY: Final = _Failures(values=True)
_NO_ERRORS: Final = _Failures(values=False)


def translated() -> AbstractContextManager[None]:
    """Translate errors of the driver that are meaningful to a caller; others propagate unchanged.

    Raises:
        SettingsError: the connection string has an option that libpq refuses.
        StorageError: see ``as_storage_error``.
    """
    return _TRANSLATION


def as_storage_error(error: Exception, state: str | None = None) -> StorageError | None:
    """Return the error as a storage error, or None if it is not meaningful to a caller.

    Args:
        state: its SQLSTATE, if it is not in psycopg's place.
    """
    state = str(state or getattr(error, "sqlstate", None) or "")
    message = str(error).strip().partition("\n")[0]
    if state == "42501":
        named = re.search(r"role \"([^\"]+)\"", str(error))
        role = f"Role {named[1]!r}" if named else "The role"
        return PermissionDeniedError(f"{role} lacks a right: {message}. {_grant(message)}")
    if state in _MISSING:
        named = _NAMED_SCHEMA.search(message)
        schema = named and (named[1] or named[2])
        return SchemaVersionError(
            f"The tables differ from the expected ones: {message}. {how_to_migrate(schema)}"
        )
    if is_notify_queue_full(error):
        return StorageUnavailableError(
            f"The transaction was rolled back: {message}. Repeat it; it then sends no notifications."
            " `zeke doctor` names the session that prevents the queue's cleanup"
        )
    if state == _LOCKED:
        return LockTimeoutError.of(message)
    if state in _CANCELLED:
        return StatementTimeoutError(_cut(message))
    unavailable = _why_unavailable(error, state, message)
    return None if unavailable is None else StorageUnavailableError(unavailable)


def _why_unavailable(error: Exception, state: str, message: str) -> str | None:
    if state in ("28000", "28P01"):
        return f"The database refuses this login: {message}. Check user and password"
    if state == _IDLE:
        return _cut(message)
    if state == _READ_ONLY:
        return (
            f"The database is read-only here: {message}. It is a standby, or the transaction was begun read"
            " only; check that DATABASE_PRIMARY_URL names the primary"
        )
    if isinstance(error, PoolTimeout | TooManyRequests):
        return (
            f"No connection to the database was free in time: {message}. Check that the server answers, and"
            " that JOBS_POOL_MAX suffices for all concurrent calls"
        )
    if state.startswith(_GONE) or (not state and _broke(error)):
        return (
            f"The database can't be reached: {message or type(error).__name__}. Check that the server runs"
            " and admits this host and user, and that DATABASE_PRIMARY_URL names it"
        )
    return None


def _cut(message: str) -> str:
    return (
        f"The database ended a statement or transaction at a time limit: {message}. If it happens again, find"
        " the slow statement, or raise the limit (statement_timeout and the like) in the connection string's"
        " options"
    )


def how_to_migrate(schema: str | None) -> str:
    """Return how to migrate a schema; one that is not the default must be named in the command.

    Args:
        schema: None if it is unknown.
    """
    if schema is None:
        return "Run `zeke migrate` on the same --schema or JOBS_SCHEMA"
    if schema == _DEFAULT_SCHEMA:
        return "Run `zeke migrate`"
    return f"Run `zeke --schema {schema} migrate`, or set JOBS_SCHEMA={schema} for both"


def is_worth_repeating(error: BaseException) -> bool:
    """Return whether the server rolled back because of a concurrent transaction (deadlock, serialization)."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _SERIALIZATION


def value_errors_only() -> AbstractContextManager[None]:
    """Translate errors that are not about the values of a statement; the others propagate unchanged.

    Raises:
        StatementFailedError: the database failed.
    """
    return _VALUE_ERRORS_ONLY


def no_driver_errors() -> AbstractContextManager[None]:
    """Translate all errors of the driver, for statements whose values are this package's own.

    A trigger of another program, for example, must not end a worker.

    Raises:
        StatementFailedError: the database failed.
    """
    return _NO_ERRORS


def is_of_values(state: str) -> bool:
    """Return whether an SQLSTATE means that the server refuses a value, so that a retry can't succeed."""
    return state.startswith(_OF_VALUES)


def is_notify_queue_full(error: BaseException) -> bool:
    """Return whether a commit failed because its notifications do not fit into the server's queue."""
    return (
        isinstance(error, psycopg.Error)
        and error.sqlstate == _TOO_MANY
        and (error.diag.source_function == "PreCommit_Notify" or "NOTIFY queue" in str(error))
    )


def check_server(version: int) -> None:
    """Refuse a server that is too old.

    Args:
        version: in the form of ``server_version_num``, 150004 for 15.4.

    Raises:
        UnsupportedServerError: it is older than PostgreSQL 15.
    """
    major = version // 10_000
    if major < OLDEST_SERVER:
        raise UnsupportedServerError(
            f"The server is PostgreSQL {major}; PostgreSQL {OLDEST_SERVER} is the oldest supported version. "
            "Upgrade it, or connect to another one"
        )


def _broke(error: Exception) -> bool:
    """Return whether a connection failed to open, broke, or was closed during a statement."""
    if isinstance(error, psycopg.ProgrammingError):
        # psycopg detects an invalid connection string by itself, and retrying does not help.
        return False
    return isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError | PoolClosed | OSError | asyncio.TimeoutError
    )


def _wrong_option(error: Exception) -> SettingsError | None:
    """Return the error in the connection string, if libpq refused one of its options."""
    if not isinstance(error, psycopg.OperationalError) or error.sqlstate is not None:
        return None
    found = _WRONG_OPTION.search(str(error))
    return found and SettingsError(
        f"DATABASE_PRIMARY_URL has an option that libpq or a pooler refuses: {found[0]}; change it"
    )


def _grant(message: str) -> str:
    """Return how to grant the right named in a server's message."""
    refused = _REFUSED.search(message)
    if refused and refused[1] == "database":
        return (
            f"For `zeke migrate`, as the database's owner: grant create on database {refused[2]} to that"
            " role; or connect as its owner"
        )
    return "Grant it: run `zeke migrate --grant ROLE` as the tables' owner, or connect as the owner"
