"""Tables of a pg-boss 10, 11 or 12, written from their documented columns, and jobs in them to be imported.

``tests.interop.pgboss_import`` compares the columns with those that the real packages create.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from tests.postgres.many_jobs import Connection

VERSIONS = {10: 24, 11: 26, 12: 46}

_STATES: LiteralString = "'created', 'retry', 'active', 'completed', 'cancelled', 'failed'"
_STAMP: LiteralString = "timestamptz not null default now()"
_JOB: LiteralString = """
    id uuid not null default gen_random_uuid(), name text not null,
    priority int not null default 0, data jsonb,
    state job_state not null default 'created', retry_limit int not null default 2,
    retry_count int not null default 0, retry_delay int not null default 0,
    retry_backoff bool not null default false, start_after timestamptz not null default now(),
    started_on timestamptz, singleton_key text, singleton_on timestamp,
    created_on timestamptz not null default now(), completed_on timestamptz,
    keep_until timestamptz not null default now() + interval '14 days', output jsonb,
    dead_letter text, policy text
"""
_MORE: Mapping[int, LiteralString] = {
    10: "expire_in interval not null default interval '15 minutes'",
    11: (
        "retry_delay_max int, expire_seconds int not null default 900,"
        " deletion_seconds int not null default 604800"
    ),
}
_OF_12: LiteralString = """
    group_id text, group_tier text, heartbeat_on timestamptz, heartbeat_seconds int,
    blocked bool not null default false, blocking bool not null default false,
    pending_dependencies int not null default 0, source_name text, source_id uuid,
    source_created_on timestamptz, source_retry_count int, source_output jsonb, source_root_id uuid,
    trace_context jsonb, upsert_by_key bool
"""
_INSTANCE: LiteralString = "heartbeat_seconds int not null, heartbeat_on timestamptz, stopped_on timestamptz"
_INDEXES: tuple[LiteralString, ...] = (
    "job (name, coalesce(singleton_key, '')) where state = 'created' and policy = 'short'",
    "job (name, coalesce(singleton_key, '')) where state = 'active' and policy = 'singleton'",
    "job (name, state, coalesce(singleton_key, '')) where state <= 'active' and policy = 'stately'",
    "job (name, coalesce(singleton_key, '')) where state <= 'active' and policy = 'exclusive'",
    (
        "job (name, singleton_on, coalesce(singleton_key, ''))"
        " where state <> 'cancelled' and singleton_on is not null"
    ),
)


def create(connection: Connection, major: int, schema: str = "boss") -> None:
    """Create the tables of a major version in a schema."""
    columns = f"{_JOB}, {_MORE[min(major, 11)]}" + (f", {_OF_12}" if major > 11 else "")
    key = "" if major == 10 else "key text not null default '', "
    kind = "kind text not null default 'cron', " if major > 11 else ""
    keys = "name" if major == 10 else "name, key"
    steps = [
        f"create schema {schema}",
        f"set local search_path to {schema}",
        f"create type job_state as enum ({_STATES})",
        "create table version (version int primary key, cron_on timestamptz)",
        "create table queue (name text primary key, policy text, dead_letter text)",
        (
            f"create table schedule (name text references queue, {key}{kind}cron text not null,"
            f" timezone text, data jsonb, options jsonb, created_on {_STAMP}, updated_on {_STAMP},"
            f" primary key ({keys}))"
        ),
        f"create table job ({columns}, primary key (name, id))",
        *(f"create unique index on {index}" for index in _INDEXES),
        f"insert into version (version) values ({VERSIONS[major]})",  # noqa: S608 - a number
    ]
    if major == 10:
        steps.append("create table archive (like job)")
    if major > 11:
        steps.append(f"create table instance ({_INSTANCE})")
    with connection.transaction():
        for step in steps:
            connection.execute(step.encode())


def add(connection: Connection, name: str, state: str = "created", **columns: Any) -> UUID:
    """Insert a job, and its queue; return its id."""
    connection.execute(
        "insert into boss.queue (name, policy) values (%s, %s) on conflict do nothing",
        [name, columns.get("policy", "standard")],
    )
    values = {"name": name, "state": state, **columns}
    stored = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
    text = sql.SQL("insert into boss.job ({}) values ({}) returning id").format(
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(stored)),
    )
    ((job_id,),) = connection.execute(text, stored).fetchall()
    return job_id
