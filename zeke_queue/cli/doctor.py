"""``zeke doctor``: checks the database and whether work is done. Exit code 1 if there is a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer
from rich.text import Text

from zeke_queue.cli.render import console, paragraph, print_json
from zeke_queue.cli.session import options_of, runs_async
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import ReadTimeoutError, SettingsError, StorageUnavailableError

if TYPE_CHECKING:
    from zeke_queue.cli.checks import Finding, Pools, Survey
    from zeke_queue.system.settings import Settings

_ABOUT_WIDTH: Final = 9


@runs_async
async def doctor(context: typer.Context) -> int:
    """Check the database, workers, queues and schedules, and print remedies for problems."""
    options = options_of(context)
    settings = options.on_database()
    from zeke_queue.cli.checks import Finding, Grade, examine
    from zeke_queue.cli.database import inspect

    found, fit = await inspect(settings.require_database(), settings.jobs_schema)
    if fit:
        try:
            found += examine(await take_survey(settings, embedded=options.embedded))
        except StorageUnavailableError as error:
            found.append(
                Finding(Grade.PROBLEM, "database", f"could not read everything: {error}", "run it again")
            )
    if options.json:
        print_json({"fit": fit, "findings": found})
    else:
        _print(found)
    return 1 if any(finding.grade is Grade.PROBLEM for finding in found) else 0


async def take_survey(settings: Settings, *, embedded: bool = False) -> Survey:
    """Read the data for the checks from the database; change nothing.

    Args:
        settings: settings with the database.
        embedded: whether it is the user's private Postgres.
    """
    from zeke_queue.cli.checks import Survey
    from zeke_queue.client.queue import Queue
    from zeke_queue.storage.postgres.server_info import read_pgboss, read_server_info
    from zeke_queue.task.catalog import Catalog

    dsn = settings.require_database()
    pgboss = await read_pgboss(dsn, settings.jobs_schema)
    info = await read_server_info(dsn, settings.jobs_schema)
    async with Queue.connect(Catalog(), settings=settings) as queue:
        storage = parts_of(queue).storage
        async with storage.transaction(own=True) as transaction:
            overdue = await transaction.lock_expired(1000)
        pools, invalid = (None, None) if info.pooler else _pools(settings, info.admitted)
        try:
            counts, uncounted = {one.name: one.row_counts for one in await storage.queue_stats()}, None
        except ReadTimeoutError as error:
            counts, uncounted = {}, str(error)
        return Survey(
            now=await storage.now(),
            workers=await storage.workers(),
            queues=await storage.queues(),
            counts=counts,
            uncounted=uncounted,
            schedules=await storage.schedules(),
            overdue=overdue,
            pgboss=pgboss,
            embedded=embedded,
            pools=pools,
            invalid=invalid,
        )


def _pools(settings: Settings, admitted: int) -> tuple[Pools, str | None]:
    """Return how many connections processes may open, and what is wrong in the settings of the API."""
    from zeke_queue.cli.checks import Pools

    api, invalid = 0, None
    try:
        from zeke_queue.web.settings import WebSettings

        api = (WebSettings.load().api_pool_max or settings.jobs_pool_max) + settings.jobs_listen
    except ModuleNotFoundError:
        pass  # without the extra, no API
    except SettingsError as error:
        invalid = str(error)
    # A worker has another one for its heartbeats.
    return Pools(settings.jobs_pool_max + settings.jobs_listen + 1, api, admitted), invalid


def _print(found: list[Finding]) -> None:
    from zeke_queue.cli.checks import Grade

    signs = {Grade.OK: ("✓", "green"), Grade.WARNING: ("!", "yellow"), Grade.PROBLEM: ("✗", "red")}
    out = console()
    indent = " " * (2 + _ABOUT_WIDTH + 2)
    for finding in found:
        sign, colour = signs[finding.grade]
        head = f"{sign} {finding.about:<{_ABOUT_WIDTH}}  "
        for number, line in enumerate(paragraph(finding.found, head, indent, out.width)):
            text = Text(line)
            if number == 0:
                text.stylize(colour, 0, 1)
                text.stylize("bold", 2, 2 + len(finding.about))
            out.print(text)
        if finding.advice:
            for line in paragraph(finding.advice, f"{indent}→ ", f"{indent}  ", out.width):
                out.print(Text(line, style="bright_black"))
    out.print(Text(_summary(found), style="bold"))


def _summary(found: list[Finding]) -> str:
    from zeke_queue.cli.checks import Grade

    problems = sum(finding.grade is Grade.PROBLEM for finding in found)
    warnings = sum(finding.grade is Grade.WARNING for finding in found)
    if not problems and not warnings:
        return "No problems found."
    counted = ((problems, "problem"), (warnings, "warning"))
    return (
        ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in counted if number) + "."
    )
