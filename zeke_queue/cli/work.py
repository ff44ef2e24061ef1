"""``zeke worker``: run the tasks of a catalog, with the supervisor and the scheduler beside it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from zeke_queue import log
from zeke_queue.catalog import Catalog
from zeke_queue.cli.session import AppOption, Options, load_catalog, options_of
from zeke_queue.config import Settings
from zeke_queue.errors import UsageError
from zeke_queue.queue import Queue
from zeke_queue.scheduler import Scheduler
from zeke_queue.supervisor import Supervisor
from zeke_queue.worker import Worker
from zeke_queue.worker.reload import serve_reloading
from zeke_queue.worker.stopping import run_until_signalled


def worker(
    context: typer.Context,
    app: AppOption = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Serve only this task; may be repeated.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Jobs at once; JOBS_CONCURRENCY (10) by default.", show_default=False)
    ] = None,
    supervisor: Annotated[
        bool, typer.Option(help="Also give back what dead workers held, archive and purge.")
    ] = True,
    scheduler: Annotated[bool, typer.Option(help="Also serve cron schedules.")] = True,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Use a private Postgres of this user, for development.")
    ] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when Python files here change, for development.")
    ] = False,
) -> None:
    """Run a catalog's tasks until SIGTERM or SIGINT; a second signal ends at once."""
    options = options_of(context)
    if app is None:
        raise UsageError("Which tasks? Name the catalog: --app module:catalog, or set ZEKE_APP.")
    if reload:
        command = [
            sys.executable,
            "-m",
            "zeke_queue.cli",
            *(part for part in sys.argv[1:] if part != "--reload"),
        ]
        raise typer.Exit(asyncio.run(serve_reloading(command, [Path.cwd()])))
    with ExitStack() as stack:
        settings = _settings(options, concurrency, stack, embedded=embedded)
        log.configure(settings.log_format, settings.log_level)
        asyncio.run(_work(load_catalog(app), settings, queue, supervisor=supervisor, scheduler=scheduler))


def _settings(options: Options, concurrency: int | None, stack: ExitStack, *, embedded: bool) -> Settings:
    given = {} if concurrency is None else {"jobs_concurrency": concurrency}
    settings = options.settings(**given)
    if not embedded:
        settings.require_database()
        return settings
    from zeke_queue.storage.embedded import EmbeddedPostgres  # noqa: PLC0415 - an extra, only where asked for
    from zeke_queue.storage.postgres import migrate  # noqa: PLC0415 - the driver loads when it is needed

    server = stack.enter_context(EmbeddedPostgres.start())
    migrate.migrate(server.dsn, settings.jobs_schema)
    return settings.on_database(server.dsn)


async def _work(
    catalog: Catalog, settings: Settings, names: list[str] | None, *, supervisor: bool, scheduler: bool
) -> None:
    async with Queue.connect(catalog, settings=settings) as queue:
        made = Worker(
            queue,
            concurrency=settings.jobs_concurrency,
            queues=names,
            poll=settings.jobs_poll,
            lease=settings.jobs_lease,
            beat=settings.jobs_beat,
            grace=settings.jobs_grace,
        )
        beside: list[Supervisor | Scheduler] = []
        if supervisor:
            beside.append(Supervisor(queue))
        if scheduler:
            beside.append(Scheduler(queue))
        await run_until_signalled(made, beside)
