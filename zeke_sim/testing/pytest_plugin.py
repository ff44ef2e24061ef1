"""The pytest plugin of ``zeke_sim``: fixtures and markers for tests of applications.

pytest loads it wherever zeke_queue is installed, so it imports only pytest until a test requests one of its
fixtures.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from zeke_queue.task.catalog import Catalog
    from zeke_sim.testing.environment import TestEnvironment
    from zeke_sim.testing.facade import BlockingZeke, Zeke
    from zeke_sim.testing.servers import Databases
    from zeke_sim.testing.simulations import Simulations

MARKERS: Final = (
    "zeke_catalog(which): the catalog of the fixtures zeke, zeke_sync and simulation, as 'module:name'.",
    'zeke_backend("memory" or "postgres"): where the jobs of the fixtures zeke and zeke_sync are kept.',
    "zeke_options(start=, concurrency=, allow=, freeze=): when a test of zeke or zeke_sync begins, how many "  # noqa: ISC004 - one marker
    "jobs run concurrently, what handlers may access, and whether they see virtual time.",
)


SECTION: Final = "faults"
"""The section of a report that lists the faults of a simulated test's tasks."""

TESTS_SHOWN: Final = 5
"""Maximum number of tests whose faults the terminal shows, unless pytest is verbose."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("zeke")
    group.addoption(
        "--zeke-seeds",
        metavar="N",
        type=_seeds,
        help="number of seeds that each test of zeke_sim.test runs, instead of its own",
    )
    group.addoption(
        "--zeke-plan",
        metavar="FILE",
        help="replay this plan, written by a failure to .zeke-sim, in tests of zeke_sim.test",
    )
    group.addoption(
        "--zeke-faults",
        action="store_true",
        help="write a page for each simulated test, with the faults beside the source, to .zeke-sim",
    )
    group.addoption(
        "--zeke-postgres",
        metavar="WHICH",
        help="the Postgres of tests marked zeke_backend('postgres'): a connection string, embedded, "
        "testcontainers, or auto (the default), which takes a container if a Docker engine answers and has "
        "the image and testcontainers is installed, and else the embedded server",
    )

    parser.addini("zeke_postgres", "default of --zeke-postgres")


def _seeds(text: str) -> int:
    """Parse the value of ``--zeke-seeds``."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive number of seeds, got {text!r}")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Ignore a module's mark for async tests on tests of ``zeke_sim.test``, which are plain functions."""
    if not hasattr(getattr(item, "function", None), "zeke_simulated"):
        return
    closest = item.get_closest_marker

    def marker(name: str, default: Any = None) -> Any:
        return default if name == "asyncio" else closest(name, default)

    setattr(item, "get_closest_marker", marker)  # noqa: B010


def pytest_collection_finish(session: pytest.Session) -> None:
    """Load the driver before the clocks are replaced, since C modules reject the replacements."""
    if any(
        mark.args == ("postgres",) for item in session.items for mark in item.iter_markers("zeke_backend")
    ):
        import psycopg  # noqa: F401, PLC0415 - for its side effect # pyright: ignore[reportUnusedImport]


@pytest.hookimpl(tryfirst=True)  # before pytest sets up fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Reject misspelled markers, and leave fixtures to the examples of a test of Hypothesis."""
    if _has_examples(item):
        from zeke_sim.testing import examples  # noqa: PLC0415 - as above

        examples.hold(item)
    known = [marker.partition("(")[0] for marker in MARKERS]
    for marker in item.iter_markers():
        if marker.name.startswith("zeke_") and marker.name not in known:
            import difflib  # noqa: PLC0415 - as above

            near = difflib.get_close_matches(marker.name, known, n=1, cutoff=0.75)
            if near:
                pytest.fail(f"{marker.name}: unknown marker; did you mean {near[0]}?", pytrace=False)


def _has_examples(item: pytest.Item) -> TypeGuard[pytest.Function]:
    """Return whether an item is a test of Hypothesis that uses a fixture of this plugin."""
    return (
        isinstance(item, pytest.Function)
        and _is_given(item)
        and not {"zeke", "zeke_sync", "simulation"}.isdisjoint(item.fixturenames)
    )


