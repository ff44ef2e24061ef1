"""What a role may do with its permissions, and which grants are suggested where they do not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.cases import check_each
from tests.cli.conftest import SHOP, Zeke
from tests.cli.test_bad_input import stranger
from zeke_queue.errors import SettingsError, StorageUnavailableError
from zeke_queue.storage.postgres import grants, migrate, migration_steps

LETTER = '{"to": "ann"}'
READS = [("jobs",), ("jobs", "--archived"), ("job", "show", "ID"), ("queues",), ("schedules",)]

Grant = Callable[[str], None]


@pytest.fixture
def zeke(zeke_alone: Zeke) -> Zeke:
    return zeke_alone


@contextmanager
def role_of(zeke: Zeke) -> Iterator[tuple[Zeke, Grant]]:
    """Create a role without rights; yield the command line as it, and what grants it some as the owner."""
    with stranger(zeke.dsn) as dsn:
        name = dsn.partition("role=")[2].strip("'\"")
        yield Zeke(dsn), lambda right: zeke.sql(f"grant {right} to {name}")


@pytest.mark.nightly
def test_read_only_role_reads_what_the_owner_reads_and_changes_nothing(zeke: Zeke) -> None:
    job_id = zeke.send("mail", LETTER)
    zeke.work()
    with role_of(zeke) as (reader, grant):
        grant("usage on schema pgboss")
        grant("select on all tables in schema pgboss")

        def check(*look: str) -> None:
            command = [job_id if word == "ID" else word for word in look]
            assert reader.json(*command) == zeke.json(*command)

        check_each(READS, check)
        for command in (("send", "mail", LETTER, *SHOP), ("queue", "pause", "mail")):
            said = reader.fails(*command, code=1)
            assert "lacks the right insert on pgboss.job" in said
            assert "`zeke doctor` prints" in said


def test_role_without_permissions_gets_the_grants_for_reading(zeke: Zeke) -> None:
    def check(*look: str) -> None:
        with role_of(zeke) as (reader, grant):
            command = ["00000000-0000-4000-8000-000000000000" if word == "ID" else word for word in look]
            said = reader.fails(*command, code=1)
            assert "lacks the right usage on schema pgboss" in said
            grant("usage on schema pgboss")
            said = reader.fails(*command, code=1)
            assert "lacks the right select on pgboss.job" in said
            zeke.sql(said.partition("As the tables' owner: ")[2])
            assert "lacks" not in reader(*command).output

    check_each(READS, check)


@pytest.mark.nightly
def test_role_without_permissions_gets_the_grants_for_the_api(
    zeke: Zeke, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def begins(*_: object, **__: object) -> None:
        begun.append("begun")
        raise SettingsError("far enough")

    monkeypatch.setattr("zeke_queue.cli.serve._server", begins)

    def check(command: str) -> None:
        begun.clear()
        with role_of(zeke) as (server, grant):
            grant("usage on schema pgboss")
            for table, rights in migrate.RIGHTS.items():
                grant(f"{rights} on pgboss.{table}")
            grant("select on pgboss.api_key")
            said = server.fails(command, *SHOP, "--port", "0", code=1)
            assert "can't serve the HTTP API: it lacks in schema pgboss: " in said
            assert "insert, update on api_key" in said
            assert begun == []
            zeke.sql(said.partition("As the tables' owner: ")[2])
            assert "far enough" in server.fails(command, *SHOP, "--port", "0", code=2)
            assert begun == ["begun"]

    check_each(["api", "up"], check)


def test_api_on_outdated_tables_names_the_migration_command(zeke: Zeke) -> None:
    zeke.sql(
        "delete from pgboss.zeke_migration where number = (select max(number) from pgboss.zeke_migration)"
    )
    said = zeke.fails("api", *SHOP, "--port", "0", code=1)
    assert "is not up to date" in said
    assert "zeke migrate" in said
    assert "api_listening" not in said


def test_granted_role_runs_jobs_and_serves_the_api_without_owning_anything(zeke: Zeke) -> None:
    with role_of(zeke) as (app, _):
        role = (app.dsn or "").partition("role=")[2].strip("'\"")
        assert "schema pgboss: up to date" in zeke.good("migrate", "--grant", role)
        job_id = app.send("mail", LETTER)
        app.work()
        assert app.json("job", "show", job_id)["status"] == "COMPLETED"
        assert app.good("keys", "create", "ci").startswith("mid_")
        rights = [one for one in app.json("doctor")["findings"] if one["about"] == "rights"]
        assert rights == []
        refused = app.fails("migrate", "--grant", role, code=1)
        assert "as the owner of its tables" in refused


def test_unusable_grant_is_refused_before_anything_is_migrated(zeke_empty: Zeke) -> None:
    said = zeke_empty.fails("migrate", "--grant", "no_such_role", code=2)
    assert "--grant: must be a role of the database, got 'no_such_role'" in said
    assert "left out with --sql" in zeke_empty.fails("migrate", "--sql", "--grant", "postgres", code=2)
    assert "schema pgboss: applied" in zeke_empty.good("migrate")


def test_locked_table_is_reported_by_a_grant(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    with role_of(zeke) as (app, _):
        role, dsn = (app.dsn or "").partition("role=")[2].strip("'\""), zeke.dsn or ""
        monkeypatch.setattr(migration_steps, "LOCK_SECONDS", 0.01)
        monkeypatch.setattr(migration_steps, "_LOCK_TRIES", 2)
        with psycopg.connect(dsn) as other:
            other.execute("lock table pgboss.job in access exclusive mode")
            with pytest.raises(StorageUnavailableError, match="The grant could not lock the tables"):
                grants.grant(dsn, "pgboss", role)
