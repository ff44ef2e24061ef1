"""A pg-boss 9 on the same tables, and queries of users by hand."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest

from tests.cases import check_each
from tests.conformance.driver import lock_due_schedules
from tests.postgres.many_jobs import BERT, Connection, Sender
from tests.tidy import ROOT
from zeke_queue.model import Completed, Schedule
from zeke_queue.storage.postgres import PostgresStorage

# What a pg-boss 9 does to a row: it knows the states, and neither attempts nor workers.
INSERT = (
    "insert into pgboss.job (name, data, retrylimit) values ('mail', '{\"from\": \"node\"}', 1) returning id"
)
FETCH = "update pgboss.job set state = 'active', startedon = now() where state < 'active' returning id"
EXPIRE = (
    "update pgboss.job set state = 'retry', startafter = now()"
    " where state = 'active' and startedon + expirein < now()"
)
LATE = "update pgboss.job set startedon = now() - interval '2 hours' where state = 'active'"


async def test_claim_by_pgboss_fences_the_previous_worker(jobs: Sender, sql: Connection) -> None:
    await jobs.send()
    (job,) = await jobs.claim(1)
    sql.execute(LATE)
    sql.execute(EXPIRE)
    sql.execute(FETCH)
    assert await jobs.complete([job]) == set()
    assert sql.execute("select state::text, attempt, worker from pgboss.job").fetchall() == [
        ("active", 2, None)
    ]


async def test_job_run_by_pgboss_before_is_claimed_as_the_next_attempt(jobs: Sender, sql: Connection) -> None:
    sql.execute(INSERT)
    sql.execute(FETCH)
    sql.execute(LATE)
    sql.execute(EXPIRE)
    (job,) = await jobs.claim(1, worker=BERT)
    assert (job.attempt, job.retry_count) == (2, 1)
    assert await jobs.storage.settle([Completed(job.id, 1, None)]) == set()
    assert await jobs.complete([job]) == {job.id}


async def test_pgboss_does_not_archive_our_waiting_jobs(jobs: Sender, sql: Connection) -> None:
    await jobs.send(delay=86_400.0 * 365)
    kept = (
        "select count(*) from pgboss.job where state < 'active' and keepuntil < now() + interval '90 years'"
    )
    assert sql.execute(kept.encode()).fetchone() == (0,)


async def test_age_of_the_last_cron_of_pgboss_is_returned(storage: PostgresStorage, sql: Connection) -> None:
    assert await storage.pgboss_cron_age() is None
    sql.execute("update pgboss.version set cron_on = now() - interval '1 minute'")
    age = await storage.pgboss_cron_age()
    assert age is not None
    assert 60 <= age < 90


# What pg-boss 9's schedule() does.
PGBOSS_SCHEDULE = """
    insert into pgboss.schedule (name, cron, timezone, data, options) values ('mail', %s, %s, %s, '{}')
    on conflict (name) do update set
    cron = excluded.cron, timezone = excluded.timezone, data = excluded.data, options = excluded.options,
    updated_on = now()
"""


@pytest.mark.parametrize(("cron", "zone"), [("*/5 * * * *", None), ("0 0 1 1 *", "Asia/Tokyo")])
async def test_schedule_edited_by_pgboss_restarts_from_its_new_times(
    storage: PostgresStorage, sql: Connection, cron: str, zone: str | None
) -> None:
    sql.execute(PGBOSS_SCHEDULE, ["0 0 1 1 *", None, None])
    await serve_all(storage)
    assert (await lock_due_schedules(storage, 10))[1] == []
    sql.execute(PGBOSS_SCHEDULE, [cron, zone, None])
    ((_, (edited,)), (listed,)) = await lock_due_schedules(storage, 10), await storage.schedules()
    assert edited == listed == Schedule("mail", cron, "mail", zone or "UTC")


async def test_schedule_stored_unchanged_by_pgboss_keeps_its_ticks(
    storage: PostgresStorage, sql: Connection
) -> None:
    sql.execute(PGBOSS_SCHEDULE, ["0 0 1 1 *", None, None])
    await serve_all(storage)
    sql.execute(PGBOSS_SCHEDULE, ["0 0 1 1 *", "UTC", '{"to": "ann"}'])
    assert (await lock_due_schedules(storage, 10))[1] == []


async def test_pause_ended_by_hand_does_not_catch_up(storage: PostgresStorage, sql: Connection) -> None:
    await storage.put_schedule(Schedule("mail", "* * * * *", "mail"))
    await serve_all(storage)
    sql.execute("update pgboss.schedule set paused = true, next_tick = now() - interval '1 day'")
    sql.execute("update pgboss.schedule set paused = false")
    (schedule,) = await storage.schedules()
    assert (schedule.last_tick, schedule.next_tick) == (None, None)


async def serve_all(storage: PostgresStorage) -> None:
    async with storage.transaction() as transaction:
        now, due = await transaction.lock_due_schedules(10)
        for schedule in due:
            await transaction.record_tick(schedule.name, now, now + timedelta(days=365))


async def test_unreadable_edit_of_a_schedule_is_rejected(storage: PostgresStorage, sql: Connection) -> None:
    await storage.put_schedule(Schedule("mail", "* * * * *", "mail"))

    def check(edit: LiteralString) -> None:
        with pytest.raises(psycopg.errors.CheckViolation, match="schedule_readable"):
            sql.execute(edit)

    check_each(
        [
            "update pgboss.schedule set catch_up = 'never'",
            "update pgboss.schedule set last_tick = '-infinity'",
            "update pgboss.schedule set next_tick = 'infinity'",
            "update pgboss.schedule set next_tick = '10000-01-01'",
        ],
        check,
    )


async def test_policy_of_a_later_version_is_left_unchanged(storage: PostgresStorage, sql: Connection) -> None:
    sql.execute("alter table pgboss.schedule drop constraint schedule_readable")
    await storage.put_schedule(Schedule("clean", "* * * * *", "clean"))
    await storage.put_schedule(Schedule("mail", "* * * * *", "mail"))
    sql.execute("update pgboss.schedule set catch_up = 'of tomorrow' where name = 'clean'")
    assert [schedule.name for schedule in (await lock_due_schedules(storage, 10))[1]] == ["mail"]


async def test_troubleshooting_queries_run_as_printed(jobs: Sender, sql: Connection) -> None:
    await jobs.send()
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    questions = [question for question in block.split(";") if question.strip()]
    assert len(questions) == 3

    def check(question: str) -> None:
        cursor = sql.execute(question.encode())
        assert {"id", "name", "state", "data", "createdon"} <= {
            column.name for column in cursor.description or ()
        }

    check_each(questions, check)
