"""A schema as pg-boss 9.0.3 leaves it (its version 20), written from its documented facts, to be adopted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from zeke_queue.storage.postgres import migrate
from zeke_queue.storage.postgres.statements import migrations

if TYPE_CHECKING:
    from typing import LiteralString

    from tests.postgres.many_jobs import Connection

_COLUMNS: LiteralString = """
    id uuid primary key default gen_random_uuid(),
    name text not null,
    priority int not null default 0,
    data jsonb,
    state boss9.job_state not null default 'created',
    retrylimit int not null default 0,
    retrycount int not null default 0,
    retrydelay int not null default 0,
    retrybackoff bool not null default false,
    startafter timestamptz not null default now(),
    startedon timestamptz,
    singletonkey text,
    singletonon timestamp,
    expirein interval not null default interval '15 minutes',
    createdon timestamptz not null default now(),
    completedon timestamptz,
    keepuntil timestamptz not null default now() + interval '14 days',
    on_complete bool not null default false,
    output jsonb
"""
_STAMPS: LiteralString = "timestamptz not null default now()"
_PREFIX: LiteralString = r"'\_\_pgboss\_\_singleton\_queue%'"

STATEMENTS: tuple[LiteralString, ...] = (
    "create schema boss9",
    (
        "create type boss9.job_state as enum"
        " ('created', 'retry', 'active', 'completed', 'expired', 'cancelled', 'failed')"
    ),
    "create table boss9.version (version int primary key, maintained_on timestamptz, cron_on timestamptz)",
    f"create table boss9.job ({_COLUMNS})",
    "create table boss9.archive (like boss9.job)",
    f"alter table boss9.archive add archivedon {_STAMPS}",
    (
        "create table boss9.schedule (name text primary key, cron text not null, timezone text, data jsonb,"
        f" options jsonb, created_on {_STAMPS}, updated_on {_STAMPS})"
    ),
    (
        f"create table boss9.subscription (event text not null, name text not null, created_on {_STAMPS},"
        f" updated_on {_STAMPS}, primary key (event, name))"
    ),
    "create index archive_id_idx on boss9.archive (id)",
    "create index archive_archivedon_idx on boss9.archive (archivedon)",
    "create index job_name on boss9.job (name text_pattern_ops)",
    "create index job_fetch on boss9.job (name text_pattern_ops, startafter) where state < 'active'",
    (
        "create unique index job_singletonon on boss9.job (name, singletonon)"
        " where state < 'expired' and singletonkey is null"
    ),
    (
        "create unique index job_singletonkeyon on boss9.job (name, singletonon, singletonkey)"
        " where state < 'expired'"
    ),
    (
        "create unique index job_singletonkey on boss9.job (name, singletonkey)"
        f" where state < 'completed' and singletonon is null and not singletonkey like {_PREFIX}"
    ),
    (
        "create unique index job_singleton_queue on boss9.job (name, singletonkey)"
        f" where state < 'active' and singletonon is null and singletonkey like {_PREFIX}"
    ),
    "insert into boss9.version (version) values (20)",
)


def create(sql: Connection, version: int = 20) -> None:
    """Create the tables of a pg-boss 9 in the schema boss9."""
    for statement in STATEMENTS:
        sql.execute(statement)
    sql.execute("update boss9.version set version = %s", [version])


def check_concurrent_migrations(dsn: str, sql: Connection, number: int) -> None:
    """Migrate the schema boss9 by several callers at once, and check that one of them did."""
    with ThreadPoolExecutor(number) as pool:
        applied = list(pool.map(lambda _: migrate.migrate(dsn, "boss9"), range(number)))
    assert sum(bool(names) for names in applied) == 1
    assert sql.execute("select count(*) from boss9.zeke_migration").fetchone() == (len(migrations()),)
