"""Private queues: what is read of other queues' jobs to find them, and to move what is in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.postgres.explaining import connect, explain
from zeke_queue.core.names import PRIVATE_PREFIX, private_queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly

SEARCH = {"first": PRIVATE_PREFIX, "beyond": "__private__;"}
QUEUES = [private_queue(task, UUID(int=owner)) for task in ("mail", "post") for owner in range(1, 6)]
MOVE = {"names": QUEUES, "targets": ["mail"] * 5 + ["post"] * 5}
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

FILL = """
    insert into pgboss.job (id, name, state, startafter, startedon, completedon, createdon, singletonkey)
    select gen_random_uuid(), %(name)s, state::pgboss.job_state, now(), now(),
        case when state = 'completed' then now() - %(ago)s::interval end, now(),
        case when n %% 2 = 0 then state || n end
    from generate_series(1, %(rows)s) as n, unnest('{created,active,completed}'::text[]) as state
"""


@pytest.fixture
def sql(dsn: str) -> Iterator[Connection]:
    """A connection that has planned both on empty tables."""
    with connect(dsn) as connection:
        connection.execute("alter table pgboss.job set (autovacuum_enabled = off)")
        connection.execute("vacuum analyze")
        explain(connection, "private_queues", SEARCH)
        explain(connection, "move_jobs", {**MOVE, "ended_since": LONG_AGO})
        yield connection


@pytest.mark.parametrize("statistics", ["select 1", "analyze"])
def test_private_queues_are_found_and_moved_by_index(sql: Connection, statistics: LiteralString) -> None:
    for name in ("mail", "post", "__other", "zoo"):
        sql.execute(FILL, {"name": name, "ago": "1 day", "rows": 3000})
    for name in QUEUES:
        sql.execute(FILL, {"name": name, "ago": "1 minute", "rows": 20})
    sql.execute(statistics)
    found = explain(sql, "private_queues", SEARCH)
    assert found.full_scans() == []
    assert found.most_read() <= 20 * len(QUEUES)
    ((since,),) = sql.execute("select now() - interval '1 hour'").fetchall()
    moved = explain(sql, "move_jobs", {**MOVE, "ended_since": since})
    assert moved.full_scans() == []
    assert moved.most_read() <= 3 * 20 * len(QUEUES) + 10
