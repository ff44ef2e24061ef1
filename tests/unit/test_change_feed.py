"""The rows of a watch on Postgres, which expire a minute after each write."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from tests.clocks import FrozenClock
from zeke_queue.storage.notifier import Notifier
from zeke_queue.storage.postgres.change_feed import PostgresChangeFeed

if TYPE_CHECKING:
    from zeke_queue.storage.postgres.connection_pool import ConnectionPool
    from zeke_queue.storage.postgres.listener import Listener

JOBS = [UUID(int=1), UUID(int=2)]


class Pool:
    """Records when which rows are written."""

    def __init__(self, clock: FrozenClock) -> None:
        self.clock = clock
        self.written: dict[UUID, list[float]] = {job: [] for job in JOBS}

    async def run(self, name: str, parameters: dict[str, Any]) -> list[Any]:
        assert name == "watch"
        for job in parameters["ids"]:
            self.written[job].append(self.clock.monotonic())
        return []


class Listening:
    enabled = True

    def __init__(self, clock: FrozenClock) -> None:
        self.notifier = Notifier(clock)


async def test_each_row_is_renewed_before_it_expires_however_long_the_watch_lasts() -> None:
    clock = FrozenClock()
    pool, listener = Pool(clock), Listening(clock)
    feed = PostgresChangeFeed(cast("ConnectionPool", pool), cast("Listener", listener), clock, UUID(int=9))
    began = clock.monotonic()
    await feed.add(JOBS[:1])
    for second in range(0, 300, 15):
        if second == 30:
            await feed.add(JOBS[1:])
        clock.advance(15)
        feed.wake()
        assert await feed.wait(30.0) == []
    for job, start in zip(JOBS, (began, began + 30), strict=True):
        times = [*pool.written[job], clock.monotonic()]
        assert times[0] == start
        assert all(later - earlier < 60 for earlier, later in pairwise(times)), times
