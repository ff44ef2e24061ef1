"""The application of the command line: its commands, shared options and error output.

Other distributions add commands by the entry-point group ``zeke.commands``: an entry point has the name of
its command, and is a function for one command, or a ``typer.Typer`` for a group. The hint for a command that
can't be loaded names the extras of its entry point, as in ``shop.cli:shop [web]``.
"""

from __future__ import annotations

import errno
import inspect
import io
import os
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape
from typer.core import TyperGroup

from zeke_queue.cli import doctor, import_pgboss, jobs, keys, migrate, queues, schedules, serve, work
from zeke_queue.cli.render import echo
from zeke_queue.cli.session import Options, options_of, print_error
from zeke_queue.errors import SettingsError, UsageError, ZekeError
from zeke_queue.system.install_hints import install

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from importlib.metadata import EntryPoint

FAILED: Final = 1
WRONG: Final = 2

SHARED: Final = "--database, --embedded, --schema and --json are accepted here too: see zeke --help."

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_ANYWHERE: Final = {"--json": False, "--embedded": False, "--database": True, "--schema": True}
"""The shared options, and whether each takes a value."""


class Commands(TyperGroup):
    """The group of all commands: prints expected errors in one line, and accepts shared options anywhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with the shared options moved before the command's name."""
        _bare_flags(self, ctx)
        shared, rest = parted(args)
        # Also print errors of an invalid call as requested; the parsed options replace this object.
        ctx.obj = Options(json="--json" in shared)
        with _usage_errors_as_json(ctx):
            return super().parse_args(ctx, shared + rest)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the help: each list, then the group for one of its items."""
        names = super().list_commands(ctx)
        alone = [name for name in names if f"{name}s" not in names]
        return [
            each for name in alone for each in dict.fromkeys((name, name.removesuffix("s"))) if each in names
        ]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an expected failure prints one line without a traceback."""
        with _usage_errors_as_json(ctx):
            return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        with _failures_in_one_line(ctx):
            try:
                # Print the command's own error before errors of its cleanup.
                with _failures_in_one_line(ctx):
                    done = super().invoke(ctx)
                    # Flush here, where the error of a closed pipe can still be handled.
                    sys.stdout.flush()
            finally:
                options_of(ctx).until_it_ends.close()
        return done


@contextmanager
def _failures_in_one_line(ctx: Any) -> Generator[None]:
    """Print an expected failure in one line, and exit with its code."""
    try:
        yield
    except ZekeError as error:
        print_error(error, options_of(ctx))
        raise typer.Exit(WRONG if isinstance(error, UsageError) else FAILED) from error
    except Exception as error:
        known = _driver_error(error) or _output_error(error)
        if known is None:
            raise
        print_error(known, options_of(ctx))
        raise typer.Exit(WRONG if isinstance(known, UsageError) else FAILED) from error


def parted(args: list[str]) -> tuple[list[str], list[str]]:
    """Separate the shared options from the rest, so that they may precede or follow the command's name.

    If an option lacks its value the rest is empty, since its first word would be read as the value.
    """
    front: list[str] = []
    rest = list(args)
    place = 0
    while place < len(rest) and rest[place] != "--":
        name, equals, _ = rest[place].partition("=")
        if name not in _ANYWHERE or (equals and not _ANYWHERE[name]):
            place += 1
            continue
        length = 2 if _ANYWHERE[name] and not equals else 1
        if place + length > len(rest):
            return [*front, name], []
        front += rest[place : place + length]
        del rest[place : place + length]
    return front, rest


@contextmanager
def _usage_errors_as_json(ctx: Any) -> Generator[None]:
    """Print a usage error as a line of JSON with ``--json``, else as typer does."""
    try:
        yield
    except Exception as error:
        # The name and module of typer's exception vary between its versions.
        message: Any = getattr(error, "format_message", None)
        if message is None or not options_of(ctx).json:
            raise
        print_error(UsageError(message() or "Missing command"), options_of(ctx))
        raise typer.Exit(WRONG) from error


def _bare_flags(command: Any, ctx: Any) -> None:
    """Remove ``<bool>`` from the help of flags of a command and those below it."""
    for option in (*command.params, command.get_help_option(ctx)):
        if getattr(option, "is_flag", False):
            option.metavar = ""
    for below in getattr(command, "commands", {}).values():
        _bare_flags(below, ctx)


