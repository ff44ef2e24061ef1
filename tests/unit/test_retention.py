"""How long one call of the retention takes, and when it tries rows again that failed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

import pytest

from tests.clocks import FrozenClock
from zeke_queue.core.timeouts import DUTY_SECONDS, LOCK_SECONDS, RETRY_SECONDS, STATEMENT_SECONDS
from zeke_queue.errors import LockTimeoutError, StatementTimeoutError, TimeLimitError
from zeke_queue.storage.postgres.retention import PostgresRetention


class Server:
    """A pool on whose server the archiving of each row takes some seconds, and some rows are locked."""

    def __init__(self, clock: FrozenClock) -> None:
        self.clock = clock
        self.number = 0
        self.rows: dict[UUID, float] = {}
        self.locked: set[UUID] = set()
        self.tried: list[Sequence[UUID]] = []
        self.moves_until_lock: int | None = None

    def add(self, *seconds: float) -> list[UUID]:
        ids = [UUID(int=self.number + n) for n in range(len(seconds))]
        self.number += len(ids)
        self.rows.update(zip(ids, seconds, strict=True))
        return ids

    async def run(
        self, name: str, parameters: dict[str, Any], *, limit: int | None = None
    ) -> list[tuple[Any, ...]]:
        asked: Sequence[UUID] | None = parameters.get("ids")
        if asked is None:
            free = [job_id for job_id in self.rows if job_id not in parameters["without"]]
            chosen = free[: limit or parameters["limit"]]
        else:
            chosen = [job_id for job_id in asked if job_id in self.rows]
        if name == "ended":
            return [(job_id,) for job_id in chosen]
        if name == "date":
            self.clock.advance(STATEMENT_SECONDS)
            raise StatementTimeoutError("it took too long")
        self.tried.append(chosen)
        if self.moves_until_lock == 0 or self.locked.intersection(chosen):
            self.clock.advance(LOCK_SECONDS)
            raise LockTimeoutError.of("it is locked")
        seconds = sum(self.rows[job_id] for job_id in chosen)
        self.clock.advance(min(seconds, STATEMENT_SECONDS))
        if seconds > STATEMENT_SECONDS:
            raise StatementTimeoutError("it took too long")
        for job_id in chosen:
            del self.rows[job_id]
        if self.moves_until_lock is not None:
            self.moves_until_lock -= 1
        return [(len(chosen),)]


class Retention(PostgresRetention):
    """Archives on that server, where setting the ends of jobs always takes too long."""

    def __init__(self, server: Server) -> None:
        self._pool = cast("Any", server)
        self._clock = server.clock
        self._batch_sizes = {}
        self._skipped = {}

    async def call(self) -> int:
        return await self.archive(0, 1000, dating=False)


@pytest.fixture
def server() -> Server:
    return Server(FrozenClock())


async def test_call_ends_after_about_a_minute_and_the_next_ones_go_on(server: Server) -> None:
    server.add(*[1.0] * 1000)
    retention = Retention(server)
    for _ in range(40):
        began = server.clock.monotonic()
        with suppress(StatementTimeoutError):
            await retention.call()
        assert server.clock.monotonic() - began <= DUTY_SECONDS + STATEMENT_SECONDS
    assert not server.rows


@pytest.mark.parametrize("why", ["slow", "locked"])
async def test_row_that_failed_at_a_time_limit_is_tried_again_after_ten_minutes(
    server: Server, why: str
) -> None:
    bad, *_ = server.add(100.0 if why == "slow" else 0.0, *[0.0] * 9)
    server.locked = {bad} if why == "locked" else set()
    retention = Retention(server)
    for _ in range(5):
        with suppress(TimeLimitError):
            await retention.call()
    assert list(server.rows) == [bad]
    server.tried.clear()
    server.add(0.0)
    assert [await retention.call() for _ in range(2)] == [1, 0]
    assert not any(bad in ids for ids in server.tried)
    server.clock.advance(RETRY_SECONDS)
    with pytest.raises(TimeLimitError):
        await retention.call()
    server.rows[bad], server.locked = 0.0, set()
    assert await retention.call() == 0
    server.clock.advance(RETRY_SECONDS)
    assert await retention.call() == 1


async def test_rows_of_more_than_it_remembers_are_tried_like_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zeke_queue.storage.postgres.retention.SKIPPED_MAX", 1)
    monkeypatch.setattr("zeke_queue.storage.postgres.retention.RETRY_SECONDS", 0.0)
    retention = Retention(server)
    for _ in range(2):
        server.locked |= {*server.add(0.0)}
        with pytest.raises(LockTimeoutError):
            await retention.call()
    server.locked = {*server.add(0.0)}
    assert await retention.call() == 2


async def test_rows_moved_before_the_table_was_locked_are_counted(server: Server) -> None:
    server.add(*[25.0] * 4)
    retention = Retention(server)
    with pytest.raises(StatementTimeoutError):
        await retention.call()
    server.moves_until_lock = 1
    assert await retention.call() == 2


async def test_setting_of_ends_that_takes_too_long_delays_archiving_by_one_call(server: Server) -> None:
    server.add(0.0, 0.0)
    retention = Retention(server)
    assert [await retention.archive(0, limit) for limit in (1000, 1, 1000)] == [0, 1, 1]
    assert server.clock.monotonic() <= DUTY_SECONDS + STATEMENT_SECONDS
