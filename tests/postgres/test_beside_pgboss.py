"""A pg-boss 9 on the same tables, and queries of users by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.cases import check_each, check_each_async
from tests.conformance.driver import lock_due_schedules
from tests.postgres.many_jobs import BERT, Connection, Sender
from tests.tidy import ROOT
from zeke_queue.model import CatchUp, Completed, Failed, Released, RowState, Schedule
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.rows import of_schedule

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
    assert edited == listed == Schedule("mail", cron, "mail", zone or "UTC", of_pgboss=True)


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
    sql.execute("update pgboss.zeke_schedule set paused = true, next_tick = now() - interval '1 day'")
    sql.execute("update pgboss.zeke_schedule set paused = false")
    (schedule,) = await storage.schedules()
    assert (schedule.last_tick, schedule.next_tick) == (None, None)


async def test_cron_of_pgboss_sees_none_of_our_schedules(storage: PostgresStorage, sql: Connection) -> None:
    await storage.put_schedule(Schedule("mail", "* * * * *", "mail"))
    await storage.declare([], [Schedule("clean", "* * * * * */5", "sweep")])
    assert sql.execute("select count(*) from pgboss.schedule").fetchone() == (0,)


async def test_stored_schedule_replaces_the_one_of_pgboss(storage: PostgresStorage, sql: Connection) -> None:
    sql.execute(PGBOSS_SCHEDULE, ["* * * * *", None, None])
    (theirs,) = await storage.schedules()
    await storage.put_schedule(replace(theirs, paused=True))
    assert sql.execute("select count(*) from pgboss.schedule").fetchone() == (0,)
    # A Node program stores it again when it starts. Ours is the one that counts here.
    sql.execute(PGBOSS_SCHEDULE, ["0 * * * *", None, None])
    assert await storage.schedules() == [replace(theirs, paused=True, of_pgboss=False)]
    assert (await lock_due_schedules(storage, 10))[1] == []
    assert await storage.delete_schedule("mail")
    assert await storage.schedules() == []


# What a worker of the version before our own table of schedules does.
EARLIER_PUT = """
    insert into pgboss.schedule as old (
        name, cron, task, timezone, data, options, catch_up, description, paused, declared,
        created_on, updated_on
    )
    values (
        %(name)s::text, %(cron)s::text, %(task)s::text, %(zone)s::text, %(data)s::jsonb, %(options)s::jsonb,
        %(catch_up)s::text, %(description)s::text, %(paused)s::bool, %(declared)s::jsonb,
        statement_timestamp(), statement_timestamp()
    )
    on conflict (name) do update set
    cron = excluded.cron, task = excluded.task, timezone = excluded.timezone, data = excluded.data,
    options = excluded.options, catch_up = excluded.catch_up, description = excluded.description,
    paused = excluded.paused, declared = coalesce(excluded.declared, old.declared),
    updated_on = excluded.updated_on
    where excluded.declared is null or old.declared is distinct from excluded.declared
