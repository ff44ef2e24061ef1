"""``zeke migrate``: create or update the tables, or print the SQL that creates them."""

from __future__ import annotations

from typing import Annotated

import typer

from zeke_queue.cli.migrations import check_grant, grant_all, migrate_all, others
from zeke_queue.cli.render import echo, print_json
from zeke_queue.cli.session import options_of
from zeke_queue.errors import UsageError


def migrate(
    context: typer.Context,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL that creates the tables, and change nothing.")
    ] = False,
    grant: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE",
            help="After migrating, grant this role the rights that workers and the API need.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Create or update the tables; safe to run repeatedly and concurrently."""
    from zeke_queue.storage.postgres import migrate as own

    options = options_of(context)
    settings = options.settings()
    if sql and grant is not None:
        raise UsageError("--grant: must be left out with --sql, which changes nothing; run it without --sql")
    if sql:
        texts = {settings.jobs_schema: own.sql(settings.jobs_schema)}
        texts |= {name: other.sql() for name, other in others().items()}
        if options.json:
            print_json(texts)
        else:
            echo("\n".join(texts.values()))
        return
    settings = options.on_database(settings, migrated=False)
    if grant is not None:
        check_grant(settings.require_database(), grant)
    applied = migrate_all(settings.require_database(), settings.jobs_schema)
    if grant is not None:
        grant_all(settings.require_database(), settings.jobs_schema, grant)
    if options.json:
        print_json(applied)
        return
    for schema, names in applied.items():
        # Not "zeke: …" for the schema of that name, since errors begin like that.
        echo(f"schema {schema}: " + (f"applied {', '.join(names)}" if names else "up to date"))
