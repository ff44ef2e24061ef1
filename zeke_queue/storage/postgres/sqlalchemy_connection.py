"""Joined transactions of SQLAlchemy, on ``+psycopg`` or ``+asyncpg``.

SQLAlchemy begins a transaction when it executes something. Statements sent to the driver's connection
directly are outside its transaction, and survive its rollback; so every statement goes through SQLAlchemy.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from psycopg.errors import UniqueViolation

from zeke_queue.errors import UsageError
from zeke_queue.storage.postgres.connection_pool import OpenTransaction, with_now
from zeke_queue.storage.postgres.error_mapping import as_storage_error
from zeke_queue.storage.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime

    from sqlalchemy import CursorResult, TextClause

    from zeke_queue.storage.postgres.rows import Row

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_UNIQUE: Final = "23505"


def is_alchemy(connection: object) -> bool:
    """Return whether this is an object of SQLAlchemy, or of a subclass; it need not be installed."""
    return any(one.__module__.partition(".")[0] == "sqlalchemy" for one in type(connection).__mro__)


class OpenAlchemyTransaction(OpenTransaction):
    """An open transaction of SQLAlchemy."""

    async def run(
        self, name: str, parameters: dict[str, Any] | None = None, *, limit: int | None = None
    ) -> list[Row]:
        """Run a statement of this package and return its rows."""
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - a dependency of the application, may be missing

        text, used = _text(name, self.schema, limit)
        values = with_now(parameters, self._now)
        try:
            result = await self._send(text, {key: values[key] for key in used})
        except DBAPIError as error:
            raise _meant_by(error) from error
        return [tuple(row) for row in result.all()] if result.returns_rows else []

    async def _send(self, text: TextClause, values: dict[str, Any]) -> CursorResult[Any]:
        return await self.connection.execute(text, values)

    @asynccontextmanager
    async def atomic(self) -> AsyncGenerator[OpenAlchemyTransaction]:
        """Open a savepoint."""
        async with self.connection.begin_nested():
            yield self


async def join_async(
    connection: Any, schema: str, now: Callable[[], datetime] | None
) -> OpenAlchemyTransaction:
    """Join the transaction of an ``AsyncConnection`` or an ``AsyncSession``.

    Raises:
        UsageError: it is another object of SQLAlchemy, or in AUTOCOMMIT mode.
    """
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession  # noqa: PLC0415 - as above
    from sqlalchemy.ext.asyncio import async_scoped_session as scoped_session  # noqa: PLC0415

    if isinstance(connection, scoped_session):
        connection = cast("Any", connection())
    if isinstance(connection, AsyncSession):
        connection = await connection.connection()
    if not isinstance(connection, AsyncConnection):
        raise UsageError(
            "connection: must be SQLAlchemy's AsyncConnection or AsyncSession, got "
            f"{type(connection).__qualname__}"
        )
    check_not_autocommit((await connection.get_raw_connection()).dbapi_connection)
    return OpenAlchemyTransaction(connection, schema, now)


def check_not_autocommit(driver_connection: object) -> None:
    """Check that a connection of SQLAlchemy has transactions.

    Raises:
        UsageError: it is in AUTOCOMMIT mode.
    """
    # Autocommit may also be set on the engine, which only the driver's connection shows.
    if getattr(driver_connection, "autocommit", False):
        raise UsageError("connection: must not be in AUTOCOMMIT mode; join one whose transaction you commit")


@cache
def _text(name: str, schema: str, limit: int | None) -> tuple[TextClause, tuple[str, ...]]:
    """Return the statement with SQLAlchemy's parameter syntax, and the parameter names."""
    from sqlalchemy import text  # noqa: PLC0415 - as above

    ours = statement(name, schema, limit, "unless full")
    used = tuple(dict.fromkeys(_PARAMETER.findall(ours)))
    # Escape the statement's own colons (casts, times of day), so that only parameters keep one.
    theirs = _PARAMETER.sub(r":\1", ours.replace(":", r"\:")).replace("%%", "%")
    return text(theirs), used


def _meant_by(error: Any) -> Exception:
    """Return the storage's error for an error of SQLAlchemy, or the error itself."""
    original = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or ""
    if state == _UNIQUE:
        return UniqueViolation(str(original))
    return as_storage_error(original, state) or error
