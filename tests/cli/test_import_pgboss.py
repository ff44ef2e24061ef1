"""``zeke import-pgboss`` shows what a pg-boss has, imports it, and refuses what is not one."""

from __future__ import annotations

import psycopg
import pytest

from tests.cli.conftest import SHOP, Zeke
from tests.postgres import pgboss_later
from zeke_queue.cli import import_pgboss
from zeke_queue.storage.postgres.pgboss_source import Session, Source

IMPORT = ("import-pgboss", "--from-schema", "boss", *SHOP)


@pytest.fixture
def boss(zeke_alone: Zeke) -> Zeke:
    """The command line on a database that also has a pg-boss 12, with jobs and a schedule."""
    with psycopg.connect(zeke_alone.dsn or "", autocommit=True) as sql:
        pgboss_later.create(sql, 12)
        pgboss_later.add(sql, "mail", data={"to": "Ada"})
        pgboss_later.add(sql, "mail", "failed")
        pgboss_later.add(sql, "elsewhere")
        sql.execute(
            "insert into boss.schedule (name, key, cron, timezone, data)"
            """ values ('mail', 'early', '0 6 * * *', 'Europe/Berlin', '{"to": "Bob"}')"""
        )
    return zeke_alone


def test_preview_lists_everything_and_changes_nothing(boss: Zeke) -> None:
    said = boss.good(*IMPORT)
    assert "elsewhere  standard        1" in said
    assert "left: not in the catalog" in said
    assert "schedule mail with key early: mail/early, 0 6 * * * in Europe/Berlin" in said
    stay = "1 that ended (--history copies them), 1 in queues that are left"
    assert f"--apply imports 1 waiting jobs; {stay} stay in pg-boss. Nothing was changed." in said
    assert boss.good("jobs") == "No jobs yet.\n"
    assert boss.json(*IMPORT)["queues"][1]["counts"] == {"created": 1, "failed": 1}


def test_queue_that_pgboss_does_not_have_is_an_error(boss: Zeke) -> None:
    said = boss.fails(*IMPORT, "--queue", "elsewhere", "--queue", "mial", code=2)
    assert "--queue: must be a queue of pg-boss, got 'mial'; schema 'boss' has elsewhere, mail" in said


def test_imported_jobs_and_schedules_run_here(boss: Zeke) -> None:
    assert "elsewhere is left in pg-boss: not in the catalog" in boss.good(*IMPORT, "--apply")
    boss.work()
    ((job),) = boss.json("jobs")
    assert (job["name"], job["status"], job["output"]) == ("mail", "COMPLETED", {"sent": 1})
    assert boss.json("schedules")[0]["name"] == "mail/early"
    again = boss.json(*IMPORT, "--apply", "--history", "--all")
    assert (again["jobs"], again["history"], again["known"]) == (
        {"elsewhere": 1},
        {"mail": 1},
        ["mail/early"],
    )


