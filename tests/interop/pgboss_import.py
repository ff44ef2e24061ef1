"""Imports from schemas that the real pg-boss 10, 11 and 12 make, and while one of them sends and works.

``python -m tests.interop.pgboss_import [JOBS]``, after ``npm ci`` in ``pgboss_later/``; 400 jobs by default.
Each version fills two schemas; one is imported within the database, one from another. Exit code 1 if a job is
missing, or ran in both systems, or is not as it was; if ``zeke import-pgboss`` does not list each job; if a
running pg-boss is not found; or if the columns differ from those on which ``tests/postgres`` imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.database import EMBEDDED, new_run, server
from tests.postgres import pgboss_later
from zeke_queue.core import pgboss_import as core
from zeke_queue.storage.postgres.migrate import migrate
from zeke_queue.storage.postgres.pgboss_import import Importer
from zeke_queue.storage.postgres.pgboss_source import Source, connect
from zeke_queue.system import logging as log
from zeke_queue.system.clock import SystemClock

HERE = Path(__file__).parent / "pgboss_later"
VERSIONS = ("10.1", "10.4", "11.1", "12.5", "12.20", "12.38")
AS_TESTED = {"10.4": 10, "11.1": 11, "12.38": 12}
"""Versions whose tables those of ``tests/postgres`` imitate."""

SCHEDULES = {
    ("nightly", "nightly", "0 3 * * *", "Europe/Berlin", '{"a": 1.5}', '{"retry_limit": 5}'),
    ("other", "other", "15 3 * * * 30", "UTC", '{"b": 2}', "{}"),
}
BY_KEY = {("nightly/second", "nightly", "30 4 * * 1", "Asia/Tokyo", "{}", "{}")}
SAME = ("priority", "retry_limit", "retry_count", "retry_backoff", "retry_delay_max", "start_after")
SAME += ("started_on", "singleton_on", "created_on", "completed_on", "keep_until", "data", "expires")
"""Columns that are here what they were there; their names here have no underscores."""
TAKEN = dict.fromkeys(("created", "retry", "active"), "taken")
"""As what a preview counts the jobs of a state once they are imported."""
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
        for version in VERSIONS:
            package, name = f"pgboss{version}", version.replace(".", "_")
            for target in (dsn, elsewhere):
                schema = f"boss{name}_{conninfo_to_dict(target)['dbname']}"
                asyncio.run(_node(dsn, "fill", package, schema, str(jobs)))
                if version in AS_TESTED:
                    faults += _columns(dsn, schema, AS_TESTED[version])
                faults += _imported(dsn, schema, target)
            faults += asyncio.run(_beside(dsn, f"busy{name}", package))
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
    archiving = schema.startswith("boss10")
    expires = "expire_in" if archiving else "expire_seconds * interval '1 second'"
    had = " union all ".join(
        f"select id, to_jsonb(job) || jsonb_build_object('expires', extract(epoch from {expires}))"  # noqa: S608 - a name of this module
        f" from {schema}.{table} as job"
        for table in ("job", *["archive"] * archiving)
    )
    has = (
        "select id, to_jsonb(job) || jsonb_build_object('expires', extract(epoch from expirein))"
        " from jobs.job"
    )
    with psycopg.connect(dsn, autocommit=True) as sql, psycopg.connect(target, autocommit=True) as there:
        if archiving:
            sql.execute(
                f"with gone as (delete from {schema}.job where state = 'cancelled' returning *)"  # noqa: S608 - as above
                f" insert into {schema}.archive select * from gone".encode()
            )
        before = dict(sql.execute(had.encode()).fetchall())
        counts = Counter((str(row["name"]), str(row["state"])) for row in before.values())
        found = _preview_differs(dsn, schema, target, counts)
        for _ in range(2):
            with ExitStack() as stack:
                importer = _importer(dsn, schema, target, stack)
                importer.ended(None, history=True)
                importer.waiting(None, active=True)
                importer.schedules(None)
        after = dict(there.execute(has.encode()).fetchall())
        waiting = sql.execute(
            f"select count(*) from {schema}.job where state <= 'active'".encode()  # noqa: S608 - as above
        ).fetchone()
        schedules: Rows = set(
            there.execute(
                "select name, task, cron, timezone, data::text, options::text from jobs.zeke_schedule"
            ).fetchall()
        )
        there.execute("truncate jobs.job, jobs.zeke_schedule")
    taken = [(str(row["name"]), str(TAKEN.get(row["state"], row["state"]))) for row in before.values()]
    found += _preview_differs(dsn, schema, target, Counter(taken))
    found += [f"{schema}: {len(before.keys() ^ after.keys())} jobs lost or made up"] * (
        before.keys() != after.keys()
    )
    differences = [
        line for job in before.keys() & after.keys() for line in _differences(before[job], after[job])
    ]
    found += [f"{schema}: {line}" for line in differences[:5]]
    found += [f"{schema}: {waiting} still wait in pg-boss"] * (waiting != (0,))
    expected = SCHEDULES if archiving else SCHEDULES | BY_KEY
    found += [f"{schema}: schedule {row} differs" for row in sorted(schedules ^ expected)]
    return found


def _preview_differs(dsn: str, schema: str, target: str, counts: Counter[tuple[str, str]]) -> list[str]:
    """Compare what ``zeke import-pgboss`` lists with these jobs by queue and state."""
    command = [sys.executable, "-m", "zeke_queue.cli", "--database", target, "--schema", "jobs", "--json"]
    command += ["import-pgboss", "--from-schema", schema, "--all", *["--from", dsn] * (target != dsn)]
    listed: Counter[tuple[str, str]] = Counter()
    for queue in json.loads(subprocess.run(command, check=True, stdout=PIPE).stdout)["queues"]:
        for state, jobs in queue["counts"].items():
            listed[queue["name"], "created" if state == "scheduled" else state] += jobs
    return [
        f"{schema}: preview lists {listed[one]} jobs of {one}, not {counts[one]}"
        for one in sorted(listed.keys() | counts.keys())
        if listed[one] != counts[one]
    ]


def _differences(was: dict[str, Any], job: dict[str, Any]) -> list[str]:
    """Return what of a job is not as it was in pg-boss."""
    active, delay = was["state"] == "active", was["retry_delay"]
    ended = was["state"] in ("completed", "failed", "cancelled")
    kept: dict[str, Any] = (job["meta"] or {}).get("pgboss", {})
    pairs = {column: (was.get(column), job[column.replace("_", "")]) for column in SAME}
    pairs |= {
        "state": ("retry" if active else was["state"], job["state"]),
        "retry_delay": (max(1, delay) if was["retry_backoff"] else delay, job["retrydelay"]),
        "attempt": (was["retry_count"] + (was["started_on"] is not None), job["attempt"]),
        "output": (None if active else was["output"], job["output"]),
        "group": (was.get("group_id"), job["groupkey"]),
        "dead letter": (was["dead_letter"], kept.get("dead_letter")),
        "policy": (was["policy"] or "standard", kept.get("policy", "standard")),
        "held": (None, job["waitsfor"]),
        "key": (was["singleton_key"], job["singletonkey"] or kept.get("singleton_key")),
    }
    # One of the jobs of a key that a policy of pg-boss allows has it here, the others have none.
    if not ended and was["singleton_on"] is None and was["policy"] not in core.KEYED:
        pairs["unkeyed"] = (None, job["singletonkey"])
    return [
        f"{was['name']} {was['id']}: {column} was {there}, and is {here}"
        for column, (there, here) in pairs.items()
        if there != here
    ]


async def _beside(dsn: str, schema: str, package: str) -> list[str]:
    """Import while pg-boss sends and works, and see that each job went to one of the two."""
    node = await _started(dsn, "work", package, schema)
    assert node.stdout is not None
    assert node.stdin is not None
    await node.stdout.readline()
    with ExitStack() as stack:
        importer = _importer(dsn, schema, make_conninfo(dsn, dbname=OTHER), stack)
        connected = importer.source.sessions()
        for _ in range(PASSES):
            importer.waiting(None)
            await SystemClock().sleep(0.05)
        node.stdin.close()
        said = json.loads((await node.stdout.readline()).decode())
        await node.wait()
        importer.waiting(None)
        left = importer.source.sessions()
    with psycopg.connect(make_conninfo(dsn, dbname=OTHER), autocommit=True) as there:
        ours = {str(row[0]) for row in there.execute("select id from jobs.job").fetchall()}
        there.execute("truncate jobs.job")
    sent, run = set(said["sent"]), list(said["run"])
    sys.stdout.write(f"{schema}: {len(sent)} sent, {len(run)} run by pg-boss, {len(ours)} imported\n")
    found = [f"{schema}: {len(sent ^ (ours | set(run)))} jobs lost or made up"] * (sent != ours | set(run))
    found += [f"{schema}: jobs ran in both systems"] * bool(ours & set(run))
    found += [f"{schema}: {connected} connections while it ran, {left} after it"] * (
        not connected or left > 0
    )
    found += [f"{schema}: only one of the two had jobs"] * (not ours or not run)
    return found


if __name__ == "__main__":
    log.configure_logging("json")
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
