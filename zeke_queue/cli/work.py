"""``zeke worker``: run the tasks of a catalog, maintenance and schedules."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from zeke_queue.cli.session import AppOption, options_of
from zeke_queue.core.names import did_you_mean
from zeke_queue.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from zeke_queue.cli.session import Options
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.worker.worker import WorkerOptions


SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SETTING=VALUE", help="`--set JOBS_LEASE=30`: override a setting; may be repeated."
    ),
]


def worker(
    context: typer.Context,
    app: AppOption = None,
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", "-q", metavar="TASK", help="Serve only this task; may be repeated."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=0,
            help="Concurrent jobs; overrides JOBS_CONCURRENCY (10); 0 for maintenance and schedules alone.",
            show_default=False,
        ),
    ] = None,
    task_concurrency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=NUMBER",
            help=(  # with the name, which a narrow terminal cuts off
                "`--task-concurrency mail=2`: concurrent jobs of one task in this worker; may be repeated for"
                " other tasks."
            ),
        ),
    ] = None,
    set_variables: SetOption = None,
    maintenance: Annotated[
        bool, typer.Option(help="Run maintenance: rescue lost jobs, archive, purge.")
    ] = True,
    schedules: Annotated[bool, typer.Option(help="Serve cron schedules.")] = True,
    reload: Annotated[
        bool, typer.Option("--reload", help="For development: restart when Python files here change.")
    ] = False,
) -> None:
    """Run a catalog's tasks until SIGTERM or SIGINT; a second signal stops immediately."""
    variables = _override(set_variables or ())
    options = options_of(context)
    given: dict[str, Any] = {} if concurrency is None else {"jobs_concurrency": concurrency}
    limits = [_limit(text) for text in task_concurrency or ()]
    if reload:
        from zeke_queue.system import logging as log

        settings = options.settings(**given)
        if not options.embedded:
            settings.require_database()
        log.configure_logging(settings.log_format, settings.log_level)
        raise typer.Exit(_reloading())

    catalog, settings, _ = beginning(
        options,
        app,
        check=lambda catalog: _check(catalog, variables, [task for task, _ in limits], queue),
        **given,
    )
    asyncio.run(
        _work(
            catalog,
            settings,
            tasks=queue or None,
            task_concurrency=dict(limits),
            maintenance=maintenance,
            schedules=schedules,
        )
    )


class Beginning(NamedTuple):
    """The start of a command: its tasks, its settings, and whether its database is the private one."""

    catalog: Catalog
    settings: Settings
    embedded: bool


def beginning(
    options: Options,
    app: str | None,
    *,
    private: bool = False,
    check: Callable[[Catalog], None] | None = None,
    **given: Any,
) -> Beginning:
    """Load the catalog, configure logging, and find the database, as all long-running commands do.

    Args:
        private: whether to use the user's private Postgres if no database is named.
        check: checks the command line against the catalog, before a private Postgres is started.
        **given: settings from the command line.

    Raises:
        UsageError: there is no such catalog, or no database.
    """
    from zeke_queue.cli.catalog_loader import load_catalog
    from zeke_queue.system import logging as log

    settings = options.settings(**given)
    if private and settings.database_primary_url is None:
        options = replace(options, embedded=True)
    if not options.embedded:
        settings.require_database()
    catalog = load_catalog(app)
    if check is not None:
        check(catalog)
    log.configure_logging(settings.log_format, settings.log_level)
    on_it = _on_embedded(options, settings) if options.embedded else settings
    return Beginning(catalog, on_it, embedded=options.embedded)


def _reloading() -> int:
    """Run this command without ``--reload``, and restart it after each change."""
    from zeke_queue.worker.reload import serve_reloading

    arguments = [part for part in sys.argv[1:] if part != "--reload"]
    command = [sys.executable, "-m", "zeke_queue.cli", *arguments]
    return asyncio.run(serve_reloading(command, [Path.cwd()]))


def _on_embedded(options: Options, settings: Settings) -> Settings:
    """Start the user's private Postgres, and print its address."""
    from zeke_queue.system.logging import get_logger

    if settings.database_primary_url is not None:
        get_logger().warning("setting_ignored", setting="DATABASE_PRIMARY_URL", reason="--embedded")
    on_it = options.on_database(settings)
    # Print it at every start, since programs that access the database need it.
    get_logger().info("embedded_postgres", dsn=on_it.require_database(), hint="zeke jobs --embedded")
    return on_it


def _override(given: Sequence[str]) -> list[str]:
    """Set the variables of ``--set``; returns their names."""
    from zeke_queue.system.settings import set_variable

    variables = [text.partition("=") for text in given]
    for (name, equals, value), text in zip(variables, given, strict=True):
        if not name or not equals:
            raise UsageError(f"--set: must be of the form SETTING=VALUE, got {text!r}")
        set_variable(name, value)
    return [name for name, _, _ in variables]


def _limit(text: str) -> tuple[str, int]:
    task, _, number = text.rpartition("=")
    if not task or not number.isdecimal():
        raise UsageError(f"--task-concurrency: must be of the form TASK=NUMBER, got {text!r}")
    if int(number) < 1:
        raise UsageError(f"--task-concurrency: must be 1 or more for {task!r}, got {number}")
    return task, int(number)


def _check(
    catalog: Catalog, variables: Sequence[str], limited: Sequence[str], queues: Sequence[str] | None
) -> None:
    """Check that ``--set`` names settings, and ``--task-concurrency`` tasks that the worker serves, once."""
    from zeke_queue.system.settings import known_variables

    known = known_variables()
    for name in variables:
        if name not in known:
            hint = did_you_mean(name, known, "docs/settings.md lists them")
            raise UsageError(f"--set: must name a setting, got {name!r}; {hint}")
    served = [*catalog.tasks] if queues is None else [catalog.get(name).name for name in queues]
    seen: set[str] = set()
    for name in limited:
        try:
            task = catalog.get(name).name
        except UsageError as error:
            raise type(error)(f"--task-concurrency: {error}") from None
        if task in seen:
            raise UsageError(f"--task-concurrency: must name each task once, got {task!r} twice")
        if task not in served:
            raise UsageError(
                f"--task-concurrency: must name tasks that the worker serves, got {task!r}; add --queue"
                f" {task}, or leave it out"
            )
        seen.add(task)


async def _work(catalog: Catalog, settings: Settings, **options: Unpack[WorkerOptions]) -> None:
    from zeke_queue.client.queue import Queue
    from zeke_queue.worker.process_signals import run_worker

    async with Queue.connect(catalog, settings=settings) as queue:
        await run_worker(queue, **options)
