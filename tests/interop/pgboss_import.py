"""Imports from schemas that the real pg-boss 10, 11 and 12 make, and while one of them sends and works.

``python -m tests.interop.pgboss_import [JOBS]``, after ``npm ci`` in ``pgboss_later/``; 400 jobs by default.
Each version fills two schemas; one is imported within the database, one from another. Exit code 1 if a job is
missing, or ran in both systems, or if the columns differ from those on which ``tests/postgres`` imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.database import EMBEDDED, new_run, server
from tests.postgres import pgboss_later
from zeke_queue.storage.postgres.migrate import migrate
from zeke_queue.storage.postgres.pgboss_import import Importer
from zeke_queue.storage.postgres.pgboss_source import Source, connect
from zeke_queue.system import logging as log
from zeke_queue.system.clock import SystemClock

HERE = Path(__file__).parent / "pgboss_later"
MAJORS = (10, 11, 12)
OTHER = "elsewhere"
PASSES = 40

Rows = set[tuple[Any, ...]]


def main(jobs: int) -> int:
    """Import from each version; return the exit code."""
    faults: list[str] = []
    with server(EMBEDDED, new_run()) as dsn:
        with psycopg.connect(dsn, autocommit=True) as sql:
            sql.execute(f"create database {OTHER}".encode())
        elsewhere = make_conninfo(dsn, dbname=OTHER)
        migrate(dsn, "jobs")
        migrate(elsewhere, "jobs")
        for major in MAJORS:
            for target in (dsn, elsewhere):
                schema = f"boss{major}_{conninfo_to_dict(target)['dbname']}"
                asyncio.run(_node(dsn, "fill", f"pgboss{major}", schema, str(jobs)))
                faults += _columns(dsn, schema, major)
                faults += _imported(dsn, schema, target)
            faults += asyncio.run(_beside(dsn, f"busy{major}", f"pgboss{major}"))
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    sys.stdout.write(f"{len(faults)} faults\n")
    return int(bool(faults))


async def _node(dsn: str, *arguments: str) -> None:
    node = await _started(dsn, *arguments)
    if await node.wait():
        raise SystemExit(f"pg-boss failed: {' '.join(arguments)}")


async def _started(dsn: str, *arguments: str) -> asyncio.subprocess.Process:
    env = {**os.environ, "ZEKE_DATABASE": json.dumps(conninfo_to_dict(dsn))}  # noqa: TID251 - Node is found by the machine's PATH
    command = ["node", str(HERE / "jobs.mjs"), *arguments]
    return await asyncio.create_subprocess_exec(*command, env=env, cwd=HERE, stdin=PIPE, stdout=PIPE)


def _columns(dsn: str, schema: str, major: int) -> list[str]:
    """Compare the columns that an import reads with those of the tests' own tables."""
    text = (
        "select table_name, column_name, udt_name from information_schema.columns"
        " where table_schema = %s and table_name in ('job', 'schedule')"
    )
    with psycopg.connect(dsn, autocommit=True) as sql:
        pgboss_later.create(sql, major)
        real: Rows = set(sql.execute(text, [schema]).fetchall())
        ours: Rows = set(sql.execute(text, ["boss"]).fetchall())
        sql.execute("drop schema boss cascade")
    unused = {("schedule", "last_job_id", "uuid")}
    return [f"{schema}: column {column} differs" for column in sorted(real ^ ours) if column not in unused]


def _importer(dsn: str, schema: str, target: str, stack: ExitStack) -> Importer:
    session = stack.enter_context(connect(dsn))
    other = session if target == dsn else stack.enter_context(connect(target))
    return Importer(Source.find(session, schema, writing=True), other, "jobs")


def _imported(dsn: str, schema: str, target: str) -> list[str]:
    """Import everything twice, and compare it with what pg-boss had."""
    had = (
        "select id, name, case when state = 'active' then 'retry' else state::text end, priority, retry_limit"  # noqa: S608 - a name of this module
        f", retry_count, retry_delay, retry_backoff, start_after, data::text from {schema}.job"
    )
    has = (
        "select id, name, state::text, priority, retrylimit, retrycount, retrydelay, retrybackoff,"
        " startafter, data::text from jobs.job"
    )
    with psycopg.connect(dsn, autocommit=True) as sql, psycopg.connect(target, autocommit=True) as there:
        before: Rows = set(sql.execute(had.encode()).fetchall())
        for _ in range(2):
            with ExitStack() as stack:
                importer = _importer(dsn, schema, target, stack)
                importer.ended(None, history=True)
                importer.waiting(None, active=True)
                importer.schedules(None)
        after: Rows = set(there.execute(has.encode()).fetchall())
        waiting = sql.execute(
            f"select count(*) from {schema}.job where state <= 'active'".encode()  # noqa: S608 - as above
        ).fetchone()
        schedules = there.execute("select count(*) from jobs.zeke_schedule").fetchone()
        there.execute("truncate jobs.job, jobs.zeke_schedule")
    found = [f"{schema}: was not imported as it was: {row}" for row in sorted(before ^ after, key=str)[:5]]
    found += [f"{schema}: {waiting} still wait in pg-boss"] * (waiting != (0,))
    found += [f"{schema}: {schedules} schedules"] * (schedules != (1 if "10" in schema else 2,))
    return found


async def _beside(dsn: str, schema: str, package: str) -> list[str]:
    """Import while pg-boss sends and works, and see that each job went to one of the two."""
    node = await _started(dsn, "work", package, schema)
    assert node.stdout is not None
    assert node.stdin is not None
    await node.stdout.readline()
    with ExitStack() as stack:
        importer = _importer(dsn, schema, make_conninfo(dsn, dbname=OTHER), stack)
        for _ in range(PASSES):
            importer.waiting(None)
            await SystemClock().sleep(0.05)
        node.stdin.close()
        said = json.loads((await node.stdout.readline()).decode())
        await node.wait()
        importer.waiting(None)
    with psycopg.connect(make_conninfo(dsn, dbname=OTHER), autocommit=True) as there:
        ours = {str(row[0]) for row in there.execute("select id from jobs.job").fetchall()}
        there.execute("truncate jobs.job")
    sent, run = set(said["sent"]), list(said["run"])
    sys.stdout.write(f"{schema}: {len(sent)} sent, {len(run)} run by pg-boss, {len(ours)} imported\n")
    found = [f"{schema}: {len(sent ^ (ours | set(run)))} jobs lost or made up"] * (sent != ours | set(run))
    found += [f"{schema}: jobs ran in both systems"] * bool(ours & set(run))
    found += [f"{schema}: only one of the two had jobs"] * (not ours or not run)
    return found


if __name__ == "__main__":
    log.configure_logging("json")
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
