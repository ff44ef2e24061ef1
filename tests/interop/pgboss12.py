"""Imports what the test suite of pg-boss 12 leaves behind, schema by schema, with ``zeke import-pgboss``.

``python -m tests.interop.pgboss12 CHECKOUT [ARGUMENT …]`` takes a checkout of one of pg-boss's tags 12.x in
which ``npm install --ignore-scripts`` was run; further arguments are those of vitest, such as test files. Its
tests may fail: they only make the data. Every other schema is imported into another database.

Exit code 1 if no job was imported, or one that waits or is active is not here as it was, or one is that must
stay; if a second import finds one; or if an import fails for a reason that the documentation does not name.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

from tests.database import EMBEDDED, new_run, server
from zeke_queue.cli.app import app
from zeke_queue.storage.postgres.migrate import migrate
from zeke_queue.system import logging as log

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = Path(__file__).with_name("pgboss12_config.mjs")
SECONDS = 480
SCHEMAS = "select nspname from pg_namespace where to_regclass(quote_ident(nspname) || '.job') is not null"
WAITING = """
select
    name || ' ' || id,
    jsonb_build_array(data, priority, retry_limit),
    name <> all(%s)
        and (state = 'active' or keep_until > statement_timestamp())
        and concat(to_jsonb(job) ->> 'blocked', to_jsonb(job) ->> 'blocking') !~ 'true'
from {}.job as job
where state <= 'active'
"""
"""The jobs of pg-boss that have not ended, and whether the import must take them."""
HERE = "select name || ' ' || id, jsonb_build_array(data, priority, retrylimit) from jobs.job"
REFUSED = ("must be of pg-boss 10 to 12", "must be 1 to 50 ASCII letters", "has no version table")
"""What the errors say of schemas that no import takes."""


async def run_suite(checkout: Path, arguments: Sequence[str], dsn: str) -> None:
    """Run the tests, for a limited time."""
    env = {**os.environ, "ZEKE_DATABASE": json.dumps(conninfo_to_dict(dsn))}  # noqa: TID251 - Node is found by the machine's PATH
    command = ["node", "node_modules/vitest/vitest.mjs", "run", "--root=.", f"--config={CONFIG}", *arguments]
    node = await asyncio.create_subprocess_exec(*command, cwd=checkout, env=env, stdout=DEVNULL)
    try:
        await asyncio.wait_for(node.wait(), SECONDS)
    except TimeoutError:
        node.kill()
        await node.wait()


class Trial:
    """Imports schemas of a database, and counts what becomes of them."""

    def __init__(self, dsn: str, elsewhere: str) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._dsn = dsn
        self._elsewhere = elsewhere

    def run(self, schema: str, *, apart: bool) -> None:
        """Preview a schema, and import it twice, into its own database or the other."""
        target, origin = (self._elsewhere, ["--from", self._dsn]) if apart else (self._dsn, [])
        command = ["--database", target, "--schema", "jobs", "--json", "import-pgboss", "--all", *origin]
        command += ["--from-schema", schema]
        with (
            psycopg.connect(self._dsn, autocommit=True) as sql,
            psycopg.connect(target, autocommit=True) as to,
        ):
            to.execute("truncate jobs.job, jobs.zeke_schedule")
            preview = CliRunner().invoke(app, command)
            if refused := next((text for text in REFUSED if text in preview.stderr), None):
                self.counts[f"schemas refused: {refused}"] += 1
                return
            states = f'select state::text, count(*) from "{schema}".job group by 1'  # noqa: S608 - from the catalog
            self.counts.update({f"jobs {state}": jobs for state, jobs in sql.execute(states.encode())})
            try:
                left = [one["name"] for one in json.loads(preview.stdout)["queues"] if one["left"]]
                waiting = sql.execute(WAITING.format(f'"{schema}"').encode(), [left]).fetchall()
                done, again = (self._import([*command, "--active", "--apply"]) for _ in range(2))
            except (ValueError, UserWarning) as error:
                self.faults.append(f"{schema}: {error} {preview.output}")
                return
            here = dict(to.execute(HERE).fetchall())
            remaining = sql.execute(WAITING.format(f'"{schema}"').encode(), [left]).fetchall()
        must = {job: values for job, values, wanted in waiting if wanted}
        differ = [job for job, values in must.items() if here.get(job) != values]
        stayed = [job for job, _, wanted in waiting if not wanted and job in here]
        facts = {
            "are not here as they were": len(differ),
            "are here and must stay": len(stayed),
            "were counted, of those to import": abs(sum(done["jobs"].values()) - len(must)),
            "still wait in pg-boss": sum(wanted for *_, wanted in remaining),
            "came with the second import": sum((again["jobs"] | again["history"]).values()),
        }
        self.faults += [f"{schema}: {jobs} jobs {fault}" for fault, jobs in facts.items() if jobs]
        self.counts["schemas imported into " + ("another database" if apart else "their own")] += 1
        self.counts["jobs imported"] += len(must)
        self.counts["jobs left, as they must"] += len(waiting) - len(must)
        self.counts["jobs that had ended, copied"] += sum(done["history"].values())
        self.counts["jobs without their key"] += done["unkeyed"]
        self.counts["schedules imported"] += len(done["schedules"])
        self.counts["schedules left, or with a tick without a job"] += sum(
            len(done[which]) for which in ("leftSchedules", "lostTicks", "pendingTicks")
        )

    def _import(self, command: list[str]) -> dict[str, Any]:
        result = CliRunner().invoke(app, command)
        if result.exit_code and "ScheduleNotImported" not in result.stderr:
            raise UserWarning(f"exit code {result.exit_code}: {result.output} {result.exception!r}")
        self.counts[f"imports with exit code {result.exit_code}"] += 1
        return json.loads(result.stdout)


def imported(dsn: str) -> int:
    """Import each schema of a database; return the exit code."""
    elsewhere = make_conninfo(dsn, dbname="elsewhere")
    with psycopg.connect(dsn, autocommit=True) as sql:
        sql.execute("create database elsewhere")
        schemas = sorted(name for (name,) in sql.execute(SCHEMAS))
    migrate(dsn, "jobs")
    migrate(elsewhere, "jobs")
    trial = Trial(dsn, elsewhere)
    for number, schema in enumerate(schemas):
        trial.run(schema, apart=number % 2 == 1)
    if not trial.counts["jobs imported"]:
        trial.faults.append("no job was imported")
    sys.stdout.writelines(f"{count} {what}\n" for what, count in sorted(trial.counts.items()))
    sys.stdout.writelines(f"{fault}\n" for fault in trial.faults)
    return int(bool(trial.faults))


if __name__ == "__main__":
    log.configure_logging("json")
    with server(EMBEDDED, new_run()) as dsn:
        asyncio.run(run_suite(Path(sys.argv[1]), sys.argv[2:], dsn))
        sys.exit(imported(dsn))
