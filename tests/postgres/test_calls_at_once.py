"""Many processes that count calls at once: no window admits more than its limit, and none waits forever."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import psycopg

from tests.conformance.test_access import new_key
from tests.postgres.test_concurrency import storages

if TYPE_CHECKING:
    from zeke_queue.storage.access import RateLimit
    from zeke_queue.storage.postgres import PostgresStorage

ENDED = """
    insert into pgboss.rate_limit (caller, ends_on, calls, admitted)
    select 'c' || n, now() - interval '1 hour' + n * interval '1 second', 5, false
    from generate_series(1, %s) as n
"""


async def test_consecutive_windows_admit_no_more_than_their_limits(dsn: str) -> None:
    async with storages(dsn, 4) as opened:

        async def call(storage: PostgresStorage) -> list[RateLimit]:
            return [await storage.access.acquire("key", 3, 0.02) for _ in range(100)]

        answers = [one for mine in await asyncio.gather(*map(call, opened)) for one in mine]
    counts = Counter(one.count for one in answers if one.allowed)
    # Each window has a first call, and so at most as many second and third ones as there were windows.
    assert set(counts) <= {1, 2, 3}
    assert counts[1] >= counts[2] >= counts[3]
    assert all(one.resets_in > 0 for one in answers)


async def test_concurrent_calls_delete_old_windows_without_deadlock(dsn: str) -> None:
    number = 120
    with psycopg.connect(dsn, autocommit=True) as sql:
        sql.execute(ENDED, [number])
        # A deadlock is detected, and undone, after this time.
        sql.execute("select pg_stat_reset()")
        async with storages(dsn, 4) as opened:
            calls = [opened[n % 4].access.acquire(f"c{1 + n % number}", 2, 3600) for n in range(3 * number)]
            answers = await asyncio.gather(*calls)
        deadlocks = "select pg_stat_force_next_flush(), deadlocks from pg_stat_database"
        found = sql.execute(f"{deadlocks} where datname = current_database()".encode()).fetchall()
        (left,) = sql.execute("select count(*), sum(calls) from pgboss.rate_limit").fetchall()
    assert sum(one.allowed for one in answers) == 2 * number
    assert left == (number, 2 * number)
    assert found[0][1] == 0


async def test_key_created_concurrently_is_stored_once(dsn: str) -> None:
    async with storages(dsn, 4) as opened:
        stored = await asyncio.gather(*(storage.access.create_key(new_key()) for storage in opened))
        assert len(set(stored)) == 1
        assert await opened[0].access.keys() == [stored[0]]