"""


async def test_schedule_of_an_earlier_version_is_moved_to_our_table(
    storage: PostgresStorage, sql: Connection
) -> None:
    def put(schedule: Schedule, *, declared: bool = True) -> None:
        sql.execute(EARLIER_PUT, of_schedule(schedule, declared=declared))
        assert sql.execute("select count(*) from only pgboss.schedule").fetchone() == (0,)

    clean = Schedule(
        "clean", "0 0 1 1 *", "sweep", "Asia/Tokyo", "[1]", {"priority": 2}, CatchUp.ALL, "Cleans."
    )
    sql.execute(PGBOSS_SCHEDULE.replace("'mail'", "'clean'"), ["* * * * *", None, None])
    put(clean)
    assert await storage.schedules() == [clean]
    await serve_all(storage)
    paused = replace((await storage.schedules())[0], paused=True)
    await storage.put_schedule(paused)
    put(clean)
    assert await storage.schedules() == [paused], "an unchanged definition keeps users' edits and ticks"
    edited = replace(clean, cron="0 * * * *", data=None)
    put(edited)
    assert await storage.schedules() == [edited]
    put(paused, declared=False)
    put(edited)
    assert [one.paused for one in await storage.schedules()] == [True]


async def test_statements_of_pgboss_leave_its_schedules_in_its_table(
    storage: PostgresStorage, sql: Connection
) -> None:
    for cron in ("* * * * *", "0 * * * *"):
        sql.execute(PGBOSS_SCHEDULE, [cron, "UTC", '{"to": "ann"}'])
        assert sql.execute("select name, cron, data from only pgboss.schedule").fetchall() == [
            ("mail", cron, {"to": "ann"})
        ]
    assert [one.of_pgboss for one in await storage.schedules()] == [True]
    sql.execute("update pgboss.schedule set task = 'sweep'")
    (ours,) = await storage.schedules()
    assert (ours.task, ours.of_pgboss) == ("sweep", False)


async def test_schedules_of_pgboss_are_due_once_its_cron_is_silent(
    storage: PostgresStorage, sql: Connection
) -> None:
    sql.execute(PGBOSS_SCHEDULE, ["* * * * *", None, None])

    def cron_ran(ago: str | None) -> None:
        sql.execute("update pgboss.version set cron_on = now() - %s::interval", [ago])

    async def last_ticks() -> list[bool | None]:
        """Return of each due schedule whether its last tick counts as served in pg-boss's last round."""
        _, due = await lock_due_schedules(storage, 10)
        ((cron_on,),) = sql.execute("select cron_on from pgboss.version")
        return [one.last_tick and one.last_tick == cron_on for one in due]

    async def check(ago: str | None, expected: list[bool | None]) -> None:
        cron_ran(ago)
        assert await last_ticks() == expected

    await check_each_async([(None, [None]), ("119 s", []), ("121 s", [True]), ("-1 hour", [])], check)
    cron_ran("10 minutes")
    async with storage.transaction() as transaction:
        now, (mail,) = await transaction.lock_due_schedules(10)
        await transaction.record_tick(mail.name, now, now - timedelta(seconds=1))
    assert await last_ticks() == [False]


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
            "update pgboss.zeke_schedule set catch_up = 'never'",
            "update pgboss.zeke_schedule set last_tick = '-infinity'",
            "update pgboss.zeke_schedule set next_tick = 'infinity'",
            "update pgboss.zeke_schedule set next_tick = '10000-01-01'",
        ],
        check,
    )


async def test_policy_of_a_later_version_is_left_unchanged(storage: PostgresStorage, sql: Connection) -> None:
    sql.execute("alter table pgboss.zeke_schedule drop constraint schedule_readable")
    await storage.put_schedule(Schedule("clean", "* * * * *", "clean"))
    await storage.put_schedule(Schedule("mail", "* * * * *", "mail"))
    sql.execute("update pgboss.zeke_schedule set catch_up = 'of tomorrow' where name = 'clean'")
    assert [schedule.name for schedule in (await lock_due_schedules(storage, 10))[1]] == ["mail"]


async def test_troubleshooting_queries_run_as_printed(jobs: Sender, sql: Connection) -> None:
    await jobs.send()
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    transactions, jobs_of_all = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    sql.execute(transactions.encode())
    questions = [question for question in jobs_of_all.split(";") if question.strip()]
    assert len(questions) == 3

    def check(question: str) -> None:
        cursor = sql.execute(question.encode())
        assert {"id", "name", "state", "data", "createdon"} <= {
            column.name for column in cursor.description or ()
        }

    check_each(questions, check)


async def test_troubleshooting_queries_leave_out_what_the_page_says(
    jobs: Sender, storage: PostgresStorage, sql: Connection
) -> None:
    async def failed(final: RowState, retry_in: float | None = None, **options: Any) -> UUID:
        (job_id,) = await jobs.send(**options)
        (job,) = await jobs.claim(1)
        verdict = Failed(job_id, job.attempt, retry_in, '{"message": "m"}', final)  # type: ignore[arg-type]
        assert await jobs.storage.settle(failed=[verdict]) == {job_id}
        return job_id

    def found(question: str) -> list[UUID]:
        cursor = sql.execute(question.encode())
        place = [column.name for column in cursor.description or ()].index("id")
        return [row[place] for row in cursor.fetchall()]

    long_ago = await failed(RowState.FAILED)
    sql.execute("update pgboss.job set completedon = now() - interval '25 hours'")
    assert await storage.archive(86_400, 10) == 1
    expired, lost = await failed(RowState.EXPIRED), await failed(RowState.FAILED)
    retried = await failed(RowState.FAILED, 60.0)
    (cancelled,) = await jobs.send()
    await jobs.storage.cancel([cancelled])

    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    recent, failures, archived = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)[1].strip("; \n").split(";")
    assert set(found(recent)) == {expired, lost, retried, cancelled}
    assert found(failures) == [lost]
    assert found(archived) == [long_ago]
    view = "SELECT * FROM pgboss.zeke_job WHERE status = 'FAILED'"
    assert view in page
    assert set(found(view)) == {expired, lost, long_ago}
    started = "select state::text, jsonb_array_length(history) from pgboss.job where startedon is not null"
    assert ("retry", 1) in sql.execute(started.encode()).fetchall()
    assert sql.execute("select id from pgboss.job where startedon is null").fetchall() == [(cancelled,)]


