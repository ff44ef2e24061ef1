"""The view ``zeke_job``: jobs for reports, in the words of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest

from tests.postgres.many_jobs import Connection
from zeke_queue.model import STATUS_OF, RowState
from zeke_queue.storage.postgres import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS: LiteralString = (
    "select column_name::text from information_schema.columns"
    " where table_schema = 'pgboss' and table_name = 'job'"
)


@pytest.fixture
def sql(empty_dsn: str) -> Iterator[Connection]:
    migrate.migrate(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        yield connection


def test_view_has_each_live_and_archived_job_once_with_its_status(sql: Connection) -> None:
    for table in ("job", "archive"):
        for state in RowState:
            sql.execute(
                "insert into pgboss.job (name, data, state) values (%s, %s, %s)",
                [f"{table}-{state.value}", f'{{"of": "{table}"}}', state.value],
            )
    columns = ", ".join(row[0] for row in sql.execute(COLUMNS).fetchall())
    sql.execute(
        "with gone as (delete from pgboss.job where name like 'archive%' returning *)"  # noqa: S608 - names
        f" insert into pgboss.archive ({columns}) select {columns} from gone"
    )
    rows = sql.execute("select task, status, payload ->> 'of', archived_on is null from pgboss.zeke_job")
    assert sorted(rows.fetchall()) == sorted(
        (f"{table}-{state.value}", STATUS_OF[state].value, table, table == "job")
        for table in ("job", "archive")
        for state in RowState
    )


def test_view_and_each_of_its_columns_say_what_they_mean(sql: Connection) -> None:
    rows = sql.execute(
        "select attname, col_description(attrelid, attnum) from pg_attribute"
        " where attrelid = 'pgboss.zeke_job'::regclass and attnum > 0"
    ).fetchall()
    assert {"id", "task", "status", "payload", "output"} < {name for name, _ in rows}
    assert [name for name, told in rows if not told] == []
    assert sql.execute("select obj_description('pgboss.zeke_job'::regclass)").fetchone() != (None,)


def test_role_with_rights_on_the_view_alone_may_read_it(sql: Connection) -> None:
    with sql.transaction(force_rollback=True):
        sql.execute("create role zeke_reporting")
        sql.execute("grant usage on schema pgboss to zeke_reporting")
        sql.execute("grant select on pgboss.zeke_job to zeke_reporting")
        sql.execute("set local role zeke_reporting")
        assert sql.execute("select count(*) from pgboss.zeke_job").fetchone() == (0,)
