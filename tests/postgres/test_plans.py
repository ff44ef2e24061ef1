"""How the server goes about the hot statements: by rows and pages, which don't depend on the machine's speed.

Statistics and plans are made on empty tables and never again, which is what there is of a queue at worst: a
million jobs may come a moment after the first plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.cases import check_each
from tests.postgres import explaining
from tests.postgres.explaining import Plan, connect, prepare
from tests.postgres.many_jobs import ANNA, Connection, Sender
from zeke_queue.model import Completed, Failed, NewJob, QueueCapacity, WorkerInfo
from zeke_queue.storage.postgres import PostgresStorage, rows
from zeke_queue.storage.postgres.claims import Mark, Wanted, claim_parameters, ready_parameters
from zeke_queue.storage.postgres.rows import Outcomes
from zeke_queue.storage.postgres.statements import names

pytestmark = pytest.mark.nightly

WAITING = 20_000
DEFERRED = 50_000
ROUNDED = 10  # up to PostgreSQL 17 the rows of a repeated scan are a rounded mean
BEAT = {"worker": ANNA, "host": "h", "pid": 1, "queues": ["mail"], "duties": ["maintenance"], "lease": 15.0}
THEIRS = {"job_name", "job_fetch"}
WITH_LIMIT = {"claim", "lock_expired", "date", "archive", "purge", "resume_waiting", "orphans"}

FILL = """
    insert into pgboss.job (id, name, priority, startafter, createdon)
    select
        gen_random_uuid(), %(name)s, %(priority)s,
        now() + %(since)s::interval + n * interval '1 microsecond', now()
    from generate_series(1, %(rows)s) as n
