"""A storage as production opens it, on the server's own clock, and a connection beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.postgres.many_jobs import Connection, Sender
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def sql(dsn: str) -> Iterator[Connection]:
    """A connection of another user to the test's database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def storage(dsn: str) -> AsyncIterator[PostgresStorage]:
    async with PostgresStorage.open(dsn, min_size=1, max_size=4) as opened:
        yield opened


@pytest.fixture
def jobs(storage: PostgresStorage) -> Sender:
    return Sender(storage, SystemClock())


@pytest.fixture
def here(dsn: str) -> Iterator[Connection]:
    """The database with the tables here."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def there(empty_dsn: str) -> Iterator[Connection]:
    """Another database."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        yield connection
