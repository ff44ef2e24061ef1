"""``zeke migrate``: make or update the tables, or print the SQL that would.

Distributions with tables of their own join by the entry-point group ``zeke.migrations``, whose objects are
modules with ``migrate(dsn) -> list[str]`` and ``sql() -> str``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated

import typer

from zeke_queue.cli.render import print_json
from zeke_queue.cli.session import options_of


def migrate(
    context: typer.Context,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL and change nothing.")] = False,
) -> None:
    """Make the tables, or bring them up to date. Safe to run from many processes at once, and again."""
    from zeke_queue.storage.postgres import migrate as queue  # noqa: PLC0415 - the driver loads when it is needed

    options = options_of(context)
    others = {point.name: point.load() for point in entry_points(group="zeke.migrations")}
    settings = options.settings()
    if sql:
        typer.echo(queue.sql(settings.jobs_schema))
        for other in others.values():
            typer.echo(other.sql())
        return
    dsn = settings.require_database()
    applied = {settings.jobs_schema: list(queue.migrate(dsn, settings.jobs_schema))}
    for name, other in others.items():
        applied[name] = list(other.migrate(dsn))
    if options.json:
        print_json(applied)
        return
    for schema, names in applied.items():
        typer.echo(f"{schema}: " + (f"applied {', '.join(names)}" if names else "already up to date"))
