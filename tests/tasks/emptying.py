"""Empties a database that tests use one after the other."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tests.conformance import planting


def empty(dsn: str) -> None:
    """Delete every row of the queue's tables and of the domain's.

    The order of the tables is no matter: each of the domain's foreign keys cascades or sets null.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(planting.EMPTY)
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = 'zeke' and tablename not like '%migration%'"
        ).fetchall()
        deletes = [sql.SQL("delete from zeke.{}").format(sql.Identifier(name)) for (name,) in tables]
        connection.execute(sql.SQL(";").join(deletes))
