"""The command line as a function, on a database of the test's own and in an environment without settings."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import structlog
from typer.testing import CliRunner

from tests.cli.shop import catalog
from tests.cli.starting import Start, starting
from zeke_queue.cli.app import app
from zeke_queue.client.queue import Queue
from zeke_queue.system import logging as log
from zeke_queue.system.settings import Settings
from zeke_queue.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

SHOP = ("--app", "tests.cli.shop:catalog")


class Zeke:
    """Calls ``zeke`` with arguments, and does by hand what a worker would do."""

    def __init__(self, dsn: str | None) -> None:
        self.dsn = dsn

    def __call__(self, *args: str, stdin: str | None = None, **env: str | None) -> Any:
        """Run a command; an exception that is not meant to reach the user fails the test."""
        given = {"DATABASE_PRIMARY_URL": self.dsn, **env}
        return CliRunner().invoke(app, args, input=stdin, env=given, catch_exceptions=False)

    def good(self, *args: str, **more: str | None) -> str:
        """Run a command that must succeed; return its standard output."""
        result = self(*args, **more)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self.good("--json", *args))

    def fails(self, *args: str, code: int, **more: str | None) -> str:
        """Run a command that must fail; return its error output, whose last line is ours."""
        result = self(*args, **more)
        assert result.exit_code == code, result.output
        assert result.stderr.splitlines()[-1].startswith("zeke: ")
        assert "Traceback" not in result.output
        return result.stderr

    def send(self, *args: str) -> str:
        """Send a job of the shop; returns its id."""
        return self.good("send", *args, *SHOP).strip()

    def work(self) -> None:
        self.on_queue(lambda queue: Worker(queue).drain())

    def sql(self, statement: str, *values: object) -> None:
        """Execute a statement as the tables' owner."""
        with psycopg.connect(self.dsn or "", autocommit=True) as connection:
            connection.execute(statement.encode(), values or None)

    def on_queue(self, do: Callable[[Queue], Awaitable[Any]]) -> Any:
        async def done() -> Any:
            async with Queue.connect(catalog, self.dsn) as queue:
                return await do(queue)

        return asyncio.run(done())


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables of the machine that would affect the result of a test."""
    for name in (*(field.upper() for field in Settings.model_fields), "ZEKE_APP", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture(autouse=True)
def _same_logging_afterwards() -> Iterator[None]:
    """``zeke worker`` takes over the logging of its process."""
    before, root = log._current[0], logging.getLogger()
    handlers, level, structured = list(root.handlers), root.level, structlog.get_config()
    yield
    log._current[0], root.handlers = before, handlers
    root.setLevel(level)
    structlog.configure(**structured)


@pytest.fixture
def zeke(emptied_dsn: str) -> Zeke:
    """The command line on a database whose tables the test does not change."""
    return Zeke(emptied_dsn)


@pytest.fixture
def zeke_alone(dsn: str) -> Zeke:
    """The command line on a database that the test may change."""
    return Zeke(dsn)


@pytest.fixture
def zeke_empty(empty_dsn: str) -> Zeke:
    """The command line on a database without any tables."""
    return Zeke(empty_dsn)


@pytest.fixture
def nowhere() -> Zeke:
    """The command line without a database."""
    return Zeke(None)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a module into the current directory; returns its name, which no other test uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    written: list[str] = []

    def write(text: str) -> str:
        name = f"written_{len(written)}_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def start(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts ``zeke`` on the test's database, and sees that nothing is left of it."""
    return starting(zeke.dsn or "", monkeypatch)
