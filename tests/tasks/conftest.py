"""The domain's store in memory and on Postgres, the tasks' handlers over doubles, and real input for them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from pathlib import Path

import pytest
import structlog

from tests.clocks import FrozenClock
from tests.database import Databases
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.emptying import empty
from tests.tasks.ingest.videos import video_of_yesterday
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.samples import write_samples
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system import logging as log
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.youtube import Video


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def in_memory(clock: FrozenClock) -> Domain:
    return memory_domain(clock)


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
    async with PostgresStorage.open(domain_dsn, min_size=1, max_size=6, now=clock.now) as storage:
        yield Domain(storage, PostgresRepository(clock.now), clock)


@pytest.fixture
def domain(in_memory: Domain) -> Domain:
    """An empty store: in memory, except in the tests of the store itself."""
    return in_memory


@pytest.fixture
def jobs(domain: Domain) -> Jobs:
    return memory_jobs(domain)


@pytest.fixture
def bees(jobs: Jobs) -> Video:
    """A video of yesterday, whose page is there."""
    return video_of_yesterday(jobs)


@pytest.fixture(scope="session")
def input_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``feeds/`` and ``pages/`` from the web.

    It is the folder that ``ZEKE_TEST_DATA`` names; otherwise samples of our own take their place.
    """
    if named := os.environ.get("ZEKE_TEST_DATA"):
        return Path(named)
    samples = tmp_path_factory.mktemp("input")
    write_samples(samples)
    return samples


@pytest.fixture
def logged() -> Iterator[StringIO]:
    setup, structlogs, root = log._current[0], structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    written = StringIO()
    log.configure_logging("json", "info", stream=written, clock=FrozenClock())
    yield written
    log._current[0] = setup
    structlog.configure(**structlogs)
    root.handlers, root.level = handlers, level
