"""Frequent queries of the API and the dashboard: their cost depends only on the size of the answer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.cases import check_each, check_each_async
from tests.postgres.explaining import connect, explain, explain_look
from tests.postgres.opening import opened
from zeke_queue.model import JobQuery
from zeke_queue.storage.postgres.overview import throughput_parameters
from zeke_queue.storage.postgres.reader import filter_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly


ENDED = """
    insert into pgboss.job (name, state, startafter, startedon, completedon, createdon)
    select case when n % 2 = 0 then 'mail' else 'post' end, 'completed',
        now() - n * interval '1 second', now() - n * interval '1 second', now() - n * interval '1 second',
        now() - n * interval '1 second'
    from generate_series(1, 20000) as n
"""
ARCHIVE = """
    insert into pgboss.archive (id, name, priority, state, retrylimit, retrycount, retrydelay, retrybackoff,
        startafter, startedon, completedon, expirein, createdon, keepuntil, on_complete, archivedon)
    select id, name, priority, state, retrylimit, retrycount, retrydelay, retrybackoff, startafter, startedon,
        completedon, expirein, createdon, keepuntil, on_complete, completedon + interval '1 minute'
    from pgboss.job
"""
WAITING = """
    insert into pgboss.job (name, priority, startafter)
    select name, n % 3, now() + since::interval + n * interval '1 microsecond'
    from generate_series(1, 20000) as n,
        (values ('deferred', '1 hour'), ('both', '1 hour'), ('both', '-1 hour')) as queue (name, since)
"""
EVENTS = """
    insert into pgboss.job_event (job_id, attempt, kind, data, at)
    select lpad(to_hex(n % 200), 32, '0')::uuid, 1, 'log', '{}', now() from generate_series(1, 20000) as n
"""
CALLERS = """
    insert into pgboss.rate_limit (caller, ends_on, calls, admitted)
    select 'ip:' || n, now() + case when n <= 10000 then -n - 60 else n end * interval '1 second', 1, true
    from generate_series(1, 20000) as n
"""
KEYS = """
    with key as (
        insert into pgboss.api_key (id, name, prefix, digest, scopes, created_on)
        select gen_random_uuid(), 'key', 'mid_' || lpad(to_hex(n), 8, '0'), sha256(n::text::bytea), '{}',
            now()
        from generate_series(1, 2000) as n
        returning id, digest
    )
    insert into pgboss.api_session (digest, key_id, opened_on, ends_on)
    select digest, id, now(), now() + interval '1 hour' from key