def _driver_error(error: Exception) -> ZekeError | None:
    """Return the error of the database's driver; None if another part raised, which is a bug."""
    psycopg: Any = sys.modules.get("psycopg")
    if psycopg is None or not isinstance(error, psycopg.Error):
        return None
    message = str(error).strip().partition("\n")[0]
    if isinstance(error, psycopg.ProgrammingError) and getattr(error, "sqlstate", None) is None:
        return SettingsError(
            f"DATABASE_PRIMARY_URL: must be a DSN, got an error: {message}. Write postgresql://user@host:5432/name"
        )
    return ZekeError(f"The database refused the statement: {message}. Run `zeke doctor`")


def _output_error(error: Exception) -> ZekeError | None:
    """Return the error of writing the output; None if it is of another kind."""
    if not isinstance(error, OSError) or error.errno not in _NO_ROOM:
        return None
    # The buffered rest would be written again at exit, and fail again.
    with suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ZekeError(f"The output can't be written: {error.strerror}. Free some space, or write elsewhere")


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            echo(f"zeke {version('zeke-queue')}")
        except PackageNotFoundError:
            echo("zeke, run from its source without being installed")
        raise typer.Exit


app = typer.Typer(
    name="zeke",
    cls=Commands,
    help=(
        "Background jobs in Postgres: run workers, send jobs, and inspect them.\n\n"
        "--database, --embedded, --schema and --json may also follow the command."
    ),
    epilog="Exit codes: 0 success, 1 failure, 2 invalid usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("worker")(work.worker)
app.command("api")(serve.api)
app.command("up")(serve.up)
app.command("migrate")(migrate.migrate)
app.command("import-pgboss")(import_pgboss.import_pgboss)
app.command("send")(jobs.send)
app.command("jobs")(jobs.list_jobs)
app.add_typer(jobs.job_app, name="job")
app.command("queues")(queues.list_queues)
app.add_typer(queues.queue_app, name="queue")
app.command("schedules")(schedules.list_schedules)
app.add_typer(schedules.schedule_app, name="schedule")
app.add_typer(keys.keys_app, name="keys")
app.command("doctor")(doctor.doctor)


@app.callback()
def options(
    context: typer.Context,
    database: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="Postgres DSN; overrides DATABASE_PRIMARY_URL.", show_default=False),
    ] = None,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded", help="For development: use a private Postgres of this user; its data is kept."
        ),
    ] = False,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Schema of the tables; overrides JOBS_SCHEMA (pgboss).", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Store the shared options for the command."""
    context.obj = Options(database, schema, json, embedded)


def add_commands(to: typer.Typer, points: Iterable[EntryPoint]) -> None:
    """Add the commands of other distributions; one that can't be loaded becomes a command that prints why."""
    for point in points:
        try:
            command: Any = point.load()
        except Exception as error:  # noqa: BLE001 - importing a foreign module can raise anything
            _add_unavailable(to, point, error)
            continue
        if isinstance(command, typer.Typer):
            to.add_typer(command, name=point.name)
        else:
            to.command(point.name)(command)
    _add_shared_options(to)


def _add_unavailable(to: typer.Typer, point: EntryPoint, error: Exception) -> None:
    """Add a command whose help and error name the cause and the remedy."""
    cause = " ".join(str(error).split()) or type(error).__name__
    remedy = install(*point.extras) if point.extras else f"install what {point.module} needs"

    def unavailable() -> None:
        raise UsageError(f"{point.name}: {cause}; {remedy}")

    # Arguments for the missing command must not be reported as errors.
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    to.command(point.name, help=escape(f"Unavailable: {cause}; {remedy}."), context_settings=anything)(
        unavailable
    )


def _add_shared_options(to: typer.Typer) -> None:
    """Add the shared options to the help of each command that reads them from the context."""
    for command in to.registered_commands:
        taken = inspect.get_annotations(command.callback).values() if command.callback else ()
        if any(one in (typer.Context, "typer.Context") for one in taken):
            command.epilog = SHARED
    for group in to.registered_groups:
        if group.typer_instance is not None:
            _add_shared_options(group.typer_instance)


_add_shared_options(app)


def run() -> None:
    """Run the command line."""
    add_commands(app, entry_points(group="zeke.commands"))
    app(prog_name="zeke")
