"""``zeke ingest`` and ``zeke demo``, which join the ``zeke`` command by the entry points ``zeke.commands``.

What the tasks need is loaded when the command runs: every ``zeke`` command imports this module, also where
the extra ``tasks`` is not installed.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from zeke_queue.cli.render import print_json
from zeke_queue.cli.session import options_of
from zeke_queue.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

    from zeke_queue.config import Settings
    from zeke_tasks.report import Finding


def ingest(
    context: typer.Context,
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="Feeds and articles, in any order.")],
    *,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Use a private Postgres of your own; it is kept.")
    ] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Fetch from this machine too, for testing.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1.0, help="Wait for the result that long at most.")
    ] = 120.0,
) -> None:
    """Take in feeds and articles, and show the stories that were found."""
    from zeke_queue import log  # noqa: PLC0415 - see above

    with _extra():
        from zeke_tasks.ingest import command  # noqa: PLC0415
    command.check_urls(urls)
    # What goes wrong stands in the tables; the jobs' log lines would break into the progress display.
    log.configure_logging(level="critical")
    options = options_of(context)
    with ExitStack() as stack:
        settings = _on_embedded(options.settings(), stack) if embedded else _checked(options.settings())
        stack.enter_context(_extra())
        outcomes, found = asyncio.run(
            # Progress goes to standard error: with --json, standard output is for programs.
            command.ingest(
                urls, settings, allow_private=allow_private, timeout=timeout, console=Console(stderr=True)
            )
        )
    if options.json:
        print_json({"urls": [asdict(outcome) for outcome in outcomes], "items": [_plain(f) for f in found]})
    else:
        command.show(outcomes, found)
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


def demo(
    workers: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=16, help="Worker processes.")] = 2,
    gap: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="Time between two requests to the site.")
    ] = 0.1,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database up at the end.")] = False,
) -> None:
    """Start a private Postgres and a sample site, ingest it, and show what came of it."""
    with _extra():
        from zeke_tasks.demo.run import main  # noqa: PLC0415 - see above

    raise typer.Exit(main(workers, gap, keep=keep))


@contextmanager
def _extra() -> Generator[None]:
    """Say what to install if an import fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name!r} is missing: install the extras, as in pip install 'zeke-queue[tasks,embedded]'."
        ) from error
    except ImportError as error:
        # The library is there, and something that it needs is not.
        raise UsageError(
            f"A library can't be imported: {' '.join(str(error).split())}."
            " Install the extras again, as in pip install --upgrade 'zeke-queue[tasks,embedded]'."
        ) from error


def _on_embedded(settings: Settings, stack: ExitStack) -> Settings:
    """Start the user's private Postgres for the time of the command, and bring its tables up to date."""
    from zeke_queue.storage import postgres  # noqa: PLC0415 - see above
    from zeke_queue.storage.embedded import EmbeddedPostgres  # noqa: PLC0415
    from zeke_tasks.store.postgres import migrate  # noqa: PLC0415

    server = stack.enter_context(EmbeddedPostgres.start())
    postgres.migrate.migrate(server.dsn, settings.jobs_schema)
    migrate.migrate(server.dsn)
    return settings.on_database(server.dsn)


def _checked(settings: Settings) -> Settings:
    """See that the domain's tables are there; the queue's are checked when it opens."""
    from zeke_tasks.store.postgres import migrate  # noqa: PLC0415 - see above

    asyncio.run(migrate.check(settings.require_database()))
    return settings


def _plain(finding: Finding) -> dict[str, Any]:
    story = finding.story
    return {
        "id": finding.item.id,
        "source": finding.source.name,
        "title": story.title if story else finding.item.title,
        "url": finding.item.url,
        "publishedAt": story.published_at if story else finding.item.published_at,
        "status": finding.item.status,
        "error": None if story else finding.outcome,
        "storyId": story.id if story else None,
    }