"""


def explain(sql: Connection, name: str, values: dict[str, Any], *, limit: int | None = None) -> Plan:
    """Return the plan of a statement, which must not use an index of pg-boss."""
    plan = explaining.explain(sql, name, values, limit=limit)
    assert THEIRS.isdisjoint(node.get("Index Name") for node in plan.nodes), name
    return plan


def fill(
    sql: Connection, rows: int, *, name: str = "mail", priority: int = 0, since: str = "-1 hour"
) -> None:
    sql.execute(FILL, {"name": name, "priority": priority, "since": since, "rows": rows})


@pytest.fixture
def sql(dsn: str) -> Iterator[Connection]:
    """A connection that has planned everything on empty tables, and never gets other statistics.

    The indexes of a pg-boss exist beside ours, as on tables that it made, and ``explain`` fails if a plan
    uses one. A plan that wins against those wins without them too, so one kind of tables is enough.
    """
    with connect(dsn) as connection:
        connection.execute("create index job_name on pgboss.job (name text_pattern_ops)")
        connection.execute(
            "create index job_fetch on pgboss.job (name text_pattern_ops, startafter) where state < 'active'"
        )
        for table in ("job", "archive", "queue", "worker", "watcher", "job_event"):
            connection.execute(f"alter table pgboss.{table} set (autovacuum_enabled = off)".encode())
        connection.execute("vacuum analyze")
        for limit in (1, 10, 100):
            claim_plan(connection, limit=limit)
        explain(connection, "ready", ready_parameters([QueueCapacity("mail", 1)], 1, {}))
        explain(connection, "complete", rows.of_completed([Completed(ANNA, 1, None)]))
        explain(connection, "settle", Outcomes(failed=[Failed(ANNA, 1, 1.0, "{}")]).parameters())
        explain(connection, "heartbeat", BEAT)
        explain(connection, "lock_expired", {"uptime": 10**15}, limit=1000)
        explain(connection, "date", {}, limit=100)
        explain(connection, "archive", {"after": 0.0}, limit=100)
        explain(connection, "purge", {"after": 0.0}, limit=100)
        explain(connection, "resume_parents", {"ids": [ANNA]})
        for limit in (10, 100):
            explain(connection, "resume_waiting", {"after": UUID(int=0)}, limit=limit)
        explain(connection, "children", {"ids": [ANNA]})
        explain(connection, "cancelled_along", {"ids": [ANNA]})
        explain(connection, "suspend", {"id": ANNA, "attempt": 1, "child": ANNA})
        explain(connection, "lock_attempt", {"id": ANNA, "attempt": 1, "idle_timeout": None})
        explain(connection, "lock_active", {"ids": [ANNA], "attempts": [1]})
        explain(connection, "lock_unlocked", {"ids": [ANNA], "attempts": [1]})
        explain(connection, "wait_chain", {"id": ANNA, "child": ANNA, "limit": 1000})
        explain(connection, "drop_archived", {"ids": [ANNA]})
        explain(connection, "lock_queues", {"names": ["mail"]})
        explain(connection, "insert", rows.of_new_jobs([NewJob(ANNA, "mail")]))
        explain(connection, "insert_one", rows.of_new_job(NewJob(ANNA, "mail")))
        explain(connection, "insert_plain", rows.of_new_job(NewJob(ANNA, "mail")))
        yield connection


@pytest.fixture
def busy(sql: Connection) -> Connection:
    """A database with a backlog, and more jobs at a higher priority that are due in an hour."""
    fill(sql, WAITING)
    fill(sql, DEFERRED, priority=9, since="1 hour")
    fill(sql, 1000, name="post")
    return sql


def claim_plan(
    sql: Connection,
    *names: str,
    limit: int = 100,
    marks: dict[str, dict[int, Mark]] | None = None,
    locked: tuple[str, ...] = (),
    bytes_max: int | None = 64 * 2**20,
) -> Plan:
    capacity = [QueueCapacity(name, limit) for name in names or ("mail",)]
    wanted = Wanted(ANNA, capacity, limit, bytes_max)
    parameters = claim_parameters(wanted, marks or {}) | {"job_channel": "told"}
    if locked:
        sql.execute("select set_config('zeke.locked_queues', %s::text[]::text, false)", [list(locked)])
    return explain(sql, "claim", parameters, limit=limit)


def test_every_statement_can_be_prepared(sql: Connection) -> None:
    def check(name: str) -> None:
        prepare(sql, name, 100 if name in WITH_LIMIT else None)

    check_each(names(), check)


# Claims


def test_claim_reads_only_the_jobs_it_returns(busy: Connection) -> None:
    for queues in (("mail",), ("mail", "post")):
        plan = claim_plan(busy, *queues)
        assert plan.full_scans() == []
        assert plan.most_read() <= 100 * len(queues) + ROUNDED
        assert plan.most_sorted() <= 100 * len(queues)
    assert claim_plan(busy, limit=1).pages < 80, "whatever waits or is deferred"
    assert claim_plan(busy, "nobody", limit=1).pages < 20, "an idle queue"


def test_claim_among_deferred_jobs_reads_few_pages(sql: Connection) -> None:
    fill(sql, DEFERRED, since="1 hour")
    fill(sql, DEFERRED, priority=9, since="1 hour")
    plan = claim_plan(sql)
    assert plan.most_read() <= 2
    assert plan.pages < 60


def test_claim_keeps_its_plan_with_statistics_of_a_full_table(busy: Connection) -> None:
    busy.execute("analyze pgboss.job")
    plan = claim_plan(busy, "mail", "post")
    assert plan.full_scans() == []
    assert plan.most_read() <= 200 + ROUNDED


def test_active_jobs_of_a_limited_queue_are_counted_by_an_index(busy: Connection) -> None:
    busy.execute("insert into pgboss.queue (name, concurrency_limit) values ('mail', 5)")
    busy.execute("update pgboss.job set state = 'active', startedon = now() where name = 'post'")
    plan = claim_plan(busy, locked=("mail",))
    assert plan.full_scans() == []
    assert plan.most_read() <= 100


def test_check_of_a_limited_queue_reads_few_pages(busy: Connection) -> None:
    busy.execute("insert into pgboss.queue (name, concurrency_limit) values ('mail', 5)")
    capacity = [QueueCapacity("mail", 10), QueueCapacity("post", 10)]
    plan = explain(busy, "ready", ready_parameters(capacity, 10, {}))
    assert plan.full_scans() == []
    assert plan.pages < 40


async def test_claim_with_a_mark_skips_entries_of_ended_jobs(
    dsn: str, busy: Connection, jobs: Sender
) -> None:
    with psycopg.connect(dsn) as holder:
        # An open transaction of another user keeps every dead entry.
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("select count(*) from pgboss.job")
        for _ in range(15):
            last = (await jobs.claim(1000))[0]
        without = claim_plan(busy, limit=10)
        marked = claim_plan(busy, limit=10, marks={"mail": {0: Mark(last.start_after, last.id)}})
    assert marked.pages < without.pages / 3


def test_large_payloads_are_written_only_up_to_the_budget_of_a_claim(busy: Connection) -> None:
    busy.execute(
        "update pgboss.job set data = to_jsonb(repeat('x', 100000)) where id in"
        " (select id from pgboss.job where name = 'post' order by startafter limit 100)"
    )
    plan = claim_plan(busy, "post", bytes_max=300_000)
    written = [node["Actual Loops"] for node in plan.scans() if node["Alias"] == "kept"]
    assert written == [3]
    assert plan.full_scans() == []


# Settlements, with statistics of empty tables


async def test_settle_finds_each_job_by_its_id(busy: Connection, jobs: Sender) -> None:
    claimed = await jobs.claim(500)
    await jobs.claim(1000)
    plan = explain(busy, "complete", rows.of_completed([Completed(j.id, j.attempt, "{}") for j in claimed]))
    assert plan.full_scans() == []
    # Once to complete it, and once more for the completion job of a pg-boss.
    assert [node["Index Name"] for node in plan.scans() if "Index Name" in node] == ["job_pkey"] * 2
    assert plan.most_read() == 500
    outcomes = Outcomes(failed=[Failed(j.id, j.attempt, 1.0, "{}") for j in claimed])
    plan = explain(busy, "settle", outcomes.parameters())
    assert plan.full_scans() == []
    assert plan.most_read() == 500


async def test_ten_thousand_jobs_are_claimed_and_settled_on_statistics_of_an_empty_table(
    sql: Connection, jobs: Sender
) -> None:
    await jobs.send(10_000)
    settled = 0
    while claimed := await jobs.claim(500):
        settled += len(await jobs.complete(claimed))
    assert settled == 10_000


# Other frequent statements


async def test_heartbeat_reads_the_rows_of_its_worker_only(busy: Connection, jobs: Sender) -> None:
    await jobs.claim(1000, worker=UUID(int=7))
    await jobs.claim(10)
    plan = explain(busy, "heartbeat", BEAT)
    assert plan.full_scans() == []
    assert plan.most_read() == 10


async def test_sweep_reads_active_rows_only(busy: Connection, storage: PostgresStorage, jobs: Sender) -> None:
    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("mail",), 15.0))
    await jobs.claim(1000)
    assert explain(busy, "lock_expired", {"uptime": 10**15}, limit=1000).most_read() == 1000


async def test_archive_reads_only_the_rows_it_moves(busy: Connection, jobs: Sender) -> None:
    for _ in range(3):
        await jobs.complete(await jobs.claim(500))
    busy.execute("update pgboss.job set completedon = now() - interval '2 days' where state = 'completed'")
    plan = explain(busy, "archive", {"after": 86_400.0}, limit=100)
    assert plan.full_scans() == []
    # The jobs ended at one instant, so all of them are looked at to find those with the lowest ids.
    assert plan.most_read() <= 1500
    plan = explain(busy, "date", {}, limit=100)
    assert plan.full_scans() == []
    assert plan.most_read() == 0


@pytest.mark.parametrize("statistics", ["select 1", "analyze"])
async def test_requeue_by_id_reads_no_other_jobs(
    busy: Connection, storage: PostgresStorage, jobs: Sender, statistics: LiteralString
) -> None:
    ended = [job for _ in range(2) for job in await jobs.claim(500)]
    await jobs.complete(ended)
    busy.execute(statistics)
    plan = explain(busy, "archive", {"after": 0, "ids": [job.id for job in ended[-5:]]}, limit=100)
    assert plan.most_read() == 5
    assert await storage.archive(0.0, 1000) == 1000
    busy.execute(statistics)
    plan = explain(busy, "purge", {"after": 0, "ids": [job.id for job in ended[-5:]]}, limit=100)
    assert plan.most_read("archive") == 5


def test_insert_reads_no_other_job(busy: Connection, jobs: Sender) -> None:
    for plan in (
        explain(busy, "insert", rows.of_new_jobs([jobs.new(), jobs.new()])),
        explain(busy, "insert_one", rows.of_new_job(jobs.new())),
        explain(busy, "insert_plain", rows.of_new_job(jobs.new())),
    ):
        assert plan.scans() == []
        assert plan.pages < 120


# Jobs that wait for others


def test_search_for_waiting_parents_reads_no_other_jobs(busy: Connection) -> None:
    busy.execute(
        "update pgboss.job set waitsfor = gen_random_uuid(), startafter = startafter + interval '100 years'"
        " where name = 'post'"
    )
    (waiting,) = busy.execute("select waitsfor from pgboss.job where name = 'post' limit 1").fetchall()
    plan = explain(busy, "resume_parents", {"ids": [waiting[0], ANNA]})
    assert plan.full_scans() == []
    assert plan.most_read() <= 2 + ROUNDED
    plan = explain(busy, "resume_waiting", {"after": UUID(int=0)}, limit=100)
    assert plan.full_scans() == []
    assert plan.most_read() <= 1000 + ROUNDED
    plan = explain(busy, "resume_waiting", {"after": UUID(int=0)}, limit=10)
    assert plan.most_read() <= 100 + ROUNDED


def test_search_for_children_reads_few_pages(busy: Connection) -> None:
    busy.execute("update pgboss.job set parent = %s, awaited = true where name = 'post'", [ANNA])
    for statement in ("children", "cancelled_along"):
        plan = explain(busy, statement, {"ids": [ANNA]})
        assert plan.full_scans() == []
        assert plan.most_read() <= 1000 + ROUNDED


def test_wait_for_another_job_reads_few_pages(busy: Connection) -> None:
    one, other = busy.execute("select id from pgboss.job where name = 'post' limit 2").fetchall()
    busy.execute("update pgboss.job set state = 'active', attempt = 1 where id = %s", [one[0]])
    plan = explain(busy, "suspend", {"id": one[0], "attempt": 1, "child": other[0]})
    assert plan.full_scans() == []
    assert plan.most_read() <= 2
    for found in (
        explain(busy, "lock_attempt", {"id": one[0], "attempt": 1, "idle_timeout": 1000}),
        explain(busy, "lock_active", {"ids": [one[0]], "attempts": [1]}),
        explain(busy, "lock_unlocked", {"ids": [one[0]], "attempts": [1]}),
        explain(busy, "wait_chain", {"id": one[0], "child": other[0], "limit": 1000}),
        explain(busy, "drop_archived", {"ids": [other[0]]}),
    ):
        assert found.full_scans() == []
        assert found.most_read() <= 1


def test_locking_of_queues_reads_no_other_queues(busy: Connection) -> None:
    busy.execute(
        "insert into pgboss.queue (name, concurrency_limit)"
        " select 'q' || n, 1 from generate_series(1, 5000) as n"
    )
    plan = explain(busy, "lock_queues", {"names": ["q7", "q4000"]})
    assert plan.most_read("queue") <= 2
    assert plan.pages < 30
