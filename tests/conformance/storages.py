"""The storages that tests run on, each on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.clocks import FrozenClock
from zeke_queue.storage import Storage
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage

STORAGES = ("memory", "postgres")

on_both_storages = pytest.mark.parametrize("storage", STORAGES, indirect=True)
"""Runs a test on each storage, where the fixture ``storage`` gives the one in memory."""

on_postgres = pytest.mark.parametrize("storage", ["postgres"], indirect=True)
"""Runs a test on Postgres alone."""

FORWARDED = ("forwarded", "forwarded postgres")
"""The names of storages behind forwarders: in memory, and on Postgres, which only marked tests run on."""

also_forwarded_on_postgres = pytest.mark.parametrize("opened", [*STORAGES, *FORWARDED], indirect=True)
"""Runs a test of ``tests/conformance`` on each storage, and behind forwarders on both."""


@asynccontextmanager
async def open_storage(
    name: str, clock: FrozenClock, request: pytest.FixtureRequest
) -> AsyncIterator[Storage]:
    if name == "memory":
        yield MemoryStorage(clock)
        return
    dsn: str = request.getfixturevalue("emptied_dsn")
    async with PostgresStorage.open(dsn, min_size=1, max_size=4, now=clock.now) as opened:
        yield opened
