"""The storages that the suite runs on, each with a stopped clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.conformance.planting import Plant, PlantInMemory, PlantInPostgres
from tests.conformance.storages import STORAGES, open_storage
from zeke_queue.storage import Storage
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(params=STORAGES)
async def storage(request: pytest.FixtureRequest, clock: FrozenClock) -> AsyncIterator[Storage]:
    async with open_storage(request.param, clock, request) as opened:
        # One of the two runs behind a forwarder that changes nothing.
        yield forward(opened, _directly) if isinstance(opened, PostgresStorage) else opened


async def _directly(_call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
    return await do()


@pytest.fixture
def jobs(storage: Storage, clock: FrozenClock) -> Driver:
    return Driver(storage, clock)


@pytest.fixture
def plant(storage: Storage, request: pytest.FixtureRequest) -> Plant:
    """Writes a row past the storage, as another program on the same tables does."""
    if isinstance(storage, MemoryStorage):
        return PlantInMemory(storage)
    return PlantInPostgres(request.getfixturevalue("emptied_dsn"))
