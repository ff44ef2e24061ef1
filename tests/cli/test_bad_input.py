"""Errors in one line with field, fault and remedy; exit code 2 for invalid usage, 1 for a failure."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cases import check_each
from tests.cli.conftest import SHOP, Zeke
from tests.cli.old_server import old_server
from zeke_queue.cli.session import Options, print_error
from zeke_queue.errors import ZekeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Write = Callable[[str], str]

NOBODY = "00000000-0000-4000-8000-000000000000"
REFUSED = "postgresql://zeke:s3cret@127.0.0.1:1/zeke"
COMMANDS = [
    ("jobs",),
    ("queues",),
    ("schedules",),
    ("migrate",),
    ("send", "mail", '{"to": "ann"}', *SHOP),
    ("job", "show", NOBODY),
    ("queue", "pause", "mail"),
    ("worker", *SHOP),
]
"""One of each kind that needs a database."""

# What is missing


def test_missing_argument_is_named_as_text_and_as_json(nowhere: Zeke) -> None:
    def check(command: tuple[str, ...], missing: str) -> None:
        told, shown = nowhere(*command, "--json"), nowhere(*command)
        assert (told.exit_code, told.stdout, shown.exit_code, shown.stdout) == (2, "", 2, "")
        assert json.loads(told.stderr)["message"] == f"Missing argument '{missing}'."
        assert f"Missing argument '{missing}'." in shown.stderr

    check_each(
        [
            (("send",), "TASK"),
            *((("job", verb), "ID") for verb in ("show", "cancel", "retry", "resume")),
            *((("queue", verb), "NAME") for verb in ("pause", "resume")),
            *((("schedule", verb), "NAME") for verb in ("rm", "pause", "resume")),
        ],
        check,
    )


# What is sent


def test_invalid_send_is_rejected_with_the_reason(zeke: Zeke) -> None:
    def check(task: str, payload: str, *told: str) -> None:
        said = zeke.fails("send", task, payload, *SHOP, code=2)
        assert [part for part in told if part not in said] == []

    check_each(
        [
            ("maill", "{}", "'maill'", "mail, odd, refuse", "--external"),
            ("mail", '{"copies": "many"}', "to: Field required", "copies: Input should be a valid integer"),
            ("mail", json.dumps({"to": "a" * 500}), "500 at most", "send a reference"),
            ("mail", "{to: ann}", "line 1 column 2", "quote it for the shell"),
        ],
        check,
    )


def test_invalid_fields_are_reported_as_json(zeke: Zeke) -> None:
    result = zeke("send", "mail", '{"copies": "many"}', *SHOP, "--json")
    assert result.exit_code == 2
    assert not result.stdout
    told = json.loads(result.stderr)
    assert told["error"] == "PayloadValidationError"
    assert [field["path"] for field in told["fields"]] == ["to", "copies"]


def test_invalid_queue_name_is_rejected(zeke: Zeke) -> None:
    def check(name: str, command: tuple[str, ...]) -> None:
        assert re.match("zeke: (task|NAME): must ", zeke.fails(*command, name, code=2))

    check_each(
        product(["", "two words", "a" * 300, "__pgboss__mine"], [("send", "--external"), ("queue", "pause")]),
        check,
    )


def test_option_out_of_range_is_rejected_with_its_name(zeke: Zeke) -> None:
    def check(option: str, value: str, told: str) -> None:
        said = zeke.fails("send", "mail", '{"to": "ann"}', *SHOP, option, value, code=2)
        assert said.startswith(f"zeke: {option}: must ")
        assert told in said

    check_each(
        [
            ("--delay", "-5", "0 to "),
            ("--expire-in", "0", "seconds, got 0.0"),
            ("--retry-limit", "-1", "(int4), got -1"),
            ("--priority", "99999999999", "(int4), got 99999999999"),
            ("--singleton-key", "", "must not be empty"),
        ],
        check,
    )


def test_payload_on_standard_input_that_is_not_json_is_rejected(zeke: Zeke) -> None:
    def check(stdin: str, told: str) -> None:
        said = zeke.fails("send", "mail", "-", *SHOP, code=2, stdin=stdin)
        assert "The payload on standard input" in said
        assert told in said
        assert "shell" not in said

    check_each(
        [("", "is empty"), ("{to: ann}", "line 1 column 2"), ("[" * 100_000, "is nested too deeply")], check
    )


def test_control_characters_of_an_error_are_removed(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ZekeError("It ended FAILED: \x1b[2Jgone\x07\nand more"), Options())
    assert capsys.readouterr().err == "zeke: It ended FAILED: ·[2Jgone·\nand more\n"


def test_invalid_wait_is_rejected_before_anything_is_sent(zeke: Zeke) -> None:
    def check(seconds: str) -> None:
        said = zeke.fails("send", "mail", '{"to": "ann"}', *SHOP, "--wait", seconds, code=2)
        assert f"--wait: must be 0 or more seconds, got {seconds}" in said
        assert zeke.json("jobs") == []

    check_each(["-1", "nan", "inf"], check)


def test_option_that_is_not_a_job_id_is_rejected(zeke: Zeke) -> None:
    # An empty one would be a script's variable that is not set: sent twice, it would be two jobs.
    for given in ["", "42"]:
        said = zeke.fails("send", "mail", '{"to": "ann"}', *SHOP, "--id", given, code=2)
        assert f"--id: must be a job's id, got {given!r}" in said
        assert f"--before: must be a job's id, got {given!r}" in zeke.fails("jobs", "--before", given, code=2)
    assert zeke.json("jobs") == []


def test_refused_send_names_the_conflicting_job(zeke: Zeke) -> None:
    first = zeke.send("mail", '{"to": "ann"}', "--singleton-key", "ann")
    command = ("send", "mail", '{"to": "ann"}', *SHOP, "--singleton-key", "ann")
    assert f"job {first} holds its key 'ann'" in zeke.fails(*command, code=1)
    told = json.loads(zeke(*command, "--json").stderr)
    assert (told["error"], told["holder"]) == ("JobConflictError", first)


def test_output_without_json_form_fails_its_job_with_reason(zeke: Zeke) -> None:
    job_id = zeke.send("odd")
    zeke.work()
    said = zeke.fails("send", "odd", *SHOP, "--id", job_id, "--wait", "0", code=1)
    assert "The handler's result can't be stored" in said
    assert "use JSON types" in said


# Jobs


def test_invalid_and_unknown_job_ids_are_rejected(zeke: Zeke) -> None:
    def check(verb: str) -> None:
        assert "must be a job's id, got '42'" in zeke.fails("job", verb, "42", code=2)
        assert f"No job has the id {NOBODY}" in zeke.fails("job", verb, NOBODY, code=1)

    check_each(["show", "cancel", "retry", "resume"], check)


def test_job_that_did_not_fail_is_not_retried(zeke: Zeke) -> None:
    job_id = zeke.send("mail", '{"to": "ann"}')
    said = zeke.fails("job", "retry", job_id, code=1)
    assert f"job {job_id} is QUEUED; only a failed job" in said
    assert zeke.json("job", "show", job_id)["status"] == "QUEUED"


# What code declares


def test_invalid_catalog_is_rejected_with_its_line(zeke: Zeke, module: Write) -> None:
    def check(declared: str, told: str) -> None:
        name = module(f"from zeke_queue import Catalog\nc = Catalog()\n{declared}\n")
        said = zeke.fails("worker", "--app", f"{name}:c", code=2)
        assert told in said
        assert f"{name}.py, line " in said

    check_each(
        [
            ('c.schedule("a", "0 0 30 2 *")', "never"),
            ('c.schedule("a", "every day")', "every day"),
            ('c.schedule("a", "* * * * *", timezone="Europe/Berlim")', "Europe/Berlin"),
            ('@c.task("a")\ndef one(): ...\n@c.task("a")\ndef two(): ...', "'a' is already the name"),
            ('@c.task("no name")\ndef one(): ...', "name: must be ASCII letters"),
            ('@c.task("a", retry_limit=-1)\ndef one(): ...', "retry_limit: must be an integer"),
        ],
        check,
    )


def test_schedule_of_an_unknown_task_stops_the_worker_at_start(zeke: Zeke, module: Write) -> None:
    name = module(
        "from zeke_queue import Catalog\nc = Catalog()\n"
        '@c.task("mail")\ndef mail(): ...\n'
        'c.schedule("nightly", "0 3 * * *")\n'
    )
    said = zeke.fails("worker", "--app", f"{name}:c", code=2)
    assert "Schedule 'nightly' can't be stored: No task has the name 'nightly'; the catalog has mail" in said
    assert "external" not in said


def test_task_decorator_without_a_name_suggests_one(zeke: Zeke, module: Write) -> None:
    name = module("from zeke_queue import Catalog\nc = Catalog()\n@c.task\ndef send_mail(): ...\n")
    assert "write @catalog.task('send-mail')" in zeke.fails("worker", "--app", f"{name}:c", code=2)


# Settings


def test_invalid_setting_is_named(zeke: Zeke) -> None:
    def check(variable: str, value: str) -> None:
        said = zeke.fails("jobs", code=2, **{variable: value})
        assert (variable if variable != "JOBS_SCHEMA" else "schema: must not begin with 'pg_'") in said

    check_each(
        [
            ("JOBS_CRON_TZ", "Europe/Atlantis"),
            ("JOBS_CONCURRENCY", "none"),
            ("JOBS_HEARTBEAT_INTERVAL", "14"),
            ("JOBS_SCHEMA", "pg_jobs"),
            ("DATABASE_PRIMARY_URL", "mysql://ann@db/zeke"),
            ("DATABASE_PRIMARY_URL", "postgresql://db/zeke?colour=red"),
        ],
        check,
    )


def test_unsetting_is_suggested_only_for_settings_with_a_default(zeke: Zeke) -> None:
    assert "unset it" not in zeke.fails("jobs", code=2, DATABASE_PRIMARY_URL="mysql://ann@db/zeke")
    assert "or unset it for the default" in zeke.fails("jobs", code=2, JOBS_POLL_INTERVAL="0")


def test_every_command_requires_a_database_setting(nowhere: Zeke) -> None:
    def check(*command: str) -> None:
        assert "DATABASE_PRIMARY_URL is not set" in nowhere.fails(*command, code=2)

    check_each([*COMMANDS, ("doctor",)], check)


# Databases


def test_unreachable_database_is_a_failure_with_advice(nowhere: Zeke) -> None:
    def check(*command: str) -> None:
        said = nowhere.fails(*command, code=1, DATABASE_PRIMARY_URL=REFUSED)
        assert "can't be reached" in said
        assert "Check that the server runs" in said
        assert "DATABASE_PRIMARY_URL" in said
        assert "s3cret" not in said

    check_each(COMMANDS, check)


def test_server_older_than_15_is_rejected(nowhere: Zeke) -> None:
    def check(*command: str) -> None:
        with old_server("14.12") as dsn:
            said = nowhere.fails(*command, code=1, DATABASE_PRIMARY_URL=dsn)
        assert "PostgreSQL 14; PostgreSQL 15 is the oldest supported version" in said

    check_each(COMMANDS, check)


def test_missing_tables_are_reported_with_migrate_as_advice(zeke_empty: Zeke) -> None:
    def check(*command: str) -> None:
        assert "Run `zeke migrate`" in zeke_empty.fails(*command, code=1)

    check_each([command for command in COMMANDS if command != ("migrate",)], check)


def test_tables_of_a_newer_pgboss_are_left_unchanged(zeke_empty: Zeke) -> None:
    before = make_pgboss_10(zeke_empty.dsn)

    def check(*command: str) -> None:
        said = zeke_empty.fails(*command, code=1)
        assert "pg-boss 10 or later (its version 24)" in said
        assert "JOBS_SCHEMA" in said
        assert tables(zeke_empty.dsn) == before

    check_each(COMMANDS, check)


def test_role_without_permissions_gets_the_missing_grant(zeke: Zeke) -> None:
    with stranger(zeke.dsn) as dsn:

        def check(*command: str) -> None:
            said = zeke.fails(*command, code=1, DATABASE_PRIMARY_URL=dsn)
            assert "lacks" in said
            assert "Grant it" in said or "connect as" in said or "As the tables' owner: grant" in said

        check_each(COMMANDS, check)


def make_pgboss_10(dsn: str | None) -> list[Any]:
    """Create tables that are recognised as those of pg-boss 10; return all of them."""
    with psycopg.connect(dsn or "", autocommit=True) as connection:
        connection.execute("create schema pgboss")
        connection.execute("create table pgboss.version (version int primary key, cron_on timestamptz)")
        connection.execute("create table pgboss.job (id uuid, name text) partition by list (name)")
        connection.execute("create table pgboss.archive (id uuid, archived_on timestamptz)")
        connection.execute("insert into pgboss.version values (24)")
    return tables(dsn)


def tables(dsn: str | None) -> list[Any]:
    """Return everything in the database that a migration could have changed."""
    with psycopg.connect(dsn or "", autocommit=True) as connection:
        return connection.execute(
            "select n.nspname, c.relname, c.relkind, a.attname, a.atttypid from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid"
            " where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2, 4"
        ).fetchall()


@contextmanager
def stranger(dsn: str | None) -> Iterator[str]:
    """Yield a DSN of a role that may only connect."""
    with psycopg.connect(dsn or "", autocommit=True) as connection:
        row = connection.execute(
            "select 'zeke_stranger_' || oid from pg_database where datname = current_database()"
        )
        ((role,),) = row.fetchall()
        connection.execute(f"create role {role}".encode())
        try:
            yield make_conninfo(dsn or "", options=f"-c role={role}")
        finally:
            connection.execute(f"drop owned by {role}".encode())
            connection.execute(f"drop role {role}".encode())
