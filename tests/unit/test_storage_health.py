"""What counts as an outage of the storage, and as its end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.handler import logged
from zeke_queue.errors import LockTimeoutError, StorageUnavailableError
from zeke_queue.storage.forwarding import Call
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.worker.storage_health import StorageHealth


async def test_lock_timeout_counts_as_an_answer() -> None:
    health = StorageHealth(FrozenClock(), SeededEntropy(1))

    async def fail(error: Exception) -> None:
        async def proceed() -> Any:
            raise error

        with pytest.raises(type(error)):
            await health.observe(Call("settle", {}), proceed)

    with logged() as lines:
        await fail(LockTimeoutError.of("a test"))
        assert lines.messages == []
        await fail(StorageUnavailableError("away"))
        assert lines.messages == ["storage_unavailable"]
        await fail(LockTimeoutError.of("a test"))
        assert lines.messages == ["storage_unavailable", "storage_back"]