"""


@pytest.fixture
def sql(dsn: str) -> Iterator[Connection]:
    """A connection that has planned the overviews on empty tables, and never gets other statistics."""
    with connect(dsn) as connection:
        for table in ("job", "archive", "job_event", "rate_limit", "api_key", "api_session"):
            connection.execute(f"alter table pgboss.{table} set (autovacuum_enabled = off)".encode())
        connection.execute("vacuum analyze")
        for name, values in KEPT.items():
            explain(connection, name, values)
        yield connection


SOMEBODY = UUID(int=7)
KEPT: dict[str, dict[str, Any]] = {
    "workers": {},
    "events": {"ids": [SOMEBODY, UUID(int=8)], "afters": [0, 19_000], "share": 500},
    "acquire": {"caller": "key:1", "limit": 10, "length": 60_000_000},
    "valid_keys": {"prefix": "mid_00000007"},
    "get_session": {"digest": bytes(32)},
    "create_session": {"digest": bytes(32), "id": SOMEBODY, "length": 1},
    "delete_session": {"digest": bytes(32)},
    "revoke_key": {"id": SOMEBODY},
    "touch_key": {"id": SOMEBODY},
}


async def test_overview_takes_one_round_trip(dsn: str, tmp_path: Path) -> None:
    async with opened(dsn) as parts:

        async def check(verb: str) -> None:
            await getattr(parts.storage, verb)()  # prepares its statements
            with (tmp_path / verb).open("w+b") as trace:
                async with parts.connections.one() as connection:
                    connection.pgconn.trace(trace.fileno())
                await getattr(parts.storage, verb)()
                async with parts.connections.one() as connection:
                    connection.pgconn.untrace()
                trace.seek(0)
                assert trace.read().count(b"ReadyForQuery") == 1

        await check_each_async(["queue_stats", "workers"], check)


@pytest.mark.parametrize("analyzed", [False, True])
def test_throughput_reads_only_the_jobs_of_its_buckets(sql: Connection, *, analyzed: bool) -> None:
    sql.execute(ENDED)
    sql.execute(ARCHIVE)
    if analyzed:
        sql.execute("vacuum analyze pgboss.job")
        sql.execute("vacuum analyze pgboss.archive")
    for names in ((), ("mail",)):
        plan = explain_look(sql, "throughput", throughput_parameters(names, 600, 60))
        assert plan.most_read() <= 600
        assert plan.most_read("archive") <= 660
        assert plan.pages <= 100


def test_lag_reads_a_job_of_each_priority_and_no_deferred_ones(sql: Connection) -> None:
    sql.execute(WAITING)
    for analyzed in (False, True):
        if analyzed:
            sql.execute("vacuum analyze pgboss.job")
        plan = explain_look(sql, "lag", {})
        assert plan.full_scans() in (
            [],
            ["Index Scan"],
            ["Index Only Scan"],
        )  # from the index's start, one row
        assert plan.most_read() <= 2 * 3 + 2
        assert plan.pages <= 150


def test_search_for_lines_without_a_job_reads_few_of_them(sql: Connection) -> None:
    missing = [UUID(int=number) for number in (20, 30, 40)]
    sql.execute(EVENTS)
    sql.execute(
        "insert into pgboss.job (id, name) select distinct job_id, 'mail' from pgboss.job_event"
        " where job_id <> all(%s)",
        [missing],
    )
    plan = explain(sql, "orphans", {"after": UUID(int=9)}, limit=30)
    for table in ("job_event", "job", "archive"):
        assert plan.most_read(table) <= 31
    assert plan.pages <= 1000


def test_events_after_a_position_are_read_by_index(sql: Connection) -> None:
    sql.execute(EVENTS)
    plan = explain(sql, "events", KEPT["events"])
    assert plan.most_read("job_event") <= 110
    assert plan.pages <= 300


def test_rate_limit_reads_few_pages_beside_other_callers(sql: Connection) -> None:
    sql.execute(CALLERS)
    for caller in ("key:1", "ip:5", "ip:15000"):
        plan = explain(sql, "acquire", KEPT["acquire"] | {"caller": caller})
        assert plan.most_read("rate_limit") <= 11
        assert plan.pages <= 120


def test_key_and_session_are_looked_up_by_an_index(sql: Connection) -> None:
    sql.execute(KEYS)

    def check(statement: str) -> None:
        plan = explain(sql, statement, KEPT[statement])
        for table in ("api_key", "api_session"):
            assert all(node["Actual Rows"] <= 1 for node in plan.scans(table))
            assert all(node.get("Rows Removed by Filter", 0) == 0 for node in plan.scans(table))
        assert plan.pages <= 20

    check_each(["valid_keys", "get_session", "create_session", "delete_session", "touch_key"], check)


def test_revoking_a_key_reads_no_other_sessions(sql: Connection) -> None:
    sql.execute(KEYS)
    (row,) = sql.execute("select id from pgboss.api_key limit 1").fetchall()
    plan = explain(sql, "revoke_key", {"id": row[0]})
    assert plan.most_read("api_session") <= 1


def test_archived_jobs_of_a_span_are_read_by_an_index(sql: Connection) -> None:
    sql.execute(ENDED)
    sql.execute(ARCHIVE)
    sql.execute("vacuum analyze pgboss.archive")
    ((middle,),) = sql.execute("select now() - interval '10000 seconds'").fetchall()
    query = JobQuery(archived=True, created_from=middle, created_to=middle + timedelta(seconds=30), limit=100)
    plan = explain_look(sql, "find_archived", filter_parameters(query))
    assert plan.most_read("archive") <= 31
    assert plan.pages <= 60