# onComplete

ASKING = (
    "insert into pgboss.job (name, data, retrylimit, on_complete, startafter, keepuntil)"
    " values (%s, '{\"from\": \"node\"}', %s, true, now() - interval '1 hour', %s) returning id"
)
COMPLETION_JOBS = r"""
    select name, data, state::text, startafter <= now() and keepuntil > now() from pgboss.job
    where name like '\_\_state\_\_%'
"""


def asking(sql: Connection, name: str = "mail", retry_limit: int = 0, keep_until: str = "2126-01-01") -> UUID:
    """Insert a job as a pg-boss does for a program that passes ``onComplete: true``; return its id."""
    ((job_id,),) = sql.execute(ASKING, [name, retry_limit, keep_until])
    return job_id


async def test_job_that_asks_for_it_sends_a_completion_job_at_its_end(jobs: Sender, sql: Connection) -> None:
    async def check(number: int, state: str, response: dict[str, bool] | None) -> None:
        sql.execute("truncate pgboss.job")
        job_id = asking(sql, keep_until=["2126-01-01", "infinity"][number % 2])
        await jobs.claim(1)
        output = json.dumps({"ok": state == "completed"})
        final = RowState.EXPIRED if state == "expired" else RowState.FAILED
        completed, failed = [Completed(job_id, 1, output)], [Failed(job_id, 1, None, output, final)]
        # With an outcome of another kind, completed jobs are settled by another statement.
        others = [Failed(BERT, 1, None, "{}")] if number > 2 else []
        if state == "completed":
            settled = await jobs.storage.settle(completed=completed, failed=others)
        else:
            settled = await jobs.storage.settle(failed=[*failed, *others])
        assert settled == {job_id}
        ((name, data, waiting, due),) = sql.execute(COMPLETION_JOBS)
        assert (name, waiting, due) == ("__state__completed__mail", "created", True)
        assert data["request"] == {"id": str(job_id), "name": "mail", "data": {"from": "node"}}
        assert (data["state"], data["failed"], data["response"]) == (state, state != "completed", response)
        assert data["retryCount"] == 0
        times = [datetime.fromisoformat(data[key]) for key in ("createdOn", "startedOn", "completedOn")]
        assert times == sorted(times)

    await check_each_async(
        [
            (1, "completed", {"ok": True}),
            (2, "failed", {"ok": False}),
            (3, "expired", None),
            (4, "completed", {"ok": True}),
        ],
        check,
    )


async def test_job_that_is_not_at_its_end_sends_no_completion_job(jobs: Sender, sql: Connection) -> None:
    job_id = asking(sql, retry_limit=1)
    await jobs.claim(1)
    assert await jobs.storage.settle(released=[Released(job_id, 1)]) == {job_id}
    await jobs.claim(1)
    assert await jobs.storage.settle(failed=[Failed(job_id, 2, 0.0, "{}")]) == {job_id}
    # pg-boss sends none for a cancelled job either, for a completion job, or for a job that does not ask.
    assert await jobs.storage.cancel([job_id]) == {job_id}
    assert sql.execute(COMPLETION_JOBS).fetchall() == []
    await jobs.send()
    assert len(await jobs.complete(await jobs.claim(1))) == 1
    assert sql.execute(COMPLETION_JOBS).fetchall() == []
    job_id = asking(sql, "__state__completed__mail")
    await jobs.claim(1, "__state__completed__mail")
    assert await jobs.storage.settle(failed=[Failed(job_id, 1, None, "{}", RowState.EXPIRED)]) == {job_id}
    assert len(sql.execute(COMPLETION_JOBS).fetchall()) == 1
    asking(sql, "__state__completed__post")
    assert len(await jobs.complete(await jobs.claim(1, "__state__completed__post"))) == 1
    assert len(sql.execute(COMPLETION_JOBS).fetchall()) == 2


def test_both_statements_send_the_same_completion_job() -> None:
    def sends(name: str) -> str:
        text = (ROOT / "zeke_queue/storage/postgres/sql" / f"{name}.sql").read_text()
        return text[text.index("followed as (") : text.index("told as (")]

    assert sends("complete") == sends("settle")
