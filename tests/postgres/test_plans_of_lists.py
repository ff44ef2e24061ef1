"""Plans of lists for users: a short answer costs little among many jobs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.postgres.explaining import connect, explain_look
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.storage.postgres.reader import filter_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly


MANY = 20_000
PARENT = UUID(int=1)
FILL = """
    insert into pgboss.job (name, state, createdon, parent)
    select 'mail', case when n % 1000 = 0 then 'active' else 'completed' end::pgboss.job_state,
        now() - n * interval '1 second', case when n % 1000 = 1 then %s::uuid end
    from generate_series(1, %s) as n
"""
ARCHIVE = """
    insert into pgboss.archive (id, name, priority, state, retrylimit, retrycount, retrydelay, retrybackoff,
        startafter, expirein, createdon, keepuntil, on_complete)
    select id, name, priority, state, retrylimit, retrycount, retrydelay, retrybackoff, startafter, expirein,
        createdon, keepuntil, on_complete from pgboss.job
"""


@pytest.fixture
def sql(dsn: str) -> Iterator[Connection]:
    with connect(dsn) as connection:
        connection.execute(FILL.replace("% 1000", "%% 1000"), [PARENT, MANY])
        connection.execute(ARCHIVE)
        connection.execute("vacuum analyze pgboss.job")
        connection.execute("vacuum analyze pgboss.archive")
        yield connection


def middle_of(sql: Connection) -> UUID:
    """Return the id of a job in the middle by age, of those that are archived as of the others."""
    asked = "select id from pgboss.job order by createdon offset %s limit 1"
    (job_id,) = sql.execute(asked, [MANY // 2]).fetchall()[0]
    return job_id


def test_few_jobs_among_many_are_found_by_an_index(sql: Connection) -> None:
    def check(query: JobQuery) -> None:
        plan = explain_look(sql, "find", filter_parameters(query))
        assert plan.most_read() <= 20
        assert plan.pages <= 60
        newest = sql.execute("select id from pgboss.job order by createdon desc limit 1").fetchall()[0][0]
        behind = explain_look(sql, "find", filter_parameters(replace(query, before=newest)))
        assert behind.most_read() <= 20
        assert behind.pages <= 70

    check_each(
        [
            JobQuery(status=(JobStatus.EXECUTING,)),
            JobQuery(names=("mail",), status=(JobStatus.EXECUTING,)),
            JobQuery(names=("mail",), status=(JobStatus.QUEUED,)),
            JobQuery(parent=PARENT),
        ],
        check,
    )


def test_page_of_most_jobs_compares_each_once_and_reads_only_the_page(sql: Connection) -> None:
    (table,) = sql.execute("select relpages from pg_class where oid = 'pgboss.job'::regclass").fetchall()[0]
    middle = middle_of(sql)

    def check(query: JobQuery, further: bool) -> None:  # noqa: FBT001
        if further:
            query = replace(query, before=middle)
        plan = explain_look(sql, "find", filter_parameters(query))
        ran = [node for node in plan.scans() if node["Actual Loops"]]
        compared, read, *where = sorted(ran, key=lambda node: -int(node["Actual Rows"]))
        assert compared["Actual Rows"] + compared.get("Rows Removed by Filter", 0) <= MANY
        assert compared["Actual Loops"] == 1
        assert (read["Node Type"], read["Actual Rows"]) == ("Tid Scan", 11)  # one more than the page has
        assert [(node["Actual Rows"], node["Actual Loops"]) for node in where] == [(1, 1)] * further
        kept = [node["Sort Method"] for node in plan.nodes if node["Node Type"] == "Sort"]
        assert "top-N heapsort" in kept
        assert plan.pages <= table + 20

    check_each(
        list(
            product(
                [
                    JobQuery(limit=10),
                    JobQuery(names=("mail",), limit=10),
                    JobQuery(status=(JobStatus.COMPLETED,), limit=10),
                ],
                [False, True],
            )
        ),
        check,
    )


def test_page_of_the_archive_is_read_by_an_index(sql: Connection) -> None:
    middle = middle_of(sql)
    for names, before in product([(), ("mail",)], [None, middle]):
        query = JobQuery(names=names, archived=True, before=before, limit=10)
        plan = explain_look(sql, "find_archived", filter_parameters(query))
        assert plan.most_read("archive") <= 11, query
        assert plan.pages <= 60, query


@pytest.mark.parametrize("archived", [False, True])
def test_json_is_serialized_only_up_to_the_bytes_of_a_page(sql: Connection, *, archived: bool) -> None:
    """Of the jobs that fit, and of the first one that does not."""
    table = "archive" if archived else "job"
    sql.execute("""update pgboss.job set data = '"12345678"'""")
    sql.execute("""update pgboss.archive set data = '"12345678"'""")
    query = JobQuery(archived=archived, limit=100)
    # Each listed job is read once more at the end, in one go.
    for bytes_max, looked_at in ((1, 1), (10, 2), (35, 4), (10_000, 101), (None, 1)):
        values = filter_parameters(replace(query, bytes_max=bytes_max))
        plan = explain_look(sql, "find_archived" if archived else "find", values)
        by_place = [node for node in plan.scans(table) if node["Node Type"] == "Tid Scan"]
        assert max(node["Actual Loops"] for node in by_place) == looked_at, bytes_max
