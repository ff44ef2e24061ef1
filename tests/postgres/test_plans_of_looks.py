"""What people ask for is planned for what they ask: a short answer costs little among many jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.postgres.explaining import connect, explain_look
from zeke_queue.model import JobFilter, JobState
from zeke_queue.storage.postgres.reading import filter_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

FILL = """
    insert into pgboss.job (name, state)
    select 'mail', case when n % 1000 = 0 then 'active' else 'completed' end::pgboss.job_state
    from generate_series(1, 20000) as n
"""


@pytest.fixture
def sql(dsn: str) -> Iterator[Connection]:
    with connect(dsn) as connection:
        connection.execute(FILL)
        connection.execute("vacuum analyze pgboss.job")
        yield connection


@pytest.mark.parametrize(
    "which",
    [
        JobFilter(states=(JobState.ACTIVE,)),
        JobFilter(names=("mail",), states=(JobState.ACTIVE,)),
        JobFilter(names=("mail",), states=(JobState.CREATED, JobState.RETRY)),
        JobFilter(names=("mail",), limit=10),
        JobFilter(states=(JobState.COMPLETED,), limit=10),
    ],
)
def test_a_few_jobs_are_found_among_many_others_by_an_index(sql: Connection, which: JobFilter) -> None:
    plan = explain_look(sql, "find", filter_parameters(which))
    assert plan.most_read() <= 20
    assert plan.pages <= 50
