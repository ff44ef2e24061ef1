"""``zeke migrate``: create or update the tables, print what that would do, or check that pg-boss 9 works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zeke_queue.cli.migrations import check_grant, grant_all, migrate_all, others
from zeke_queue.cli.render import echo, print_json
from zeke_queue.cli.session import options_of
from zeke_queue.errors import UsageError

if TYPE_CHECKING:
    from zeke_queue.cli.session import Options


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
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the steps, their locks and an estimate, and change nothing.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check that a pg-boss 9 works on the tables, and change nothing.")
    ] = False,
) -> None:
    """Create or update the tables; safe to run repeatedly and concurrently."""
    options = options_of(context)
    settings = options.settings()
    given = [name for name, is_given in (("--sql", sql), ("--plan", plan), ("--check", check)) if is_given]
    if given and grant is not None:
        message = (
            f"--grant: must be left out with {given[0]}, which changes nothing; run it without {given[0]}"
        )
        raise UsageError(message)
    if len(given) > 1:
        raise UsageError(f"{given[1]}: must be left out with {given[0]}, got both; run one after the other")
    if sql:
        _print_sql(options, settings.jobs_schema)
        return
    settings = options.on_database(settings, migrated=False)
    if plan:
        _print_plan(options, settings.require_database(), settings.jobs_schema)
        return
    if check:
        _check(options, settings.require_database(), settings.jobs_schema)
        return
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


def _print_sql(options: Options, schema: str) -> None:
    from zeke_queue.storage.postgres import migrate as own

    texts = {schema: own.sql(schema)} | {name: other.sql() for name, other in others().items()}
    if options.json:
        print_json(texts)
    else:
        echo("\n".join(texts.values()))


def _print_plan(options: Options, dsn: str, schema: str) -> None:
    from zeke_queue.storage.postgres import migration_plan

    steps = migration_plan.plan(dsn, schema)
    if options.json:
        print_json({"steps": [step._asdict() for step in steps], "method": migration_plan.METHOD})
        return
    if not steps:
        echo(f"schema {schema}: up to date")
        return
    for step in steps:
        lock = f"{step.lock} on {', '.join(step.tables)}" if step.lock else "no lock for which others wait"
        size = f", {step.rows} rows, {step.size / 1e6:.0f} MB" if step.kind == "index" else ""
        echo(f"{step.number:04} {step.name}: {step.kind}; {lock}{size}; about {step.seconds:.1f} s")
    seconds = sum(step.seconds for step in steps)
    echo(f"schema {schema}: {len(steps)} steps, about {seconds:.0f} s. {migration_plan.METHOD}")
    for name in others():
        echo(f"schema {name}: migrated afterwards; locks no table of schema {schema}")


def _check(options: Options, dsn: str, schema: str) -> None:
    from zeke_queue.storage.postgres import pgboss_check

    pgboss_check.check_pgboss(dsn, schema)
    if options.json:
        print_json({"schema": schema, "pgboss9": True})
    else:
        echo(f"schema {schema}: pg-boss 9 starts and works on it")
