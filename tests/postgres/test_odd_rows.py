"""Rows as other programs and users may write them: none breaks the page or the claim that includes it."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql as composing

from tests.cases import check_each_async
from tests.conformance.planting import EMPTY
from tests.runtime.catalogs import mail_catalog
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.model import JobQuery, Schedule

if TYPE_CHECKING:
    from tests.postgres.many_jobs import Connection, Sender
    from zeke_queue.storage.postgres import PostgresStorage


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
EARLY: list[LiteralString] = ["-infinity", "0044-03-15 00:00:00+00 BC", "0001-01-01 00:00:00+12"]
LATE: list[LiteralString] = ["infinity", "10000-01-01 00:00:00+00", "9999-12-31 23:00:00-12"]
# How deep a value may be nested differs by version of Python; Postgres takes about twice as many levels.
DEEP = '{"a": ' + "[" * 9_000 + "]" * 9_000 + "}"


async def test_start_at_minus_infinity_is_claimed_with_the_others(jobs: Sender, sql: Connection) -> None:
    async def check(early: str) -> None:
        sql.execute(EMPTY)
        odd, plain = await jobs.send(2)
        sql.execute("update pgboss.job set startafter = %s::timestamptz where id = %s", [early, odd])
        claimed = {job.id: job.start_after for job in await jobs.claim(2)}
        assert claimed.keys() == {odd, plain}
        assert claimed[odd] == FIRST

    await check_each_async(EARLY, check)


async def test_time_at_infinity_is_shown_as_the_latest(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    async def check(column: str, late: str) -> None:
        sql.execute(EMPTY)
        odd, plain = await jobs.send(2)
        change = composing.SQL("update pgboss.job set {} = %s::timestamptz where id = %s")
        sql.execute(change.format(composing.Identifier(column)), [late, odd])
        found = {job.id: job for job in (await storage.find(JobQuery())).jobs}
        assert found.keys() == {odd, plain}
        assert LAST in (found[odd].start_after, found[odd].keep_until)
        assert LAST not in (found[plain].start_after, found[plain].keep_until)

    await check_each_async(list(product(["startafter", "keepuntil"], LATE)), check)


async def test_pages_continue_past_jobs_created_at_infinity(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    ids = await jobs.send(5)
    for job_id, created in zip(ids, ["-infinity", *LATE], strict=False):
        sql.execute("update pgboss.job set createdon = %s::timestamptz where id = %s", [created, job_id])
    seen = page = (await storage.find(JobQuery(limit=1))).jobs
    while page:
        page = (await storage.find(JobQuery(limit=1, before=page[-1].id))).jobs
        seen = seen + page
    assert [job.id for job in seen] == [ids[1], ids[3], ids[2], ids[4], ids[0]]


async def test_unreadable_payload_is_shown_as_its_text(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    odd, plain = await jobs.send(2, data='{"a": 1}')
    sql.execute("update pgboss.job set data = %s::jsonb where id = %s", [DEEP, odd])
    found = {job.id: job.data for job in (await storage.find(JobQuery())).jobs}
    assert found.keys() == {odd, plain}
    assert found[plain] == {"a": 1}
    assert found[odd] == DEEP or isinstance(found[odd], dict)


async def test_infinite_times_do_not_break_throughput_and_lag(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    async def check(column: str, odd: str) -> None:
        sql.execute(EMPTY)
        ids = await jobs.send(4)
        await jobs.complete(await jobs.claim(2))
        change = composing.SQL("update pgboss.job set {} = %s::timestamptz where id = %s")
        for job_id in (ids[0], ids[2]):
            sql.execute(change.format(composing.Identifier(column)), [odd, job_id])
        for _ in ("live", "archived"):
            days = await storage.throughput((), 172_800, 86_400)  # it may be midnight
            assert sum(day.completed for day in days) == (1 if column == "completedon" else 2)
            assert all(0 <= (day.wait_median or 0) <= (day.wait_95 or 0) for day in days)
            assert all(0 <= (day.run_median or 0) <= (day.run_95 or 0) for day in days)
            await storage.archive(-1, 100)
        (stats,) = await storage.queue_stats()
        assert (stats.oldest_due_age or 0) >= 0

    columns = ["startafter", "startedon", "completedon", "createdon"]
    await check_each_async(list(product(columns, [*EARLY, *LATE])), check)


async def test_history_in_an_unknown_form_is_left_out(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    odd, plain = await jobs.send(2)

    async def check(history: str) -> None:
        sql.execute("update pgboss.job set history = %s::jsonb where id = %s", [history, odd])
        found = {job.id: job.history for job in (await storage.find(JobQuery())).jobs}
        assert found == {odd: (), plain: ()}

    await check_each_async(['{"attempt": 1}', "[1]", '[{"attempt": 1}]', '"none"'], check)


async def test_schedule_with_unreadable_options_does_not_stop_the_others(
    storage: PostgresStorage, sql: Connection
) -> None:
    for name in ("odd", "plain"):
        await storage.put_schedule(Schedule(name, "* * * * *", "clean"))
    sql.execute("update pgboss.zeke_schedule set options = %s::jsonb where name = 'odd'", [DEEP])
    sql.execute("update pgboss.zeke_schedule set last_tick = now() - interval '1 hour', next_tick = now()")
    sent = await Scheduler(parts_of(Queue(mail_catalog(), storage))).tick()
    found = (await storage.get(sent)).values()
    assert "plain" in {(job.meta or {}).get("schedule") for job in found}
    assert {schedule.name for schedule in await storage.schedules()} == {"odd", "plain"}
