"""The common parts of commands: shared options, the catalog by its import path, and an open queue.

Nothing heavy is imported before a command runs, so that ``--help`` and completion are fast.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec
from uuid import UUID

import typer

from zeke_queue.cli.render import echo, json_text
from zeke_queue.core.status import output_of
from zeke_queue.errors import (
    InvalidOptionError,
    JobConflictError,
    JobFailedError,
    PayloadValidationError,
    SettingsError,
    StorageUnavailableError,
    UsageError,
)
from zeke_queue.system.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from zeke_queue.client.queue import Queue
    from zeke_queue.errors import ZekeError
    from zeke_queue.storage.embedded.server import EmbeddedPostgres
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog

P = ParamSpec("P")

AppOption = Annotated[
    str | None,
    typer.Option(
        "--app", metavar="MODULE:CATALOG", envvar="ZEKE_APP", help="The catalog of tasks.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class Options:
    """The options that all commands share.

    Attributes:
        embedded: whether the database is the user's private Postgres.
        until_it_ends: callbacks for the end of the command, such as stopping that server.
    """

    database: str | None = None
    schema: str | None = None
    json: bool = False
    embedded: bool = False
    until_it_ends: ExitStack = field(default_factory=ExitStack, compare=False, repr=False)

    def settings(self, **more: Any) -> Settings:
        """Return the environment's settings, overridden by these options and by ``more``, given by field.

        Raises:
            SettingsError: one of them is invalid.
        """
        from zeke_queue.core.names import schema_name
        from zeke_queue.system.settings import Settings

        values: dict[str, Any] = {"database_primary_url": self.database, "jobs_schema": self.schema, **more}
        settings = Settings.load(**{name: value for name, value in values.items() if value is not None})
        # An invalid name is a usage error, so report it before the database is used.
        schema_name(settings.jobs_schema)
        return settings

    def on_database(self, settings: Settings | None = None, *, migrated: bool = True) -> Settings:
        """Return settings that name the database; with ``--embedded`` it runs until the command ends.

        Args:
            settings: the settings to complete; None for ``settings()``.
            migrated: whether to migrate the private Postgres.

        Raises:
            SettingsError: no database is named.
            UsageError: ``--database`` is given too; or this user can't have a private Postgres, or its extra
                is not installed.
        """
        settings = settings or self.settings()
        if not self.embedded:
            settings.require_database()
            return settings
        if self.database is not None:
            raise UsageError(
                "--embedded starts a Postgres of its own, so --database has no use: leave out one of them"
            )
        from zeke_queue.cli.migrations import migrate_all

        dsn = self.until_it_ends.enter_context(_private_postgres(settings)).dsn
        if migrated:
            migrate_all(dsn, settings.jobs_schema)
        return settings.on_database(dsn)


def _private_postgres(settings: Settings) -> EmbeddedPostgres:
    """Start the user's private Postgres, or join a running one."""
    from zeke_queue.storage.embedded.server import EmbeddedPostgres

    try:
        return EmbeddedPostgres.start(settings.jobs_embedded_directory)
    except (OSError, RuntimeError, LookupError) as error:
        # A user without a home, as in many containers, has no directory for its data.
        raise UsageError(
            f"--embedded: this user has no folder for a private Postgres ({error}); set HOME to one that it"
            " may write to, or DATABASE_PRIMARY_URL to another Postgres"
        ) from error


def options_of(context: Any) -> Options:
    """Return the options that all commands share."""
    found = context.find_object(Options)
    return found if isinstance(found, Options) else Options()


@asynccontextmanager
async def open_queue(options: Options, catalog: Catalog | None = None) -> AsyncGenerator[Queue]:
    """Open a queue according to the options; without a catalog it has no tasks."""
    from zeke_queue.client.queue import Queue
    from zeke_queue.task.catalog import Catalog

    _hush_driver()
    async with Queue.connect(catalog or Catalog(), settings=options.on_database()) as queue:
        yield queue


