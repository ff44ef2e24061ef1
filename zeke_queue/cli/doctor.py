"""``zeke doctor``: is the database fit, and is the work being done? Exit code 1 if there is a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer
from rich.text import Text

from zeke_queue.cli.checks import Finding, Grade, Survey, examine
from zeke_queue.cli.render import console, print_json
from zeke_queue.cli.session import execute, open_queue, options_of

if TYPE_CHECKING:
    from zeke_queue.queue import Queue

_SIGNS: Final = {Grade.OK: ("✓", "green"), Grade.WARNING: ("!", "yellow"), Grade.PROBLEM: ("✗", "red")}


def doctor(context: typer.Context) -> None:
    """Check the database, workers, queues and schedules, and say what to do about what is wrong."""
    options = options_of(context)

    async def command() -> int:
        async with open_queue(options) as queue:
            facts = await queue.storage.facts()
            survey = await take_survey(queue)
        found = [Finding(Grade.OK, "database", facts), *examine(survey)]
        if options.json:
            print_json({"at": survey.now, "findings": found})
        else:
            for finding in found:
                _print(finding)
        return 1 if any(finding.grade is Grade.PROBLEM for finding in found) else 0

    execute(command())


async def take_survey(queue: Queue) -> Survey:
    """Ask the storage for what the checks want to know; changes nothing."""
    storage = queue.storage
    async with storage.transaction() as transaction:
        overdue = await transaction.overdue(1000)
    return Survey(
        now=await storage.now(),
        workers=await storage.workers(),
        queues=await storage.queues(),
        counts={count.name: count.states for count in await storage.count()},
        schedules=await storage.schedules(),
        overdue=overdue,
        foreign_cron_age=await storage.foreign_cron_age(),
    )


def _print(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.grade]
    out = console()
    out.print(Text.assemble((f"{sign} ", colour), (f"{finding.about:<10}", "bold"), finding.found))
    if finding.advice:
        out.print(Text(f"             → {finding.advice}", style="bright_black"))
