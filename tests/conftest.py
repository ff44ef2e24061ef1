"""Fixtures that every test may ask for: a database of its own on the run's one server."""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.conformance.planting import EMPTY
from tests.database import CONTAINER, Databases, choose, new_run, server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.progress", "tests.selecting"]

# No test depends on how fast a machine is, or on chance: examples are the same each time. With
# --hypothesis-profile=random they are drawn anew, and a failed one is kept, so that a second run repeats it.
settings.register_profile(
    "fixed", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "random",
    settings.get_profile("fixed"),
    derandomize=False,
    database=DirectoryBasedExampleDatabase(Path(__file__).parents[1] / ".hypothesis" / "examples"),
    print_blob=True,
)
settings.register_profile(
    "unshrunk",
    settings.get_profile("fixed"),
    phases=[phase for phase in Phase if phase not in {Phase.shrink, Phase.explain}],
)
settings.load_profile("fixed")

# A run in the background of a script ignores SIGINT, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_CHOICE = pytest.StashKey[str]()
_STARTED = pytest.StashKey[AbstractContextManager[str]]()
_BROWSER = Path(__file__).parent / "browser"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        help="the Postgres to test on: 15, 17, 18, a folder with initdb, embedded or testcontainers",
    )
    parser.addoption(
        "--crash-points",
        type=int,
        default=2,
        help="at how many points, about, tests/tasks/test_crashes.py kills each task; 0 for all",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs a browser, unless its folder is named, as ``nox -s browser`` does."""
    named = [Path(argument.partition("::")[0]).absolute() for argument in config.args]
    if collection_path == _BROWSER and not any(path.is_relative_to(_BROWSER) for path in named):
        return True
    return None


class Controller:
    """Decides once for all processes of a run, and hands its decision on; a container it starts itself."""

    def pytest_configure_node(self, node: object) -> None:
        config: pytest.Config = node.config  # type: ignore[attr-defined]
        if _CHOICE not in config.stash:
            choice = choose(config.getoption("--postgres"))
            if choice == CONTAINER:
                config.stash[_STARTED] = server(choice, new_run())
                choice = config.stash[_STARTED].__enter__()
            config.stash[_CHOICE] = choice
        node.workerinput["zeke_postgres"] = config.stash[_CHOICE]  # type: ignore[attr-defined]

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        if (started := config.stash.get(_STARTED, None)) is not None:
            started.__exit__(None, None, None)


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(Controller(), "zeke-controller")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of the run's server, for a role that may create databases."""
    handed = getattr(request.config, "workerinput", {}).get("zeke_postgres")
    choice = handed or choose(request.config.getoption("--postgres"))
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or new_run()
    with server(choice, run) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def databases(postgres: str) -> Databases:
    return Databases(postgres, os.environ.get("PYTEST_XDIST_WORKER", "main") + f"_{os.getpid()}")


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """The DSN of a migrated database that this test has for itself."""
    with databases.database() as made:
        yield made


@pytest.fixture(scope="session")
def shared_dsn(databases: Databases) -> Iterator[str]:
    """The DSN of a migrated database that tests use one after the other."""
    with databases.database() as made:
        yield made


@pytest.fixture
def emptied_dsn(shared_dsn: str) -> str:
    """The DSN of an empty migrated database, for tests that do not change its tables.

    Emptying one takes a tenth of the time that a new one does.
    """
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        connection.execute(EMPTY)
    return shared_dsn


@pytest.fixture
def empty_dsn(databases: Databases) -> Iterator[str]:
    """The DSN of an empty database that this test has for itself."""
    with databases.database(empty=True) as made:
        yield made
