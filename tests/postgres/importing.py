"""Imports from a pg-boss 10, 11 or 12, in a process that may be killed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from tests.postgres.pgboss_later import add
from zeke_queue.storage.postgres.pgboss_import import Importer
from zeke_queue.storage.postgres.pgboss_source import Session, Source

if TYPE_CHECKING:
    from uuid import UUID

    from tests.postgres.many_jobs import Connection

SLOT = datetime(2026, 11, 1, tzinfo=UTC).replace(tzinfo=None)
LATER = datetime(2096, 1, 1, tzinfo=UTC)
ACTIVE_IN_PGBOSS = "select id from boss.job where state = 'active'"
HERE = "select id, name, state::text, retrycount, singletonkey, startafter, data from pgboss.job order by id"


class KilledError(Exception):
    """The process ended here."""


class MortalSession(Session):
    """A session of a process that is killed before one of its calls."""

    def __init__(self, connection: psycopg.Connection[Any], left: list[int]) -> None:
        super().__init__(connection)
        self._left = left

    def run(self, text: str, values: Any = None) -> list[Any]:
        self._live()
        return super().run(text, values)

    def commit(self) -> None:
        self._live()
        super().commit()

    def _live(self) -> None:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise KilledError


def import_all(target: str, source: str | None = None) -> Importer:
    """Import everything."""
    with psycopg.connect(source or target) as first, psycopg.connect(target) as second:
        return import_on(first, second if source else first)


def import_on(first: Connection, second: Connection, left: int = 10**9, **how: Any) -> Importer:
    """Import everything by small batches in a process that lives for so many statements and commits."""
    calls = [left]
    session = MortalSession(first, calls)
    try:
        found = Source.find(session, "boss", writing=True)
        found.batch = 2
        importer = Importer(found, session if second is first else MortalSession(second, calls), "pgboss")
        importer.ended(None, history=True)
        importer.waiting(None, **how)
    except KilledError:
        first.rollback()
        second.rollback()
        raise
    return importer


def fill(sql: Connection, major: int) -> set[UUID]:
    """Add jobs in all states; return the ids of those to run."""
    policy = {"policy": "exclusive"} if major > 10 else {"policy": "stately"}
    run = {
        add(sql, "mail", data={"at": 1.50}),
        add(sql, "mail", "retry", retry_count=1, retry_limit=3, started_on=LATER, output={"message": "no"}),
        add(sql, "mail", start_after=LATER, priority=5),
        add(sql, "mail", singleton_on=SLOT, singleton_key="a"),
        add(sql, "mail", "active", started_on=LATER, retry_limit=1),
        add(sql, "one", singleton_key="k", **policy),
    }
    for state in ("completed", "failed", "cancelled"):
        add(sql, "mail", state, completed_on=LATER)
    return run


def archive(sql: Connection) -> None:
    """Move the cancelled jobs to the archive, as pg-boss 10 does."""
    sql.execute(
        "with gone as (delete from boss.job where state = 'cancelled' returning *)"
        " insert into boss.archive select * from gone"
    )


def rows(sql: Connection, text: str) -> list[Any]:
    return sql.execute(text.encode()).fetchall()


def started(sql: Connection) -> list[UUID]:
    """Return the ids of the waiting jobs that a worker could run, and delete them as a purge would."""
    text = "delete from pgboss.job where state < 'active' and waitsfor is null returning id, startafter, meta"
    gone = rows(sql, text)
    assert all(start <= LATER and "zekeImport" not in (meta or {}) for _, start, meta in gone)
    return [row[0] for row in gone]
