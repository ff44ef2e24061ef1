"""Errors of a connection string, a login or a schema are reported with advice."""

from __future__ import annotations

import json

import pytest
from psycopg.conninfo import make_conninfo

from tests.cases import check_each
from tests.cli.conftest import Zeke
from tests.cli.test_bad_input import REFUSED, stranger


@pytest.fixture
def zeke(zeke_alone: Zeke) -> Zeke:
    return zeke_alone


def test_option_that_libpq_rejects_is_a_usage_error(nowhere: Zeke) -> None:
    def check(option: str, told: str) -> None:
        for command in ("jobs", "migrate", "doctor"):
            said = nowhere.fails(command, code=2, DATABASE_PRIMARY_URL=f"{REFUSED}?{option}")
            assert told in said
            assert "DATABASE_PRIMARY_URL" in said
            assert "s3cret" not in said

    check_each(
        [
            ("sslmode=x", 'invalid sslmode value: "x"'),
            ("target_session_attrs=x", 'invalid target_session_attrs value: "x"'),
            ("ssl_min_protocol_version=x", 'invalid "ssl_min_protocol_version" value: "x"'),
            ("connect_timeout=soon", "connect_timeout must be a number of seconds, got 'soon'"),
            ("service=nowhere", 'definition of service "nowhere" not found'),
            ("hostaddr=nowhere", 'could not parse network address "nowhere"'),
        ],
        check,
    )


def test_option_that_the_driver_rejects_at_connection_is_a_usage_error(zeke: Zeke) -> None:
    dsn = make_conninfo(zeke.dsn or "", keepalives="x", host="127.0.0.1", port="1")
    said = zeke.fails("jobs", code=2, DATABASE_PRIMARY_URL=dsn)
    assert 'invalid integer value "x" for connection option "keepalives"' in said


def test_invalid_connection_option_is_a_settings_error_in_json(nowhere: Zeke) -> None:
    result = nowhere("jobs", "--json", DATABASE_PRIMARY_URL=f"{REFUSED}?sslmode=x")
    assert json.loads(result.stderr)["error"] == "SettingsError"


def test_missing_table_or_column_is_reported_with_migrate_of_its_schema(zeke_empty: Zeke) -> None:
    zeke_empty.good("migrate", "--schema", "mine")
    zeke_empty.sql("alter table mine.job drop column meta cascade")
    told = "Run `zeke migrate` on the same --schema or JOBS_SCHEMA"
    assert told in zeke_empty.fails("jobs", "--schema", "mine", code=1)
    zeke_empty.sql("drop table mine.watcher")
    told = "Run `zeke --schema mine migrate`, or set JOBS_SCHEMA=mine for both"
    assert told in zeke_empty.fails("jobs", "--schema", "mine", code=1)


def test_missing_table_of_the_default_schema_is_reported_without_its_name(zeke: Zeke) -> None:
    zeke.sql("drop table pgboss.watcher")
    assert zeke.fails("jobs", code=1).endswith("Run `zeke migrate`\n")


def test_role_that_cannot_create_gets_the_grant_statement(zeke_empty: Zeke) -> None:
    with stranger(zeke_empty.dsn) as dsn:
        said = zeke_empty.fails("migrate", code=1, DATABASE_PRIMARY_URL=dsn)
        assert "permission denied for database" in said
        assert "grant create on database" in said
