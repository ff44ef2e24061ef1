"""Shared parts of the catalog's commands: the database with the domain's tables, and the extras."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from zeke_queue.cli.render import SafeConsole
from zeke_queue.cli.session import Options, open_queue, open_read_only, options_of
from zeke_queue.errors import UsageError
from zeke_queue.system.install_hints import install

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import Any

    from zeke_queue.client.queue import Queue
    from zeke_queue.system.settings import Settings
    from zeke_tasks.store.repository import Repository, Rows

    Command = Callable[[Options, Settings], Coroutine[Any, Any, int]]


@contextmanager
def extras() -> Generator[None]:
    """Convert a failed import to an error that says what to install.

    Raises:
        UsageError: an import failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name!r} is missing: install the extras, by {install('tasks', 'embedded')}."
        ) from error
    except ImportError as error:
        # The library is installed, but one of its dependencies is not.
        raise UsageError(
            f"A library can't be imported: {' '.join(str(error).split())}."
            f" Install the extras again, by {install('tasks', 'embedded')}."
        ) from error


def on_database(context: typer.Context, command: Command) -> None:
    """Run a command's coroutine on a database that has the domain's tables.

    Args:
        context: has the shared options.
        command: is called with these and the settings; a nonzero return value becomes the exit code.

    Raises:
        UsageError: an extra is missing, or this user can't have a private Postgres.
        SchemaVersionError: the tables are missing or too old.
    """
    from zeke_queue.system import logging as log  # noqa: PLC0415 - see the package

    # Log lines of the jobs would interrupt the command's output, which reports all errors itself.
    log.configure_logging(level="critical")
    options = options_of(context)
    with extras():
        settings = options.on_database()
        if not options.embedded:
            _check_tables(settings)
        code = asyncio.run(command(options, settings))
    if code:
        raise typer.Exit(code)


def _check_tables(settings: Settings) -> None:
    """Check the domain's tables; the queue's are checked when it opens."""
    from zeke_tasks.store.postgres import migrate  # noqa: PLC0415 - see the package

    asyncio.run(migrate.check(settings.require_database()))


@asynccontextmanager
async def open_rows_read_only(settings: Settings) -> AsyncGenerator[Rows]:
    """Open the domain's tables for reading; a role with SELECT only is sufficient."""
    async with open_all_read_only(settings) as (_, rows):
        yield rows


@asynccontextmanager
async def open_all_read_only(settings: Settings) -> AsyncGenerator[tuple[Queue, Rows]]:
    """Open the queue and the domain's tables for reading."""
    async with open_read_only(_options(settings)) as queue, queue.transaction() as transaction:
        yield queue, _repository().within(transaction)


@asynccontextmanager
async def rows_to_change(settings: Settings) -> AsyncGenerator[Rows]:
    """Open the domain's tables in a transaction that commits at the end of the block."""
    async with open_queue(_options(settings)) as queue, queue.transaction() as transaction:
        yield _repository().within(transaction)


@asynccontextmanager
async def open_all(settings: Settings) -> AsyncGenerator[tuple[Queue, Repository]]:
    """Open the queue, and the domain's tables for its transactions."""
    async with open_queue(_options(settings)) as queue:
        yield queue, _repository()


def _options(settings: Settings) -> Options:
    return Options(database=settings.require_database(), schema=settings.jobs_schema)


def _repository() -> Repository:
    from zeke_tasks.store.postgres import PostgresRepository  # noqa: PLC0415 - see the package

    return PostgresRepository()


def progress_console() -> Console:
    """Return a console on standard error, since standard output may be read by a program."""
    return SafeConsole(stderr=True)
