"""The commands put together, the options they share, and what an error looks like.

Other distributions add commands by the entry-point group ``zeke.commands``: an entry point has the name
of its command, and is a ``typer.Typer``.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from zeke_queue.cli import doctor, jobs, migrate, queues, work
from zeke_queue.cli.session import Options
from zeke_queue.errors import UsageError, ZekeError

app = typer.Typer(
    name="zeke",
    help="Background jobs in Postgres: run workers, send jobs, and look at them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("worker")(work.worker)
app.command("migrate")(migrate.migrate)
app.command("send")(jobs.send)
app.command("jobs")(jobs.list_jobs)
app.add_typer(jobs.job_app, name="job")
app.command("queues")(queues.list_queues)
app.add_typer(queues.queue_app, name="queue")
app.command("schedules")(queues.list_schedules)
app.command("doctor")(doctor.doctor)


@app.callback()
def options(
    context: typer.Context,
    database: Annotated[
        str | None,
        typer.Option(
            "--database", metavar="DSN", help="Instead of DATABASE_PRIMARY_URL.", show_default=False
        ),
    ] = None,
    schema: Annotated[
        str | None, typer.Option("--schema", help="Instead of JOBS_SCHEMA (pgboss).", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Background jobs in Postgres."""
    context.obj = Options(database=database, schema=schema, json=json)


def run() -> None:
    """Run the command line and turn our errors into a line and an exit code."""
    for point in entry_points(group="zeke.commands"):
        app.add_typer(point.load(), name=point.name)
    try:
        app()
    except UsageError as error:
        typer.secho(f"zeke: {error}", err=True, fg="red")
        sys.exit(2)
    except ZekeError as error:
        typer.secho(f"zeke: {error}", err=True, fg="red")
        sys.exit(1)
