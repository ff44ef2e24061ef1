"""The domain's store over both storages, each on a clock that stands still; and real input for the tasks."""

from __future__ import annotations

import logging
import os
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.clocks import FrozenClock
from tests.tasks.domain import Domain
from tests.tasks.emptying import empty
from tests.tasks.samples import write_samples
from zeke_queue import log
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.postgres import PostgresRepository, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.database import Databases


@pytest.fixture
def clock() -> FrozenClock:
    """Time, which the test moves."""
    return FrozenClock()


@pytest.fixture
def in_memory(clock: FrozenClock) -> Domain:
    """A store in memory with nothing in it."""
    return Domain(MemoryStorage(clock), MemoryRepository(clock), clock)


@pytest.fixture(scope="session")
def shared_domain_dsn(databases: Databases) -> Iterator[str]:
    """The DSN of a database with the domain's tables that these tests use one after the other."""
    with databases.database() as made:
        migrate.migrate(made)
        yield made


@pytest.fixture
def domain_dsn(shared_domain_dsn: str) -> str:
    """The DSN of a database with the domain's tables and nothing in them.

    Emptying one takes a tenth of the time that a new one does.
    """
    empty(shared_domain_dsn)
    return shared_domain_dsn


@pytest.fixture
async def on_postgres(domain_dsn: str, clock: FrozenClock) -> AsyncIterator[Domain]:
    """A store on Postgres with nothing in it."""
    async with PostgresStorage.open(domain_dsn, min_size=1, max_size=6, now=clock.now) as storage:
        yield Domain(storage, PostgresRepository(clock.now), clock)


@pytest.fixture(params=["in_memory", "on_postgres"], ids=["memory", "postgres"])
def domain(request: pytest.FixtureRequest) -> Domain:
    """A store with nothing in it; the test does not know which."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def input_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``feeds/`` and ``pages/`` as they are found on the web.

    It is the one that ZEKE_TEST_DATA names, or ``shared/data`` beside the project; where there is neither,
    samples of our own take their place.
    """
    named = os.environ.get("ZEKE_TEST_DATA")
    directory = Path(named) if named else Path(__file__).parents[3] / "shared" / "data"
    if named or (directory / "feeds").is_dir():
        return directory
    samples = tmp_path_factory.mktemp("input")
    write_samples(samples)
    return samples


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """Log as a worker does, and undo it."""
    setup, structlogs, root = log._current[0], structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    written = StringIO()
    log.configure_logging("json", "info", stream=written, clock=FrozenClock())
    yield written
    log._current[0] = setup
    structlog.configure(**structlogs)
    root.handlers, root.level = handlers, level
