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
from tests.tasks.jobs import Jobs
from tests.tasks.samples import write_samples
from tests.tasks.scripted_ai import ScriptedAI
from tests.tasks.scripted_web import ScriptedWeb
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system import logging as log
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch
from zeke_tasks.youtube import YouTube


@pytest.fixture
def clock() -> FrozenClock:
    """Time, which the test moves."""
    return FrozenClock()


@pytest.fixture
def in_memory(clock: FrozenClock) -> Domain:
    """A store in memory with nothing in it."""
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
    """A store on Postgres with nothing in it."""
    async with PostgresStorage.open(domain_dsn, min_size=1, max_size=6, now=clock.now) as storage:
        yield Domain(storage, PostgresRepository(clock.now), clock)


@pytest.fixture
def domain(in_memory: Domain) -> Domain:
    """An empty store: in memory, except in the tests of the store itself."""
    return in_memory


@pytest.fixture
def web() -> ScriptedWeb:
    return ScriptedWeb()


@pytest.fixture
def ai() -> ScriptedAI:
    return ScriptedAI()


@pytest.fixture
def captions() -> ScriptedCaptions:
    return ScriptedCaptions()


@pytest.fixture
def search() -> ScriptedSearch:
    return ScriptedSearch()


@pytest.fixture
def jobs(
    domain: Domain, web: ScriptedWeb, ai: ScriptedAI, captions: ScriptedCaptions, search: ScriptedSearch
) -> Jobs:
    """The catalog's handlers over doubles of web, AI and YouTube."""
    return Jobs(domain, web, ai, YouTube(captions, search))


@pytest.fixture(scope="session")
def input_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``feeds/`` and ``pages/`` from the web.

    It is ``ZEKE_TEST_DATA``, or ``shared/data`` next to the project; if neither exists,
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
