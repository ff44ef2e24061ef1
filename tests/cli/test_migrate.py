"""``zeke migrate`` makes the tables, and ``--sql`` prints what makes them."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from tests.cli.conftest import Zeke
from zeke_queue.cli import migrations

DOMAIN = EntryPoint("zeke", "zeke_tasks.store.postgres.migrate", "zeke.migrations")


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The installed migrations: only the queue's own, unless the test adds some."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(migrations, "entry_points", lambda group: points)
    return points


def test_tables_are_created_once(zeke_empty: Zeke) -> None:
    assert zeke_empty.good("migrate").startswith("schema pgboss: applied tables_of_pgboss_9, ")
    assert zeke_empty.good("migrate") == "schema pgboss: up to date\n"


def test_other_distributions_tables_are_made_too(zeke_empty: Zeke, declared: list[EntryPoint]) -> None:
    declared.append(DOMAIN)
    assert "\nschema zeke: applied " in zeke_empty.good("migrate")
    assert zeke_empty.good("migrate") == "schema pgboss: up to date\nschema zeke: up to date\n"


def test_printed_sql_completes_the_migration(zeke_empty: Zeke, declared: list[EntryPoint]) -> None:
    declared.append(DOMAIN)
    printed = zeke_empty.good("migrate", "--sql")
    zeke_empty.sql(printed)
    assert zeke_empty.json("migrate") == {"pgboss": [], "zeke": []}
    assert zeke_empty.good("jobs") == "No jobs yet.\n"


def test_suggested_migration_of_another_schema_names_it(zeke_empty: Zeke) -> None:
    said = zeke_empty.fails("jobs", "--schema", "mine", code=1)
    assert "Run `zeke --schema mine migrate`, or set JOBS_SCHEMA=mine" in said
    assert "tables_of_pgboss_9" in zeke_empty.json("--schema", "mine", "migrate")["mine"]
    assert zeke_empty.good("jobs", "--schema", "mine") == "No jobs yet.\n"


def test_sql_is_printed_without_a_database(nowhere: Zeke) -> None:
    assert "create table pgboss.job" in nowhere.good("migrate", "--sql")


def test_unloadable_migration_stops_all_migrations(zeke_empty: Zeke, declared: list[EntryPoint]) -> None:
    declared.append(EntryPoint("theirs", "nowhere.to_be.found", "zeke.migrations"))
    said = zeke_empty.fails("migrate", code=2)
    assert "'theirs' (nowhere.to_be.found) can't be loaded" in said
    assert "Run `zeke migrate`" in zeke_empty.fails("jobs", code=1)


def test_sql_is_printed_as_json_by_schema(nowhere: Zeke, declared: list[EntryPoint]) -> None:
    declared.append(DOMAIN)
    printed: dict[str, str] = nowhere.json("migrate", "--sql", "--schema", "mine")
    assert list(printed) == ["mine", "zeke"]
    assert "create table mine.job" in printed["mine"]
    assert "create table zeke." in printed["zeke"]


def test_plan_and_check_change_nothing(zeke_empty: Zeke, declared: list[EntryPoint]) -> None:
    declared.append(DOMAIN)
    said = zeke_empty.good("migrate", "--plan")
    assert "0001 all_tables: create; " in said
    assert "schema zeke: migrated afterwards" in said
    assert "it has no tables" in zeke_empty.fails("migrate", "--check", code=1)
    assert zeke_empty.good("migrate").startswith("schema pgboss: applied")
    assert zeke_empty.good("migrate", "--plan") == "schema pgboss: up to date\n"
    assert zeke_empty.json("migrate", "--plan")["steps"] == []
    assert zeke_empty.good("migrate", "--check") == "schema pgboss: pg-boss 9 starts and works on it\n"
    zeke_empty.sql("delete from pgboss.zeke_migration where number = 8")
    said = zeke_empty.good("migrate", "--plan")
    assert "0008 index_of_archived_jobs_by_age: index; share update exclusive on archive, " in said
    assert "schema pgboss: 1 steps, about 0 s. " in said
    assert "--plan: must be left out with --sql" in zeke_empty.fails("migrate", "--plan", "--sql", code=2)
    assert "left out with --check" in zeke_empty.fails("migrate", "--check", "--grant", "postgres", code=2)
