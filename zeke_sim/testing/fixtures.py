"""Markers and fixtures of a test, resolved to its environment, with errors for invalid ones."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, cast
from zlib import crc32

import pytest

from zeke_queue.core.failure import shown
from zeke_queue.core.options import check_flag
from zeke_queue.errors import UsageError
from zeke_queue.task.catalog import Catalog
from zeke_sim.errors import ADVICE
from zeke_sim.testing.backends import Memory
from zeke_sim.testing.environment import Options, TestEnvironment
from zeke_sim.testing.facade import Zeke

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator

    from zeke_sim.testing.backends import Backend
    from zeke_sim.testing.servers import Databases

NO_CATALOG = (
    "zeke: which catalog? Define a fixture zeke_catalog in conftest.py that returns your application's, or "
    "mark the test with @pytest.mark.zeke_catalog('module:name')"
)


class Failed(pytest.fail.Exception):
    """A failure without a traceback; its notes are part of its message, since pytest would show none."""

    __module__ = "builtins"  # pytest's own is shown as Failed, too

    def __init__(self, message: str) -> None:
        super().__init__(message, pytrace=False)

    def add_note(self, note: str, /) -> None:
        """Add a note to the message."""
        self.msg = f"{self.msg}\n{note}"


class Shown(Failed):
    """A failure with a long report whose first line is a summary."""

    @property
    def zeke_headline(self) -> str:
        """The line for a list of failures."""
        return (self.msg or "").partition("\n")[0]


def wrong(message: str) -> NoReturn:
    """Fail a test because of an invalid request, without showing the exception that led to it."""
    failure = Failed(message)
    failure.__suppress_context__ = True
    raise failure


def fail_if_never(hits: Counter[str], runs: int) -> None:
    """Fail the test if something that must happen in at least one of its runs never happened.

    Args:
        hits: for each such event, the number of runs in which it happened.
        runs: the number of runs.

    Raises:
        Failed: something never happened.
    """
    never = [name for name, happened in hits.items() if not happened]
    if never:
        pytest.fail(
            f"did not happen in any of {runs} runs: {', '.join(never)}; run more seeds, or extend the "
            "workload",
            pytrace=False,
        )


def marked_catalog(request: pytest.FixtureRequest) -> Catalog[Any]:
    """Return the catalog that a test's marker names."""
    found = _from_marker(request)
    return wrong(NO_CATALOG) if found is None else found


def catalog_of(request: pytest.FixtureRequest) -> Catalog[Any]:
    """Return a test's catalog: from the closest marker, else from the fixture ``zeke_catalog``."""
    found = _from_marker(request)
    return checked_catalog(request.getfixturevalue("zeke_catalog")) if found is None else found


def checked_catalog(value: object) -> Catalog[Any]:
    """Return the value if it is a catalog; otherwise fail the test with its description."""
    if inspect.iscoroutine(value) or inspect.isasyncgen(value):
        if inspect.iscoroutine(value):
            value.close()
        wrong("zeke_catalog: the fixture is async; define it with def, and return the catalog")
    if not isinstance(value, Catalog):
        wrong(f"zeke_catalog: must be a Catalog, got {shown(value)}")
    return cast("Catalog[Any]", value)


