"""Every row of the domain's tables in a database, with each column, also those that no verb returns."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql


def dump(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each of the domain's tables, sorted by their content."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = 'zeke' and tablename not like '%migration%'"
            " order by tablename"
        ).fetchall()
        return {name: [row for (row,) in connection.execute(_rows_of(name))] for (name,) in tables}


def _rows_of(table: str) -> sql.Composed:
    return sql.SQL("select to_jsonb(t) from zeke.{} as t order by to_jsonb(t)::text").format(
        sql.Identifier(table)
    )
