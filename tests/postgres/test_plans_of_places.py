"""The holder of a key or slot is found by its unique index, for queues of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.postgres.explaining import Plan, connect, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly


QUEUE_KEY = "__pgboss__singleton_queue"
MINE, OTHER, NEW = UUID(int=1), UUID(int=2), UUID(int=3)

# Jobs with separate keys or slots, of all four kinds.
FILL = """
    insert into pgboss.job (name, singletonkey, singletonon)
    select 'mail', key, slot
    from generate_series(1, 5000) as n
    cross join lateral (
        values
        ('k' || n, null), ('__pgboss__singleton_queue' || n, null),
        (null, '2026-01-01'::timestamp + n * interval '1 second'),
        ('k' || n, '2026-01-01'::timestamp)
    ) as place (key, slot)
"""

# A key, a slot, and the state of a job that holds neither any more.
PLACES: list[tuple[str | None, str | None, str]] = [
    ("k", None, "completed"),
    (QUEUE_KEY, None, "active"),
    (None, "1970-01-01", "failed"),
    ("k", "1970-01-01", "failed"),
]


@pytest.fixture(params=["no statistics", "statistics"])
def sql(dsn: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    with connect(dsn) as connection:
        # On tables that a pg-boss made these are there too, to be mistaken for those of the rules.
        connection.execute("create index job_name on pgboss.job (name text_pattern_ops)")
        connection.execute("create index job_fetch on pgboss.job (name text_pattern_ops, startafter)")
        connection.execute(FILL)
        if request.param == "statistics":
            connection.execute("analyze pgboss.job")
        yield connection


def cheap(plan: Plan) -> bool:
    """Return whether a read used indexes and few of the hundreds of pages."""
    return plan.full_scans() == [] and plan.pages <= 20


def test_conflicting_job_is_looked_up_by_an_index(sql: Connection) -> None:
    def check(key: str | None, slot: str | None, ended: str, plain: bool) -> None:  # noqa: FBT001
        sql.execute("deallocate all")
        with sql.transaction(force_rollback=True):
            sql.execute(
                "insert into pgboss.job (id, name, singletonkey, singletonon, state)"
                " values (%s, 'mail', %s, %s, %s), (%s, 'mail', %s, %s, 'created')",
                [MINE, key, slot, ended, OTHER, key, slot],
            )
            if plain:
                sql.execute("set plan_cache_mode = auto")
                sql.execute("set enable_seqscan = on")
            seconds = None if slot is None else 2**31 - 1
            values = {
                "ids": [NEW, MINE],
                "names": ["mail", None],
                "singleton_keys": [key, None],
                "slot_seconds": [seconds, None],
                "slot_offsets": [0, None],
            }
            plan = explain(sql, "find_conflicts", values)
            assert plan.nodes[0]["Actual Rows"] == 2
            assert cheap(plan)

    check_each([(*place, plain) for place in PLACES for plain in (True, False)], check)