def _from_marker(request: pytest.FixtureRequest) -> Catalog[Any] | None:
    marker = request.node.get_closest_marker("zeke_catalog")
    if marker is None:
        return None
    if len(marker.args) != 1 or marker.kwargs:
        wrong("zeke_catalog: the marker takes one argument: 'module:name', or the catalog itself")
    (which,) = marker.args
    if isinstance(which, Catalog):
        return cast("Catalog[Any]", which)
    module_name, _, name = which.partition(":") if isinstance(which, str) else ("", "", "")
    if not module_name or not name:
        wrong(
            "zeke_catalog: must be 'module:name' of a catalog, as in 'shop.tasks:catalog', "
            f"got {shown(which)}"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        wrong(f"zeke_catalog: {which!r}: {error}; is the module on Python's path?")
    if not hasattr(module, name):
        wrong(f"zeke_catalog: {which!r}: {module_name} has no {name!r}; name what Catalog() made")
    if not isinstance(found := getattr(module, name), Catalog):
        wrong(f"zeke_catalog: {which!r} must be a Catalog, got {shown(found)}; name what Catalog() made")
    return cast("Catalog[Any]", found)


def options_of(request: pytest.FixtureRequest) -> Options:
    """Return the options of a test's closest ``zeke_options`` marker; other markers are ignored."""
    marker = request.node.get_closest_marker("zeke_options")
    if marker is None:
        return Options()
    known = [one.name for one in fields(Options)]
    if marker.args:
        wrong(
            f"zeke_options: must be keyword arguments ({', '.join(known)}), as in zeke_options({known[0]}=…)"
        )
    for name in marker.kwargs:
        if name not in known:
            wrong(f"zeke_options: must be some of {', '.join(known)}, got {name}")
    try:
        return _checked(**marker.kwargs)
    except UsageError as error:
        wrong(f"zeke_options: {error}")


def _checked(
    start: Any = None,
    concurrency: Any = None,
    allow: Any = (),
    freeze: Any = True,  # noqa: FBT002
) -> Options:
    plain = Options()
    begins = plain.start if start is None else checked_start(start)
    if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
        raise UsageError(f"concurrency: must be 1 or more, got {shown(concurrency)}")
    return Options(
        begins,
        concurrency or plain.concurrency,
        (*plain.allow, *checked_allowed(allow)),
        check_flag("freeze", freeze),
    )


def checked_start(value: Any) -> datetime:
    """Return a start time.

    Raises:
        UsageError: the value is not an aware datetime or its text.
    """
    when = value
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError as error:
            raise UsageError(
                f"start: must be a datetime, or text such as 2026-03-28T22:00:00+00:00: {error}"
            ) from None
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise UsageError(f"start: must be an aware datetime, or text with a time zone, got {shown(value)}")
    return when


def checked_allowed(value: Any) -> tuple[str, ...]:
    """Return the outside resources that handlers may use.

    Raises:
        UsageError: a resource is unknown.
    """
    several = (value,) if isinstance(value, str) else tuple(value)
    for one in several:
        if one not in ADVICE:
            raise UsageError(f"allow: must be some of {', '.join(ADVICE)}, got {shown(one)}")
    return several


def backend_of(request: pytest.FixtureRequest) -> Backend:
    """Return the storage backend of a test."""
    marker = request.node.get_closest_marker("zeke_backend")
    if marker is None:
        return Memory()
    if len(marker.args) != 1 or marker.kwargs or marker.args[0] not in {"memory", "postgres"}:
        arguments = ", ".join(map(shown, marker.args)) or "nothing"
        wrong(f"zeke_backend: must be 'memory' or 'postgres', got {arguments}")
    if marker.args[0] == "memory":
        return Memory()
    from zeke_sim.testing.bridge import Postgres  # noqa: PLC0415 - tests in memory do not load the driver

    return Postgres(request.getfixturevalue("_zeke_databases"))


@contextmanager
def databases(config: pytest.Config) -> Generator[Databases]:
    """Start the test run's server and yield a factory of databases on it."""
    from zeke_sim.testing.servers import Databases, server  # noqa: PLC0415 - as above

    worker: dict[str, Any] = getattr(config, "workerinput", {})
    run = str(worker.get("testrunuid") or f"process{os.getpid()}")
    choice: str = config.getoption("--zeke-postgres") or config.getini("zeke_postgres") or "auto"
    try:
        with server(choice, run, lambda line: _print_uncaptured(config, line)) as dsn:
            made = Databases(dsn, f"{worker.get('workerid', 'main')}_{os.getpid()}")
            made.check()
            yield made
    except UsageError as error:
        wrong(str(error))


def _print_uncaptured(config: pytest.Config, line: str) -> None:
    """Print a line past pytest's capture, so that a passing run shows it too."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with nullcontext() if capture is None else capture.global_and_fixture_disabled():
        sys.stderr.write(f"\n{line}\n")
        sys.stderr.flush()


@contextmanager
def environment(request: pytest.FixtureRequest, resources: Any) -> Generator[TestEnvironment]:
    """Set up the environment of a test, and close it afterwards."""
    catalog, backend, options = catalog_of(request), backend_of(request), options_of(request)
    try:
        made = TestEnvironment(
            catalog, backend, options, seed=crc32(request.node.nodeid.encode()), resources=resources
        )
    except UsageError as error:
        wrong(f"zeke: {error}")
    try:
        yield made
    finally:
        made.close()


@contextmanager
def zeke(made: TestEnvironment) -> Generator[Zeke]:
    """Yield the test interface, and fail the test if it did not await a call."""
    held = Zeke(made)
    yield held
    forgotten = held.forgotten()
    if forgotten:
        listed = "\n".join(f"  {call}" for call in forgotten)
        wrong(
            f"zeke: called but not awaited, so nothing was done:\n{listed}\n"
            "Write `await zeke.…`; in a test that is not async, take the fixture zeke_sync, which needs none"
        )
