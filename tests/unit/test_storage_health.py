"""What counts as an outage of the storage, and as its end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.handler import logged
from zeke_queue.errors import LockTimeoutError, StatementTimeoutError, StorageUnavailableError
from zeke_queue.storage.forwarding import Call
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.worker.storage_health import REPORT_INTERVAL, StorageHealth


async def test_lock_timeout_counts_as_an_answer() -> None:
    health = StorageHealth(FrozenClock(), SeededEntropy(1))

    async def fail(error: Exception) -> None:
        async def proceed() -> Any:
            raise error

        with pytest.raises(type(error)):
            await health.observe(Call("settle", {}), proceed)

    with logged() as lines:
        await fail(StorageUnavailableError("away"))
        assert lines.messages == ["storage_unavailable"]
        await fail(LockTimeoutError.of("a test"))
        assert lines.messages == ["storage_unavailable", "storage_back"]


async def test_statements_that_are_given_up_are_logged_once_a_minute_by_verb() -> None:
    clock = FrozenClock()
    health = StorageHealth(clock, SeededEntropy(1))

    async def give_up(error: Exception, verb: str) -> None:
        async def proceed() -> Any:
            raise error

        with pytest.raises(type(error)):
            await health.observe(Call(verb, {}), proceed)

    with logged() as lines:
        for _ in range(3):
            await give_up(LockTimeoutError.of("a test"), "claim")
            await give_up(StatementTimeoutError("too long"), "set_idle")
        assert lines.messages == ["statement_given_up"] * 2
        clock.advance(REPORT_INTERVAL)
        await give_up(LockTimeoutError.of("a test"), "claim")
        assert len(lines.messages) == 3


@pytest.mark.parametrize("verb", ["settle", "settle_unlocked", "suspend"])
async def test_statements_whose_callers_log_the_jobs_are_not_logged_twice(verb: str) -> None:
    health = StorageHealth(FrozenClock(), SeededEntropy(1))

    async def give_up() -> Any:
        raise StatementTimeoutError("too long")

    with logged() as lines:
        with pytest.raises(StatementTimeoutError):
            await health.observe(Call(verb, {}), give_up)
        assert lines.messages == []
