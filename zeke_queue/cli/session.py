"""What every command needs: the shared options, the catalog by its import path, and an open queue."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from zeke_queue.catalog import Catalog
from zeke_queue.config import Settings
from zeke_queue.errors import BadOption, UsageError
from zeke_queue.queue import Queue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine


AppOption = Annotated[
    str | None,
    typer.Option(
        "--app", metavar="MODULE:CATALOG", envvar="ZEKE_APP", help="Where the tasks are.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the command's name."""

    database: str | None = None
    schema: str | None = None
    json: bool = False

    def settings(self, **more: Any) -> Settings:
        """Return the environment's settings with these options over them, and ``more`` by field."""
        given: dict[str, Any] = {
            "database_primary_url": self.database,
            "jobs_schema": self.schema,
            **more,
        }
        return Settings.load(**{name: value for name, value in given.items() if value is not None})


def options_of(context: typer.Context) -> Options:
    """Return the options that were given before the command's name."""
    return context.ensure_object(Options)


def load_catalog(path: str) -> Catalog:
    """Import a catalog by ``module:attribute``, with the current directory importable, as uvicorn does.

    Raises:
        UsageError: the path has another form, the module can't be found, or the attribute is no catalog.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(
            f"--app {path!r} is not of the form module:catalog, for instance myproject.tasks:catalog."
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the catalog's own module misses is another fault than a misspelt --app.
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UsageError(
                f"--app {path!r}: there is no module {error.name!r} in {here} or on sys.path."
            ) from error
        raise
    catalog = getattr(module, attribute, None)
    if not isinstance(catalog, Catalog):
        found = "nothing" if catalog is None else f"a {type(catalog).__name__}"
        raise UsageError(
            f"--app {path!r}: {attribute!r} in {module_name} is {found}, not a zeke_queue.Catalog."
        )
    return catalog


@asynccontextmanager
async def open_queue(options: Options, app: str | None = None) -> AsyncGenerator[Queue]:
    """Open a queue as the options say; without ``app`` its catalog is empty."""
    catalog = load_catalog(app) if app else Catalog()
    async with Queue.connect(catalog, settings=options.settings()) as queue:
        yield queue


def parse_id(text: str) -> UUID:
    """Read a job id.

    Raises:
        BadOption: it is no UUID.
    """
    try:
        return UUID(text)
    except ValueError:
        raise BadOption(
            f"{text!r} is no job id; ids are UUIDs like 01938c5e-7a3b-7c4d-9e2f-0123456789ab"
            " (`zeke jobs` lists them)."
        ) from None


def parse_json(text: str | None, name: str) -> Any:
    """Read a JSON value given on the command line, or from standard input if it is ``-``.

    Raises:
        BadOption: it is no JSON.
    """
    if text is None:
        return None
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise BadOption(
            f'{name} is no JSON: {error}. Quote it for the shell, as in \'{{"itemId": "…"}}\'.'
        ) from None


def execute(command: Coroutine[Any, Any, int]) -> None:
    """Run a command's coroutine; what it returns other than 0 becomes the exit code."""
    code = asyncio.run(command)
    if code:
        raise typer.Exit(code)
