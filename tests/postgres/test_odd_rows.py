"""Rows as other programs and users may write them: none breaks the page or the claim that includes it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg
import pytest
from psycopg import sql as composing

from tests.cases import check_each, check_each_async
from tests.conformance.planting import EMPTY
from tests.runtime.catalogs import mail_catalog
from tests.runtime.workers.place import PATIENCE
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.model import JobQuery, Schedule
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.worker import Worker

if TYPE_CHECKING:
    from tests.postgres.many_jobs import Connection, Sender
    from zeke_queue.storage.postgres import PostgresStorage


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
EARLY: list[LiteralString] = ["-infinity", "0044-03-15 00:00:00+00 BC", "0001-01-01 00:00:00+12"]
LATE: list[LiteralString] = ["infinity", "10000-01-01 00:00:00+00", "9999-12-31 23:00:00-12"]
# How deep a value may be nested differs by version of Python; Postgres takes about twice as many levels.
DEEP = '{"a": ' + "[" * 9_000 + "]" * 9_000 + "}"

TO_DO: LiteralString = "insert into pgboss.job (name, {}) values ('t', {})"
LOST: LiteralString = (
    "insert into pgboss.job (name, state, worker, startedon, {})"
    " values ('t', 'active', gen_random_uuid(), {})"
)
YESTERDAY: LiteralString = "now() - interval '1 day'"
OTHERS: LiteralString = (
    "insert into pgboss.job (name, data) select 't', '{}' from generate_series(1, 20)"
    "; insert into pgboss.job (name, state, worker, startedon, retrylimit)"
    " select 't', 'active', gen_random_uuid(), now() - interval '1 day', 3 from generate_series(1, 5)"
)
INT_MAX: LiteralString = "2147483647"
INT_MIN: LiteralString = "-2147483648"

JOBS: Final[dict[str, tuple[LiteralString, LiteralString, LiteralString, str | None]]] = {
    "attempts at the integer maximum": (TO_DO, "attempt", INT_MAX, "completed"),
    "attempts at the other end": (TO_DO, "attempt", INT_MIN, "completed"),
    "retries at the integer maximum": (
        TO_DO,
        "state, retrycount, retrylimit",
        f"'retry', {INT_MAX}, {INT_MAX}",
        "completed",
    ),
    "lost with the last retry of int": (
        LOST,
        "retrycount, retrylimit",
        f"{YESTERDAY}, {INT_MAX} - 1, {INT_MAX}",
        "completed",
    ),
    "negative limit of retries": (LOST, "retrylimit", f"{YESTERDAY}, {INT_MIN}", "expired"),
    "negative wait": (
        LOST,
        "retrylimit, retrydelay, retrybackoff",
        f"{YESTERDAY}, 3, {INT_MIN}, true",
        "completed",
    ),
    "negative cap of waits": (
        LOST,
        "retrylimit, retrydelay, retrybackoff, retrydelaymax",
        f"{YESTERDAY}, 3, 5, true, {INT_MIN}",
        "completed",
    ),
    "longest wait": (LOST, "retrylimit, retrydelay, retrybackoff", f"{YESTERDAY}, 3, {INT_MAX}, true", None),
    "started at the latest timestamp": (LOST, "expirein", "'294276-06-01', '178000000 years'", "failed"),
    "started at infinity": (LOST, "expirein", "'infinity', '1 h'", "failed"),
    "started before all times": (LOST, "expirein", "'-infinity', '-178000000 years'", "expired"),
    "started at the earliest timestamp": (LOST, "expirein", "'4713-01-01 BC', '-5 years'", "expired"),
    "longest time to run": (TO_DO, "expirein", "'178000000 years'", "completed"),
    "history that is an object": (LOST, "history", f"{YESTERDAY}, '{{}}'", "expired"),
    "history that is a text": (LOST, "history", f"{YESTERDAY}, '\"x\"'", "expired"),
    "history that is null": (LOST, "history", f"{YESTERDAY}, 'null'", "expired"),
    "history of something else": (
        LOST,
        "history",
        f"{YESTERDAY}, ('[' || repeat('null, ', 60) || '1]')::jsonb",
        "expired",
    ),
    "kept for ages, with a completion job": (
        TO_DO,
        "on_complete, keepuntil, startafter",
        "true, '294000-01-01', '4713-01-02 BC'",
        "completed",
    ),
    "lost and kept for ages": (
        LOST,
        "on_complete, keepuntil",
        f"{YESTERDAY}, true, '294000-01-01'",
        "expired",
    ),
    "due long after it is kept": (
        LOST,
        "on_complete, keepuntil, startafter",
        f"{YESTERDAY}, true, '4713-01-02 BC', '294276-01-01'",
        "expired",
    ),
    "ended at infinity": (TO_DO, "state, completedon", "'completed', 'infinity'", "completed"),
    "ended at the latest timestamp": (TO_DO, "state, completedon", "'failed', '294276-12-31'", "failed"),
    "ended before all times": (TO_DO, "state, completedon", "'completed', '-infinity'", "completed"),
    "ended at no time": (TO_DO, "state", "'completed'", "completed"),
    "created before all times": (TO_DO, "createdon", "'-infinity'", "completed"),
    "due at infinity": (TO_DO, "startafter", "'infinity'", None),
    "slot at infinity": (TO_DO, "singletonon", "'infinity'", "completed"),
    "slot out of the range of datetime": (TO_DO, "singletonon", "'4000-01-01 BC'", "completed"),
    "number out of range": (TO_DO, "data", "'{\"a\": 1e400}'", "completed"),
    "payload that is a number": (TO_DO, "data", "'7'", "failed"),
    "payload too deep": (TO_DO, "data", "(repeat('[', 9000) || repeat(']', 9000))::jsonb", "failed"),
    "meta too deep": (TO_DO, "meta", "(repeat('[', 9000) || repeat(']', 9000))::jsonb", "completed"),
    "meta that is a list": (TO_DO, "meta", "'[7]'", "completed"),
    "meta of another kind": (TO_DO, "meta", '\'{"schedule": 1e400, "tick": []}\'', "completed"),
    "priority at the integer maximum": (TO_DO, "priority", INT_MAX, "completed"),
    "priority at the other end": (TO_DO, "priority", INT_MIN, "completed"),
}
"""An odd job: how it is written, its columns, their values, and its state in the archive, if it is moved."""

SETTINGS: Final[dict[str, LiteralString]] = {
    "watcher until infinity": "insert into pgboss.watcher values "
    "(gen_random_uuid(), gen_random_uuid(), 'infinity')",
    "negative limit of another queue": "insert into pgboss.queue values ('u', -2147483648, null)",
    "options that are a list": "insert into pgboss.schedule (name, cron, options) "
    "values ('s', '* * * * *', '[1]')",
    "archived before all times": "insert into pgboss.archive (id, name, state, archivedon, createdon,"
    " startafter, keepuntil, priority, retrylimit, retrycount, retrydelay, retrybackoff, expirein,"
    " on_complete)"
    " values (gen_random_uuid(), 't', 'completed', '-infinity', now(), now(),"
    " now(), 0, 0, 0, 0, false, '1 h', false)",
}

WORKERS: Final[dict[str, LiteralString]] = {
    "lease of an age": "'200000 years', now(), now()",
    "negative lease": "'-1 s', now(), now()",
    "heartbeat at the latest timestamp": "'15 s', now(), '294276-01-01'",
    "heartbeat at infinity": "'15 s', now(), 'infinity'",
    "start at infinity": "'15 s', '-infinity', now()",
}


@pytest.mark.nightly
async def test_odd_job_affects_no_other_job(storage: PostgresStorage, sql: Connection) -> None:
    async def check(
        statement: LiteralString, columns: LiteralString, values: LiteralString, end: str | None
    ) -> None:
        sql.execute(EMPTY)
        sql.execute(OTHERS)
        (odd,) = sql.execute(
            composing.SQL(statement + " returning id").format(composing.SQL(columns), composing.SQL(values))
        ).fetchone() or (None,)
        await run_all(storage)
        found = sql.execute("select state::text from pgboss.archive where id = %s", [odd]).fetchone()
        assert (None if found is None else found[0]) == end
        await all_can_be_listed(storage)
        count = sql.execute("select count(*) from pgboss.archive where id <> %s", [odd]).fetchone()
        assert count == (25,)

    await check_each_async(JOBS, check)


async def test_odd_rows_beside_jobs_affect_none(storage: PostgresStorage, sql: Connection) -> None:
    async def check(statement: LiteralString) -> None:
        sql.execute(EMPTY)
        sql.execute(OTHERS)
        sql.execute(statement)
        await run_all(storage)
        await all_can_be_listed(storage)
        count = sql.execute("select count(*) from pgboss.archive where completedon is not null").fetchone()
        assert count == (25,)

    await check_each_async(SETTINGS, check)


async def test_worker_with_impossible_times_is_refused(sql: Connection) -> None:
    def check(values: LiteralString) -> None:
        start = "insert into pgboss.worker (id, host, pid, queues, lease, started_on, beat_on) values "
        with pytest.raises(psycopg.errors.CheckViolation, match="worker_readable"):
            sql.execute(start + "(gen_random_uuid(), 'h', 1, '{t}', " + values + ")")

    check_each(WORKERS, check)


async def test_claim_by_pgboss_restarts_at_attempt_1_after_the_integer_maximum(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    (odd,) = await jobs.send(1)
    sql.execute("update pgboss.job set attempt = 2147483647 where id = %s", [odd])
    sql.execute("update pgboss.job set state = 'active' where id = %s", [odd])
    assert sql.execute("select attempt from pgboss.job").fetchall() == [(1,)]


async def test_manual_retry_of_a_job_at_the_integer_maximum_of_retries(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    odd, plain = await jobs.send(2)
    sql.execute("update pgboss.job set state = 'failed'")
    sql.execute("update pgboss.job set retrycount = 2147483647 where id = %s", [odd])
    assert await storage.retry([odd, plain]) == {odd, plain}


async def run_all(storage: PostgresStorage) -> None:
    """Run and archive the jobs of "t", as a worker and two sweeps do."""
    catalog = Catalog()

    @catalog.task("t")
    async def t(payload: dict[str, object] | None) -> None:
        """Do nothing."""

    queue = Queue(catalog, storage, settings=Settings.load())
    maintenance = Maintenance(parts_of(queue), archive_after=0)
    assert (await maintenance.sweep()).failed == ()
    async with (
        asyncio.timeout(PATIENCE),
        Worker(queue, maintenance=False, schedules=False, poll_interval=0.1) as worker,
    ):
        await worker.drain()
    await Scheduler(parts_of(queue)).tick()
    assert (await maintenance.sweep()).failed == ()


async def all_can_be_listed(storage: PostgresStorage) -> None:
    """Read what dashboard and command line show."""
    for archived in (False, True):
        await storage.find(JobQuery(archived=archived))
    for read in (storage.workers, storage.queue_stats, storage.schedules, storage.queues):
        await read()


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
        for is_dated in (False, odd in LATE):  # archiving replaces such an end
            days = await storage.throughput((), 172_800, 86_400)  # it may be midnight
            assert sum(day.completed for day in days) == (
                1 if column == "completedon" and not is_dated else 2
            )
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

    entry = {"attempt": 1, "at": "2026-01-01T00:00:00+00:00", "state": "failed", "error": {}, "worker": None}
    odd_values = {
        "attempt": ["1", None],
        "at": ["2026-01-01T00:00:00", "0001-01-01T00:00:00+12:00", 5, "now"],
        "state": [[], "unheard of"],
        "error": [None, "text"],
        "worker": [5, [], "me"],
    }
    of_entries = [json.dumps([{**entry, key: value}]) for key, some in odd_values.items() for value in some]
    await check_each_async(['{"attempt": 1}', "[1]", '[{"attempt": 1}]', '"none"', *of_entries], check)


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
