"""Claims where nearly every job has a priority of its own, as scores and dates make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres.explaining import connect, explain
from tests.postgres.many_jobs import ANNA, Connection, Sender
from zeke_queue.model import QueueCapacity
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.claims import Wanted, claim_parameters, ready_parameters
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator


PRIORITIES = 3_000
FILL = """
    insert into pgboss.job (name, priority, startafter)
    select 'mail', n, now() + %s::interval from generate_series(%s::int, %s) as n
"""


@pytest.fixture
def sql(dsn: str) -> Iterator[Connection]:
    with connect(dsn) as connection:
        connection.execute(FILL, ["-1 hour", 1, PRIORITIES])
        yield connection


def test_claim_reads_no_more_priorities_than_it_takes_jobs(sql: Connection) -> None:
    for limit in (1, 10):
        parameters = claim_parameters(Wanted(ANNA, [QueueCapacity("mail", limit)], limit, 2**20), {}) | {
            "job_channel": "told"
        }
        plan = explain(sql, "claim", parameters, limit=limit)
        assert plan.full_scans() == []
        assert plan.pages < 80 * limit


def test_check_of_a_limited_queue_stops_at_its_first_due_job(sql: Connection) -> None:
    sql.execute("insert into pgboss.queue (name, concurrency_limit) values ('mail', 5)")
    assert explain(sql, "ready", ready_parameters([QueueCapacity("mail", 1)], 1, {})).pages < 60


async def test_jobs_are_claimed_in_order_over_all_their_priorities(
    storage: PostgresStorage, sql: Connection
) -> None:
    # Those of the highest priorities are not due yet, and to be passed by.
    sql.execute(FILL, ["1 hour", PRIORITIES + 1, PRIORITIES + 500])
    jobs = Sender(storage, SystemClock())
    taken = [job.priority for _ in range(3) for job in await jobs.claim(7)]
    assert taken == list(range(PRIORITIES, PRIORITIES - 21, -1))


async def test_marks_are_kept_for_few_priorities(storage: PostgresStorage, sql: Connection) -> None:
    jobs = Sender(storage, SystemClock())
    for _ in range(5):
        await jobs.claim(100)
    assert len(storage._claims._marks["mail"]) <= 100
