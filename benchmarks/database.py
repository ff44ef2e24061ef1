"""The measured Postgres: the embedded one, a container, or one given by its DSN."""

from __future__ import annotations

import itertools
import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_numbers = itertools.count(1)

# Ids grow with time, as those that senders make do.
LOAD = """
    insert into pgboss.job (id, name, data, priority, startafter, createdon, expirein, retrylimit, retrydelay,
                            retrybackoff, keepuntil)
    select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint + n), 12, '0')
            || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, %(name)s, jsonb_build_object('n', n), 0,
           now() + %(delay)s * interval '1 second' - (%(jobs)s - n) * interval '1 microsecond', now(),
           interval '1 hour', 3, 1, true, now() + interval '100 years'
      from generate_series(1, %(jobs)s) as n
"""


@contextmanager
def server(choice: str) -> Iterator[str]:
    """Give the DSN of a server with durable commits: ``embedded``, ``testcontainers``, or a DSN."""
    if choice == "embedded":
        from zeke_queue.storage.embedded.server import EmbeddedPostgres  # noqa: PLC0415 - only where it is asked for

        with EmbeddedPostgres.start(ephemeral=True) as embedded:
            yield embedded.dsn
    elif choice == "testcontainers":
        from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - needs a Docker engine
        from testcontainers.postgres import PostgresContainer  # noqa: PLC0415

        # A second container removes what a killed run leaves; where its image is missing, there is none.
        if not _has_image(testcontainers_config.ryuk_image):
            testcontainers_config.ryuk_disabled = True
        with PostgresContainer("postgres:18", driver=None) as container:
            yield container.get_connection_url()
    else:
        yield choice


def _has_image(name: str) -> bool:
    """Return whether the Docker engine has an image."""
    asked = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False)  # noqa: S607
    return asked.returncode == 0


def describe(kind: str, dsn: str) -> str:
    """Return the server's version, and whether its commits are durable, which the figures depend on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        settings = [
            connection.execute("select current_setting(%s)", [name]).fetchall()[0][0]
            for name in ("server_version", "fsync", "synchronous_commit")
        ]
    version, *durable = settings
    lost = "" if durable == ["on", "on"] else ", COMMITS NOT DURABLE: fsync {}, synchronous_commit {}"
    return f"{kind} Postgres {version.split()[0]}{lost.format(*durable)}"


@asynccontextmanager
async def fresh_database(dsn: str) -> AsyncIterator[str]:
    """Make a database with the queue's tables for one measurement, and drop it afterwards."""
    name = f"zeke_bench_{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(SQL("drop database if exists {}").format(Identifier(name)))
        admin.execute(SQL("create database {}").format(Identifier(name)))
    own = make_conninfo(dsn, dbname=name)
    try:
        migrate(own, "pgboss")
        yield own
    finally:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@asynccontextmanager
async def open_storage(dsn: str) -> AsyncIterator[PostgresStorage]:
    """Open the storage as a worker does by default."""
    async with PostgresStorage.open(dsn, schema="pgboss", min_size=2, max_size=10) as storage:
        yield storage


def load(dsn: str, jobs: int, *, name: str = "bench", delay: float = 0.0) -> None:
    """Put jobs into a queue in one statement, then vacuum and analyse, as autovacuum does on a busy table."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(LOAD, {"name": name, "jobs": jobs, "delay": delay})
        connection.execute("vacuum (analyze) pgboss.job")
        connection.execute("checkpoint")


def empty(dsn: str) -> None:
    """Delete all jobs."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("truncate pgboss.job")