def _is_given(item: pytest.Function) -> bool:
    """Return whether an item is a test with ``@given``."""
    return getattr(item.obj, "is_hypothesis_test", False) and hasattr(item.obj, "hypothesis")


def _check_is_own(request: pytest.FixtureRequest, names: str) -> None:
    """Fail a test with ``@given`` whose examples would share one of these fixtures."""
    if _is_given(request.node):
        from zeke_sim.testing import examples  # noqa: PLC0415 - as above

        examples.check_is_own(request.node, names)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)  # around Hypothesis's own
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any]:
    """Show Hypothesis a test without the fixtures that its examples set up."""
    if not _has_examples(item):
        yield
        return
    from zeke_sim.testing import examples  # noqa: PLC0415 - as above

    with examples.without_held(item):
        yield


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Make each example of a test of Hypothesis set up its fixtures."""
    if _has_examples(pyfuncitem):
        from zeke_sim.testing import examples  # noqa: PLC0415 - as above

        examples.set_up_each(pyfuncitem)


@pytest.hookimpl(hookwrapper=True)  # older pytest versions do not support `wrapper=True`
def pytest_runtest_makereport(call: pytest.CallInfo[Any]) -> Generator[None, Any]:
    """Shorten a long failure to its first line in the summary; in CI, pytest would print all of it."""
    result = yield
    headline = getattr(call.excinfo.value, "zeke_headline", None) if call.excinfo else None
    crash = getattr(result.get_result().longrepr, "reprcrash", None)
    if isinstance(headline, str) and crash is not None:
        crash.message = headline


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which faults hit the tasks of the simulated tests that passed."""
    shown = [
        (report.nodeid, text)
        for report in terminalreporter.stats.get("passed", [])
        for name, text in report.sections
        if name == f"Captured {SECTION} call"
    ]
    if not shown:
        return
    terminalreporter.section("faults of simulated tests", sep="-")
    most = len(shown) if terminalreporter.verbosity > 0 else TESTS_SHOWN
    for test, text in shown[:most]:
        terminalreporter.write_line(test)
        for line in text.splitlines():
            terminalreporter.write_line(f"  {line}")
    if len(shown) > most:
        terminalreporter.write_line(f"and {len(shown) - most} other tests; -v shows them")


@pytest.fixture
def zeke_catalog(request: pytest.FixtureRequest) -> Catalog:
    """The application's catalog: override this, or mark tests with ``zeke_catalog("module:name")``."""
    from zeke_sim.testing import fixtures  # noqa: PLC0415 - loaded on first use

    return fixtures.marked_catalog(request)


@pytest.fixture
def zeke_resources() -> Any:
    """The handlers' ``job.resources``: override this fixture; None for those of the catalog."""
    return None


@pytest.fixture(scope="session")
def _zeke_databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """A factory of databases for tests marked ``zeke_backend("postgres")``, on the test run's server."""
    from zeke_sim.testing import fixtures  # noqa: PLC0415

    with fixtures.databases(request.config) as databases:
        yield databases


@pytest.fixture
def _zeke_environment(request: pytest.FixtureRequest, zeke_resources: Any) -> Iterator[TestEnvironment]:
    """The environment of one test's ``zeke`` or ``zeke_sync``."""
    from zeke_sim.testing import fixtures  # noqa: PLC0415

    _check_is_own(request, "zeke, zeke_sync")
    with fixtures.environment(request, zeke_resources) as environment:
        yield environment


@pytest.fixture
def zeke(_zeke_environment: TestEnvironment) -> Iterator[Zeke]:
    """The application's tasks, queue and time, for async tests."""
    from zeke_sim.testing import fixtures  # noqa: PLC0415

    with fixtures.zeke(_zeke_environment) as held:
        yield held


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Iterator[Simulations]:
    """A factory of simulated worlds, as in ``simulation(catalog, workers=3, faults="storm")``."""
    from zeke_sim.testing.simulations import Simulations  # noqa: PLC0415

    _check_is_own(request, "simulation")
    simulations = Simulations(request)
    yield simulations
    simulations.finish()


@pytest.fixture
def zeke_sync(_zeke_environment: TestEnvironment) -> BlockingZeke:
    """The application's tasks, queue and time, for sync tests."""
    from zeke_sim.testing.facade import BlockingZeke  # noqa: PLC0415

    return BlockingZeke(_zeke_environment)
