"""What the driver raises, as errors of ours: the one place where SQLSTATEs are read."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from zeke_queue.errors import Forbidden, SchemaMismatch, StorageUnavailable, TooOld

if TYPE_CHECKING:
    from collections.abc import Generator

    from zeke_queue.errors import StorageError

OLDEST_SERVER: Final = 15

_MISSING: Final = ("3F000", "42P01", "42703", "42704", "42883")  # schema, table, column, type, function
_GONE: Final = (
    "08",
    "57P",
    "53",
    "58",
    "25006",
)  # connection, shutdown, resources, system, read-only standby
_SERIALIZATION: Final = ("40001", "40P01")


@contextmanager
def translated() -> Generator[None]:
    """Raise errors of ours for those of the driver that mean something to a caller; the rest pass."""
    try:
        yield
    except (TimeoutError, psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests, OSError) as error:
        mine = as_storage_error(error)
        if mine is None:
            raise
        raise mine from error


def as_storage_error(error: Exception, state: str | None = None) -> StorageError | None:
    """Return what the error means to a caller, or None if it is no business of his.

    Args:
        error: a driver's error.
        state: its SQLSTATE, if it is not where psycopg has it.
    """
    state = str(state or getattr(error, "sqlstate", None) or "")
    said = str(error).strip().partition("\n")[0]
    if state == "42501":
        return Forbidden(f"{_role(error)} lacks a right: {said}. Grant it, or connect as the tables' owner")
    if state in _MISSING:
        return SchemaMismatch(f"The tables are not as they should be: {said}. Run `zeke migrate`")
    if state in ("28000", "28P01"):
        return StorageUnavailable(f"The database refuses this login: {said}. Check user and password")
    if isinstance(error, PoolTimeout | TooManyRequests):
        return StorageUnavailable(f"No connection to the database could be had in time: {said}")
    if state.startswith(_GONE) or (not state and _broke(error)):
        return StorageUnavailable(f"The database can't be reached: {said or type(error).__name__}")
    return None


def is_worth_repeating(error: BaseException) -> bool:
    """Tell whether the server undid the transaction for the sake of others: a deadlock, a lost race."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _SERIALIZATION


def check_server(version: int) -> None:
    """Refuse a server that is too old.

    Args:
        version: as ``server_version_num`` gives it, 150004 for 15.4.

    Raises:
        TooOld: it is older than PostgreSQL 15.
    """
    major = version // 10_000
    if major < OLDEST_SERVER:
        raise TooOld(
            f"The server is PostgreSQL {major}; PostgreSQL {OLDEST_SERVER} is the oldest that works. "
            "Upgrade it, or connect to another one"
        )


def _broke(error: Exception) -> bool:
    """Tell whether a connection could not be made, broke, or was closed under a statement."""
    if isinstance(error, psycopg.ProgrammingError):
        # psycopg finds an unreadable connection string by itself; that is no matter of trying again.
        return False
    return isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError | PoolClosed | OSError | asyncio.TimeoutError
    )


def _role(error: Exception) -> str:
    connection = re.search(r"role \"([^\"]+)\"", str(error))
    return f"Role {connection.group(1)!r}" if connection else "The role"