@asynccontextmanager
async def open_read_only(options: Options) -> AsyncGenerator[Queue]:
    """Open a queue for reading only; its role needs only the right to read the tables."""
    from zeke_queue.client.queue import Queue
    from zeke_queue.storage.postgres import PostgresStorage, migrate
    from zeke_queue.task.catalog import Catalog

    _hush_driver()
    settings = options.on_database()
    url = settings.require_database()
    await migrate.check(url, settings.jobs_schema, reading=True)
    async with PostgresStorage.open(
        url,
        schema=settings.jobs_schema,
        listen=False,
        prepare=settings.jobs_prepare,
        read_seconds=settings.jobs_read_timeout,
    ) as storage:
        yield Queue(Catalog(), storage, settings=settings)


def _hush_driver() -> None:
    """Silence the driver's warnings about connections broken by an interrupt; the error says the same."""
    logging.getLogger("psycopg").addHandler(logging.NullHandler())


def parse_id(text: str, option: str = "ID") -> UUID:
    """Return a job id given as an option or an argument.

    Raises:
        InvalidOptionError: it is not a UUID.
    """
    try:
        return UUID(text)
    except ValueError:
        raise InvalidOptionError(
            f"{option}: must be a job's id, got {text!r}; ids are UUIDs like"
            " 01938c5e-7a3b-7c4d-9e2f-0123456789ab (`zeke jobs` lists them)"
        ) from None


def parse_json(text: str | None, name: str) -> Any:
    """Return a JSON value given on the command line, or from standard input if it is ``-``.

    Raises:
        InvalidOptionError: it is not JSON, or nested too deeply for Python.
    """
    if text is None:
        return None
    json_text: str = text
    advice = """quote it for the shell, as in '{"itemId": "123"}'"""
    if text == "-":
        name, advice = f"{name} on standard input", 'write a JSON value, as {"itemId": "123"}'
        json_text = sys.stdin.read()
    if not json_text.strip():
        raise InvalidOptionError(f"{name} is empty; {advice}")
    try:
        return json.loads(json_text)
    except ValueError as error:
        raise InvalidOptionError(f"{name} is not valid JSON: {error}; {advice}") from None
    except RecursionError:
        raise InvalidOptionError(f"{name} is nested too deeply; flatten it") from None


def print_error(error: ZekeError, options: Options, **more: Any) -> None:
    """Print an error on standard error, so that standard output stays clean.

    Args:
        options: the output format, and the option that named the database.
        **more: further fields for programs.
    """
    if isinstance(error, PayloadValidationError):
        more["fields"] = [field._asdict() for field in error.fields]
    if isinstance(error, JobConflictError) and error.holder is not None:
        more["holder"] = error.holder
    if isinstance(error, JobFailedError):
        more |= {"status": error.job.status, "output": output_of(error.job)}
    message = str(error)
    if options.database is not None and isinstance(error, SettingsError | StorageUnavailableError):
        # A user of the option may not know the variable that it replaces.
        message = message.replace("DATABASE_PRIMARY_URL", "--database")
    print_problem(type(error).__name__, message, options, **more)


def print_problem(kind: str, message: str, options: Options, **more: Any) -> None:
    """Print an error on standard error: its message, or with --json all of it in a line."""
    if options.json:
        echo(json_text({"error": kind, "message": message, **more}), err=True)
    else:
        # Parts of it may come from a handler, and a terminal would interpret control characters.
        text = "\n".join(harmless(line) for line in message.splitlines())
        echo(f"zeke: {text}", err=True, fg="red")


def execute(command: Coroutine[Any, Any, int | None]) -> None:
    """Run a command's coroutine; a result other than 0 or None becomes the exit code."""
    code = asyncio.run(command)
    if code:
        raise typer.Exit(code)


def runs_async(command: Callable[P, Coroutine[Any, Any, int | None]]) -> Callable[P, None]:
    """Make a command of a coroutine function, as ``execute`` runs it."""

    @wraps(command)
    def run(*args: P.args, **options: P.kwargs) -> None:
        execute(command(*args, **options))

    return run
