"""``zeke doctor`` on databases of every kind: each fault is one finding with advice, and exit code 1."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.cases import check_each
from tests.cli.conftest import Zeke
from tests.cli.old_server import old_server
from tests.cli.test_bad_input import REFUSED, make_pgboss_10, stranger, tables
from tests.postgres.pooler import Pooler
from zeke_queue.cli import database
from zeke_queue.cli.checks import Grade
from zeke_queue.client.queue import Queue
from zeke_queue.core.timeouts import LOCK_SECONDS
from zeke_queue.errors import LockTimeoutError, ReadTimeoutError
from zeke_queue.storage.postgres.overview import PostgresOverview
from zeke_queue.storage.postgres.server_info import LongTransaction, ServerInfo, read_server_info
from zeke_queue.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.fixture
def zeke(zeke_alone: Zeke) -> Zeke:
    return zeke_alone


def problems(zeke: Zeke, *arguments: str, code: int = 1, **env: str) -> list[dict[str, str]]:
    """Run doctor, and return its findings except the healthy ones."""
    result = zeke("doctor", "--json", *arguments, **env)
    assert result.exit_code == code, result.output
    findings: list[dict[str, str]] = json.loads(result.stdout)["findings"]
    return [finding for finding in findings if finding["grade"] != "ok"]


def sole(findings: Iterable[Any]) -> Any:
    (finding,) = findings
    return finding


# Databases that cannot be used


def test_unreachable_database_is_the_only_finding(nowhere: Zeke) -> None:
    finding = sole(problems(nowhere, DATABASE_PRIMARY_URL=REFUSED))
    assert finding["grade"] == "problem"
    assert "can't be reached" in finding["found"]
    assert "Check that the server runs" in finding["advice"]
    assert "s3cret" not in str(finding)


def test_outdated_server_is_the_only_finding(nowhere: Zeke) -> None:
    with old_server("13.4") as dsn:
        finding = sole(problems(nowhere, DATABASE_PRIMARY_URL=dsn))
    assert finding["found"] == "The server is PostgreSQL 13; PostgreSQL 15 is the oldest supported version"
    assert finding["advice"] == "Upgrade it, or connect to another one"


def test_missing_tables_suggest_the_migration_of_the_schema(zeke_empty: Zeke) -> None:
    finding = sole(problems(zeke_empty))
    assert finding["about"] == "tables"
    assert finding["advice"] == "Run `zeke migrate`"
    other = sole(problems(zeke_empty, "--schema", "mine"))
    assert other["advice"] == "Run `zeke --schema mine migrate`, or set JOBS_SCHEMA=mine for both"


def test_newer_pgboss_is_reported_without_changes(zeke_empty: Zeke) -> None:
    before = make_pgboss_10(zeke_empty.dsn)
    finding = sole(problems(zeke_empty))
    assert "belongs to pg-boss 10 or later (its version 24)" in finding["found"]
    assert finding["advice"].startswith("Set JOBS_SCHEMA to another name")
    assert tables(zeke_empty.dsn) == before


def test_current_tables_are_reported_without_a_number(zeke: Zeke) -> None:
    assert "pg-boss 9's (version 20), all migrations applied" in zeke("doctor").stdout


def test_outdated_tables_suggest_the_migration(zeke: Zeke) -> None:
    zeke.sql("delete from pgboss.zeke_migration where number = 3")
    finding = sole(problems(zeke))
    assert "indexes_of_ours not applied" in finding["found"]
    assert finding["advice"] == "Run `zeke migrate`"


def test_missing_permissions_come_with_grant_statements(zeke: Zeke) -> None:
    with stranger(zeke.dsn) as dsn:
        finding = sole(problems(zeke, DATABASE_PRIMARY_URL=dsn))
        assert finding["about"] == "rights"
        every = "select, insert, update, delete"
        assert f"{every} on job; {every} on archive" in finding["found"]
        zeke.sql(finding["advice"].partition(": ")[2])
        assert [f["about"] for f in problems(zeke, DATABASE_PRIMARY_URL=dsn, code=0)] == ["workers"]


def test_role_without_api_permissions_is_healthy_with_a_note(zeke: Zeke) -> None:
    with stranger(zeke.dsn) as dsn:
        given = sole(problems(zeke, DATABASE_PRIMARY_URL=dsn))["advice"]
        assert "api_key" not in given
        zeke.sql(given.partition(": ")[2])

        def told() -> list[dict[str, str]]:
            findings = json.loads(zeke("--json", "doctor", DATABASE_PRIMARY_URL=dsn).stdout)["findings"]
            return [finding for finding in findings if finding["about"] == "rights"]

        finding = sole(told())
        assert finding["grade"] == "ok"
        assert "select, insert, update on api_key; " in finding["found"]
        zeke.sql(finding["advice"].partition(": ")[2])
        assert told() == []
        assert zeke.good("keys", "create", "ci", DATABASE_PRIMARY_URL=dsn).startswith("mid_")


def test_missing_permission_is_distinguished_from_granted_ones(zeke: Zeke) -> None:
    with stranger(zeke.dsn) as dsn:
        role = dsn.partition("role=")[2].strip("'\"")
        zeke.sql(f"grant usage on schema pgboss to {role}")
        zeke.sql(f"grant all on all tables in schema pgboss to {role}")
        zeke.sql(f"revoke delete on pgboss.archive from {role}")
        finding = sole(problems(zeke, DATABASE_PRIMARY_URL=dsn))
    assert finding["found"] == f"role {role} lacks in schema pgboss: delete on archive"


async def test_standby_server_is_a_problem(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    info = replace(await read_server_info(dsn), standby=True)

    async def read(_dsn: str, _schema: str) -> ServerInfo:
        return info

    monkeypatch.setattr(database, "read_server_info", read)
    found, fit = await database.inspect(dsn, "pgboss")
    assert not fit
    assert found[0].found.endswith("it is a read-only standby")
    assert found[0].advice == "set DATABASE_PRIMARY_URL to the primary"


# Databases that work, but not well


def test_healthy_system_is_reported_as_healthy(zeke: Zeke) -> None:
    async def look(queue: Queue) -> Any:
        async with Worker(queue):
            return await asyncio.to_thread(zeke, "doctor")

    result = zeke.on_queue(look)
    assert result.exit_code == 0
    assert "1 worker alive, 0 jobs running" in result.stdout
    assert result.stdout.endswith("No problems found.\n")


def test_task_missing_from_the_live_worker_is_a_problem(zeke: Zeke) -> None:
    zeke.good("send", "maill", "{}", "--external")

    async def look(queue: Queue) -> Any:
        async with Worker(queue):
            return await asyncio.to_thread(problems, zeke)

    finding = sole(zeke.on_queue(look))
    assert finding["found"] == "1 job of 'maill' waits, and no live worker serves that queue"


async def test_open_transaction_is_named_from_the_limit_of_locks_on(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = await read_server_info(dsn)

    async def grades(seconds: float) -> list[Grade]:
        aged = replace(info, oldest=LongTransaction("session 7 of psql", seconds))

        async def read(_dsn: str, _schema: str) -> ServerInfo:
            return aged

        monkeypatch.setattr(database, "read_server_info", read)
        found, fit = await database.inspect(dsn, "pgboss")
        assert fit
        return [one.grade for one in found if "session 7 of psql has had a transaction open" in one.found]

    assert await grades(LOCK_SECONDS - 0.1) == []
    assert await grades(LOCK_SECONDS) == [Grade.OK]
    assert await grades(300.0) == [Grade.WARNING]


def test_old_transaction_is_named(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(zeke.dsn or "", application_name="a forgotten console") as connection:
        connection.execute("create temporary table mine ()")
        assert [f["about"] for f in problems(zeke, code=0)] == ["workers"]
        monkeypatch.setattr(database, "OPEN_TRANSACTION", 0.0)
        monkeypatch.setattr(database, "LONG_TRANSACTION", 0.0)
        found = [f for f in problems(zeke, code=0) if f["about"] == "database"]
    assert "of a forgotten console (idle in transaction) has had a transaction open" in sole(found)["found"]
    assert "pg_terminate_backend" in sole(found)["advice"]


@pytest.mark.needs("pgbouncer")
def test_pooler_is_named_and_its_pool_is_not_compared(zeke: Zeke) -> None:
    def check(mode: str, told: str) -> None:
        with Pooler(zeke.dsn or "", mode=mode) as pooler:
            result = zeke("--json", "doctor", DATABASE_PRIMARY_URL=pooler.dsn, JOBS_POOL_MAX="1000")
        findings = [one["found"] for one in json.loads(result.stdout)["findings"]]
        assert [told in one for one in findings].count(True) == 1
        assert not [one for one in findings if "may open" in one]

    check_each([("transaction", "each transaction another connection"), ("session", "each client")], check)


def test_pools_larger_than_the_server_are_reported(zeke: Zeke) -> None:
    found = [f for f in problems(zeke, code=0, JOBS_POOL_MAX="1000") if f["about"] == "database"]
    assert "1 process of workers with 1002 connections each" in sole(found)["found"]
    assert [f for f in problems(zeke, code=0) if f["about"] == "database"] == []


def test_pgboss_s_costly_indexes_are_named_with_what_drops_them(zeke: Zeke) -> None:
    zeke.sql("create index job_fetch on pgboss.job (name text_pattern_ops, startafter)")
    finding = sole(f for f in problems(zeke, code=0) if f["about"] == "tables")
    assert "pgboss.job_fetch halves the speed, and serves only" in finding["found"]
    zeke.sql(finding["advice"].partition(": ")[2].rstrip(";"))
    assert [f["about"] for f in problems(zeke, code=0)] == ["workers"]


def test_schedule_that_pgboss_fires_too_is_reported(zeke: Zeke) -> None:
    zeke.sql("update pgboss.version set cron_on = now(), maintained_on = now()")
    for table in ("zeke_schedule", "schedule"):
        zeke.sql(f"insert into pgboss.{table} (name, cron) values ('nightly', '* * * * *')")  # noqa: S608
    finding = sole(f for f in problems(zeke, code=0) if f["about"] == "schedules")
    assert finding["found"].endswith("whose names Zeke's schedules have too: 'nightly'")


def test_doctor_changes_nothing(zeke: Zeke) -> None:
    job_id = zeke.send("mail", '{"to": "ann"}')
    before = zeke.json("job", "show", job_id), tables(zeke.dsn)
    zeke("doctor")
    assert (zeke.json("job", "show", job_id), tables(zeke.dsn)) == before


# Output for terminals


def test_findings_are_wrapped_to_the_width_of_the_terminal(zeke: Zeke) -> None:
    with stranger(zeke.dsn) as dsn:
        terminal = {"FORCE_COLOR": "1", "TERM": "dumb", "NO_COLOR": "1", "DATABASE_PRIMARY_URL": dsn}
        for width in [80, 120]:
            result = zeke("doctor", **terminal, COLUMNS=str(width))
            assert result.exit_code == 1
            lines = result.stdout.splitlines()
            assert max(map(len, lines)) <= width
            assert lines[-1] == "1 problem."


def test_finding_is_one_line_in_a_pipe(zeke_empty: Zeke) -> None:
    server, tables_, advice, summary = zeke_empty("doctor", COLUMNS="40").stdout.splitlines()
    assert server.startswith("✓ database   PostgreSQL ")
    assert tables_ == "✗ tables     Schema 'pgboss' does not have Zeke's tables yet"
    assert advice == "             → Run `zeke migrate`"
    assert summary == "1 problem."


def test_rest_is_reported_if_counting_takes_too_long_or_meets_a_lock(
    zeke: Zeke, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: object) -> Any:
        raise ReadTimeoutError("The query took longer than 5 s")

    async def locked(_: object) -> Any:
        raise LockTimeoutError.of("a row")

    monkeypatch.setattr(PostgresOverview, "queue_stats", slow)
    found = problems(zeke, API_PORT="abc")
    said = " ".join(finding["found"] for finding in found)
    assert "live jobs were not counted" in said
    assert "API_PORT" in said
    stopped = sole(finding for finding in found if finding["about"] == "workers")
    assert stopped["grade"] == "problem"
    assert stopped["found"] == "no workers are running; jobs may wait, since they were not counted"
    monkeypatch.setattr(PostgresOverview, "queue_stats", locked)
    result = zeke("doctor", "--json")
    assert result.exit_code == 1
    *before, last = json.loads(result.stdout)["findings"]
    assert before
    assert "locked" in last["found"]
