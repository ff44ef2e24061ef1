"""``zeke ingest URL…`` and ``zeke upload FILE…``: take in what a user has, and show the stories it tells."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zeke_queue.cli.render import print_json
from zeke_tasks.cli.session import EmbeddedOption, extras, on_database, progress_console

if TYPE_CHECKING:
    from zeke_queue.cli.session import Options
    from zeke_queue.config import Settings
    from zeke_tasks.ingest.command import Ingested
    from zeke_tasks.report import Finding

TimeoutOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=1.0, help="Wait for the result that long at most.")
]


def ingest(
    context: typer.Context,
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="Feeds and articles, in any order.")],
    *,
    embedded: EmbeddedOption = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Fetch from this machine too, for testing.")
    ] = False,
    timeout: TimeoutOption = 120.0,
) -> None:
    """Take in feeds and articles, and show the stories that were found, in few words each."""
    with extras():
        from zeke_tasks.ingest import command as intake  # noqa: PLC0415 - see the package
    intake.check_urls(urls)

    async def command(options: Options, settings: Settings) -> int:
        came = await intake.ingest(
            urls, settings, allow_private=allow_private, timeout=timeout, console=progress_console()
        )
        if options.json:
            print_json(_value(came))
        else:
            _show(came)
        return 1 if any(outcome.error for outcome in came.outcomes) else 0

    on_database(context, command, embedded=embedded)


def _show(came: Ingested) -> None:
    """Print what was found, for people."""
    from zeke_tasks.report import (  # noqa: PLC0415 - see the package
        carriers,
        failed_jobs_table,
        failures_table,
        urls_table,
        wide_console,
    )
    from zeke_tasks.store.model import SourceType  # noqa: PLC0415
    from zeke_tasks.telling import tell_stories, tell_who_said_it  # noqa: PLC0415

    out = wide_console()
    if came.stories:
        tell_stories(out, came.stories, carriers(came.found))
        out.print()
        tell_who_said_it(out, came.stories, came.spent)
        out.print()
    from_feeds = [finding for finding in came.found if finding.source.type is SourceType.RSS]
    told = [job for job in came.jobs if job.name not in ("ingest-source", "fetch-content")]
    for table in (failures_table(from_feeds), failed_jobs_table(told), urls_table(came.outcomes)):
        if table is not None:
            out.print(table)


def _value(came: Ingested) -> dict[str, Any]:
    from zeke_tasks.stories.view import brief_value  # noqa: PLC0415 - see the package

    briefs = {seen.story.id: brief_value(seen) for seen in came.stories}

    def item(finding: Finding) -> dict[str, Any]:
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
            "brief": briefs.get(story.id) if story else None,
        }

    return {
        "urls": [asdict(outcome) for outcome in came.outcomes],
        "items": [item(finding) for finding in came.found],
    }