@pytest.mark.nightly
def test_follow_imports_what_pgboss_still_sends(boss: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each pass takes four seconds, and a job comes in each of the first two.
    passes = 0

    def pause(_: float) -> None:
        nonlocal passes
        passes += 1
        if passes % 10 <= 2:
            boss.sql("insert into boss.job (name) values ('mail')")

    monkeypatch.setattr(import_pgboss, "pause", pause)
    monkeypatch.setattr(import_pgboss, "seconds", lambda: passes * 4.0)
    done = boss.json(*IMPORT, "--apply", "--follow", "60")
    assert (done["jobs"], done["caughtUp"]) == ({"mail": 3}, True)
    assert passes == 5, "it has caught up ten seconds after the last job"
    passes = 10
    done = boss.json(*IMPORT, "--apply", "--follow", "7")
    assert (done["jobs"], done["caughtUp"]) == ({"mail": 2}, False)
    assert passes == 12
    passes = 20
    assert "Not caught up: the time of --follow ended" in boss.good(*IMPORT, "--apply", "--follow", "7")
    passes = 30
    assert "\nCaught up: no new job came for 10" in boss.good(*IMPORT, "--apply", "--follow", "60")
    done = boss.json(*IMPORT, "--apply")
    assert (done["jobs"], done["caughtUp"]) == ({}, None)


def test_schedules_stay_while_the_cron_of_pgboss_runs(boss: Zeke) -> None:
    boss.sql("update boss.version set cron_on = now()")
    assert "since pg-boss's cron ran within two minutes" in boss.good(*IMPORT)
    assert "Schedules were left" in boss.fails(*IMPORT, "--apply", code=1)
    assert boss.json("schedules") == []


def test_ticks_without_a_job_are_listed(boss: Zeke) -> None:
    boss.sql("update boss.version set cron_on = now() - interval '3 days'")
    boss.sql(
        "insert into boss.job (name, data) values"
        """ ('__pgboss__send-it', '{"name": "mail"}'), ('__pgboss__send-it', '{"name": "elsewhere"}')"""
    )
    result = boss(*IMPORT, "--apply")
    assert result.exit_code == 1
    assert "schedule mail/early has no job for" in result.stdout
    assert "queue mail has no job for a tick that waits in pg-boss's queue __pgboss__send-it" in result.stdout
    assert "queue elsewhere has no job" not in result.stdout
    assert "schedule mail/early is left, since one of its name exists" in boss.good(*IMPORT, "--apply")


def test_jobs_that_no_import_takes_are_listed(boss: Zeke) -> None:
    boss.sql("insert into boss.job (name, keep_until) values ('mail', '2020-01-01')")
    assert "mail: 1 past their retention and 0 of a flow stay in pg-boss" in boss.good(*IMPORT, "--apply")
    assert boss.json(*IMPORT, "--apply")["stay"] == {"mail": {"past": 1}}


@pytest.mark.nightly
def test_held_job_whose_row_is_gone_is_a_failure_until_it_is_cancelled(boss: Zeke) -> None:
    # As an import left it that was killed before it read whether pg-boss still has the job.
    boss.good(*IMPORT, "--apply")
    with psycopg.connect(boss.dsn or "") as session:
        origin = Source.find(Session(session), "boss", writing=False).origin
    boss.sql(
        "update pgboss.job set waitsfor = id, startafter = '2100-01-01', meta = jsonb_build_object("
        "'zekeImport', jsonb_build_object('from', %s::text, 'id', id, 'start_after', now()))",
        origin,
    )
    boss.sql("delete from boss.job")
    ((job),) = boss.json("jobs")
    result = boss(*IMPORT, "--apply")
    assert result.exit_code == 1
    assert f"job {job['id']} of queue mail is held, since its row in pg-boss is gone" in result.stdout
    boss.good("job", "cancel", job["id"])
    assert boss.json(*IMPORT, "--apply")["held"] == {}
    boss.good("job", "resume", job["id"])
    boss.work()
    assert [one["status"] for one in boss.json("jobs")] == ["COMPLETED"]


def test_schedule_that_cannot_be_carried_is_a_failure(boss: Zeke) -> None:
    boss.sql("update boss.schedule set timezone = 'Mars/Base'")
    assert "Schedules were left" in boss.fails(*IMPORT, "--apply", code=1)


def test_active_jobs_are_refused_while_pgboss_is_connected(boss: Zeke) -> None:
    with psycopg.connect(boss.dsn or "", application_name="pgboss:0f3a9c1e"):
        said = boss.fails(*IMPORT, "--apply", "--active", code=2)
    assert "--active: must be used while pg-boss is stopped, got 1 of its connections" in said
    assert boss.json(*IMPORT)["queues"][1]["counts"] == {"created": 1, "failed": 1}


def test_other_schemas_are_refused(boss: Zeke) -> None:
    assert "no version table" in boss.fails("import-pgboss", "--from-schema", "public", *SHOP, code=1)
    assert "no version table" in boss.fails("import-pgboss", "--from-schema", "nowhere", *SHOP, code=1)
    assert "must be another schema" in boss.fails("import-pgboss", *SHOP, code=2)
    said = boss.fails("import-pgboss", "--from", boss.dsn or "", *SHOP, code=1)
    assert "run `zeke --schema pgboss migrate`" in said
    boss.sql("update boss.version set version = 99")
    assert "Upgrade zeke-queue" in boss.fails(*IMPORT, code=1)
    assert "--follow: must be used with --apply" in boss.fails(*IMPORT, "--follow", "9", code=2)
    assert "--all, --queue: must not" in boss.fails(*IMPORT, "--all", "--queue", "mail", code=2)


def test_tables_here_must_be_migrated(zeke_empty: Zeke) -> None:
    with psycopg.connect(zeke_empty.dsn or "", autocommit=True) as sql:
        pgboss_later.create(sql, 11)
    assert "Run `zeke migrate`" in zeke_empty.fails(*IMPORT, "--apply", code=1)
