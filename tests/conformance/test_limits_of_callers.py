"""How many calls a window admits, and what is stored about callers."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from zeke_queue.errors import InvalidOptionError
from zeke_queue.storage import Storage
from zeke_queue.storage.access import RateLimit
from zeke_queue.storage.memory import MemoryStorage


async def test_window_admits_calls_up_to_its_limit(storage: Storage, clock: FrozenClock) -> None:
    assert await storage.access.acquire("key", 2, 60.0) == RateLimit(allowed=True, count=1, resets_in=60.0)
    clock.advance(15.5)
    assert await storage.access.acquire("key", 2, 60.0) == RateLimit(allowed=True, count=2, resets_in=44.5)
    for _ in range(3):
        expected = RateLimit(allowed=False, count=2, resets_in=44.5)
        assert await storage.access.acquire("key", 2, 60.0) == expected
    clock.advance(44.499999)
    expected = RateLimit(allowed=False, count=2, resets_in=0.000001)
    assert await storage.access.acquire("key", 2, 60.0) == expected
    clock.advance(0.000001)
    assert await storage.access.acquire("key", 2, 60.0) == RateLimit(allowed=True, count=1, resets_in=60.0)


async def test_window_begins_with_its_first_call(storage: Storage, clock: FrozenClock) -> None:
    await storage.access.acquire("key", 1, 60.0)
    clock.advance(100)
    assert (await storage.access.acquire("key", 1, 60.0)).resets_in == 60.0
    clock.advance(59)
    assert not (await storage.access.acquire("key", 1, 60.0)).allowed


async def test_callers_are_counted_separately(storage: Storage) -> None:
    callers = ["key:1", "key:2", "KEY:1", "ip:::1", "ü", "%", "k" * 200]
    for caller in callers:
        assert (await storage.access.acquire(caller, 1, 60.0)).allowed
    for caller in callers:
        assert not (await storage.access.acquire(caller, 1, 60.0)).allowed


async def test_changed_limit_applies_from_the_next_call(storage: Storage) -> None:
    for _ in range(5):
        await storage.access.acquire("key", 5, 60.0)
    assert await storage.access.acquire("key", 2, 60.0) == RateLimit(allowed=False, count=5, resets_in=60.0)
    assert await storage.access.acquire("key", 6, 60.0) == RateLimit(allowed=True, count=6, resets_in=60.0)


async def test_concurrent_calls_are_admitted_up_to_the_limit_of_a_window(storage: Storage) -> None:
    answers = await asyncio.gather(*(storage.access.acquire("key", 7, 60.0) for _ in range(20)))
    assert sorted(one.count for one in answers if one.allowed) == list(range(1, 8))
    assert {one.count for one in answers if not one.allowed} == {7}


async def test_clock_set_back_opens_no_second_window(storage: Storage, clock: FrozenClock) -> None:
    await storage.access.acquire("key", 1, 60.0)
    clock.advance(-2)
    assert await storage.access.acquire("key", 1, 60.0) == RateLimit(allowed=False, count=1, resets_in=62.0)


async def test_invalid_limit_or_window_is_refused(storage: Storage) -> None:
    async def check(limit: int, window: float, message: str) -> None:
        with pytest.raises(InvalidOptionError, match=message):
            await storage.access.acquire("key", limit, window)

    cases = [
        (0, 60.0, "limit: must be at least 1, got 0"),
        (-1, 60.0, "limit: must be at least 1, got -1"),
        *((1, window, r"window: must be above 0 seconds, got ") for window in (0.0, -1.0, 0.0000001)),
    ]
    await check_each_async(cases, check)


async def callers_known(request: pytest.FixtureRequest) -> list[str]:
    """Return whose windows are stored, in the order of their names."""
    opened = request.getfixturevalue("opened")
    if isinstance(opened, MemoryStorage):
        return sorted(opened._tables.windows)
    async with await psycopg.AsyncConnection.connect(request.getfixturevalue("emptied_dsn")) as connection:
        found = await connection.execute('select caller from pgboss.rate_limit order by caller collate "C"')
        return [caller for (caller,) in await found.fetchall()]


async def test_windows_of_others_are_deleted_a_minute_after_their_end(
    storage: Storage, clock: FrozenClock, request: pytest.FixtureRequest
) -> None:
    async def check(after: float, *others: str) -> None:
        await storage.access.acquire("old", 1, 30.0)
        clock.advance(30 + after)
        await storage.access.acquire("new", 1, 30.0)
        assert await callers_known(request) == ["new", *others]

    await check_each_async([(0.0, "old"), (59.999999, "old"), (60.0,), (600.0,)], check)


async def test_call_deletes_at_most_the_ten_oldest_windows(
    storage: Storage, clock: FrozenClock, request: pytest.FixtureRequest
) -> None:
    # By their ends the last one is the first: neither by their names nor by their beginnings.
    for number in range(13):
        await storage.access.acquire(f"old {number:02}", 1, 100.0 - number)
    clock.advance(200)
    await storage.access.acquire("new", 1, 100.0)
    assert await callers_known(request) == ["new", "old 00", "old 01", "old 02"]
    await storage.access.acquire("new", 1, 100.0)
    assert await callers_known(request) == ["new"]


async def test_call_does_not_delete_the_window_of_its_caller(
    storage: Storage, clock: FrozenClock, request: pytest.FixtureRequest
) -> None:
    await storage.access.acquire("old", 1, 30.0)
    clock.advance(3600)
    assert await storage.access.acquire("old", 1, 30.0) == RateLimit(allowed=True, count=1, resets_in=30.0)
    assert await callers_known(request) == ["old"]
