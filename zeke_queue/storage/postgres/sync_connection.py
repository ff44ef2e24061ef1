"""Joined transactions of synchronous applications: of psycopg, so of Django too, and of SQLAlchemy.

The coroutines of these transactions never suspend: each statement blocks its caller, as the application's own
statements on the connection do. So they need no event loop.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from zeke_queue.errors import UsageError
from zeke_queue.storage.postgres.connection_pool import OpenTransaction
from zeke_queue.storage.postgres.rows import SyncCursor
from zeke_queue.storage.postgres.sqlalchemy_connection import (
    OpenAlchemyTransaction,
    check_not_autocommit,
    is_alchemy,
)
from zeke_queue.storage.postgres.transaction import PostgresTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import LiteralString

    from sqlalchemy import CursorResult, TextClause

    from zeke_queue.storage.postgres.rows import Row


def join(connection: object, schema: str) -> PostgresTransaction:
    """Return the open transaction of a connection, which its owner commits or rolls back.

    Args:
        connection: psycopg's ``Connection``, or SQLAlchemy's ``Connection`` or ``Session``.

    Raises:
        UsageError: it is of another type, or in autocommit mode.
    """
    if is_alchemy(connection):
        return PostgresTransaction(_join_alchemy(connection, schema))
    if not isinstance(connection, psycopg.Connection):
        raise UsageError(_other(connection))
    joinable = cast("psycopg.Connection[Any]", connection)
    if joinable.autocommit and joinable.info.transaction_status == TransactionStatus.IDLE:
        raise UsageError(
            "connection: it is in autocommit mode and no transaction is open, so there is nothing to join; "
            "open one with `with connection.transaction()`, in Django `with transaction.atomic()`"
        )
    return PostgresTransaction(OpenSyncTransaction(joinable, schema, None))


class OpenSyncTransaction(OpenTransaction):
    """An open transaction on a synchronous connection."""

    async def _execute(self, text: LiteralString, values: dict[str, Any] | None = None) -> list[Row]:
        cursor = SyncCursor(self.connection)
        if self.connection.info.pipeline_status == PipelineStatus.OFF:
            cursor.execute(text, values, prepare=False, binary=True)
        else:
            with self.connection.pipeline() as pipeline:
                cursor.execute(text, values, prepare=False, binary=True)
                pipeline.sync()
        return cursor.fetchall() if cursor.description else []


class OpenSyncAlchemyTransaction(OpenAlchemyTransaction):
    """An open transaction of SQLAlchemy without asyncio."""

    @asynccontextmanager
    async def atomic(self) -> AsyncGenerator[OpenAlchemyTransaction]:
        """Open a savepoint."""
        with self.connection.begin_nested():
            yield self

    async def _send(self, text: TextClause, values: dict[str, Any]) -> CursorResult[Any]:
        return self.connection.execute(text, values)


def _join_alchemy(connection: Any, schema: str) -> OpenSyncAlchemyTransaction:
    from sqlalchemy import Connection  # noqa: PLC0415 - a dependency of the application, may be missing
    from sqlalchemy.orm import Session, scoped_session  # noqa: PLC0415 - as above

    if isinstance(connection, scoped_session):
        connection = cast("Any", connection())
    if isinstance(connection, Session):
        connection = connection.connection()
    if not isinstance(connection, Connection):
        raise UsageError(_other(connection))
    check_not_autocommit(connection.connection.dbapi_connection)
    return OpenSyncAlchemyTransaction(connection, schema, None)


def _other(connection: object) -> str:
    kind = type(connection)
    return (
        "connection: must be psycopg's Connection, or SQLAlchemy's Connection or Session, got "
        f"{kind.__module__}.{kind.__qualname__}; in Django pass connection.connection inside "
        "transaction.atomic(), in async code use Queue"
    )
