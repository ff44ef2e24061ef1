"""The storages that the suite runs on, each with a stopped clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.conformance.planting import Plant, PlantInMemory, PlantInPostgres
from tests.conformance.storages import FORWARDED, STORAGES, open_storage
from zeke_queue.storage import Storage
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(params=[*STORAGES, FORWARDED[0]])
async def opened(request: pytest.FixtureRequest, clock: FrozenClock) -> AsyncIterator[Storage]:
    """A storage with nothing in it; ``storage`` may forward to it."""
    name = "memory" if request.param == FORWARDED[0] else request.param.removeprefix("forwarded ")
    async with open_storage(name, clock, request) as opened:
        yield opened


@pytest.fixture
def storage(opened: Storage, request: pytest.FixtureRequest) -> Storage:
    """The storage under test: direct, or behind two forwarders, through which each call is the same."""
    forwarded = request.node.callspec.params["opened"] in FORWARDED
    return forward(forward(opened, _directly), _directly) if forwarded else opened


async def _directly(_call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
    return await do()


@pytest.fixture
def jobs(storage: Storage, clock: FrozenClock) -> Driver:
    return Driver(storage, clock)


@pytest.fixture
def plant(opened: Storage, request: pytest.FixtureRequest) -> Plant:
    """Writes a row past the storage, as another program on the same tables does."""
    if isinstance(opened, MemoryStorage):
        return PlantInMemory(opened)
    return PlantInPostgres(request.getfixturevalue("emptied_dsn"))
