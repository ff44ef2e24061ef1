"""``zeke ingest URL…`` and ``zeke upload FILE…``: ingest a user's URLs and files, and show their stories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zeke_queue.cli.render import echo, print_json
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import ENDED, JobStatus
from zeke_tasks.cli.hints import worker_continues
from zeke_tasks.cli.session import extras, on_database, progress_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.cli.session import Options
    from zeke_queue.model import Job
    from zeke_queue.system.settings import Settings
    from zeke_tasks.cli.report import Finding, Outcome
    from zeke_tasks.store.analysis import Spending
    from zeke_tasks.stories.view import StoryView

TimeoutOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=1.0, help="Wait at most this long for the result.")
]


def ingest(
    context: typer.Context,
    urls: Annotated[
        list[str], typer.Argument(metavar="URL", help="URLs of feeds, articles and YouTube videos.")
    ],
    *,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="For tests: allow URLs whose servers are on this machine."),
    ] = False,
    timeout: TimeoutOption = 120.0,
) -> None:
    """Ingest feeds, articles and videos, and show a summary of each story found."""
    with extras():
        from zeke_tasks.cli import run_ingest as ingestion  # noqa: PLC0415 - see the package
    ingestion.check_urls(urls)

    async def command(options: Options, settings: Settings) -> int:
        came = await ingestion.ingest(
            urls, settings, allow_private=allow_private, timeout=timeout, console=progress_console()
        )
        if options.json:
            outcomes = [asdict(outcome) for outcome in came.outcomes]
            items = _items_value(came.found, came.stories)
            print_json({"urls": outcomes, "items": items, "failedJobs": _failed_value(came.jobs)})
        else:
            _show(came.found, came.stories, came.spent)
            # The outcome of an article is shown with its URL.
            from_feeds = [finding for finding in came.found if finding.source.type == "rss"]
            told = [job for job in came.jobs if job.name not in ("ingest-source", "fetch-content")]
            _show_tables(from_feeds, told, came.outcomes, embedded=options.embedded)
            _show_left(came.jobs, timeout, embedded=options.embedded)
        return 0 if came.is_complete else 1

    on_database(context, command)


def upload(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Text, Markdown, HTML or PDF, or items as JSON or JSONL.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    *,
    source: Annotated[
        str, typer.Option(metavar="NAME", help="The source of the items; it is created if it does not exist.")
    ] = "Uploads",
    timeout: TimeoutOption = 120.0,
) -> None:
    """Ingest your own files, and show a summary of each story found.

    An item of a JSON file has externalId, and text or url, and may have title and metadata.
    """
    if not source.strip():
        raise InvalidOptionError("--source: must not be empty; pass a name, or omit the option")

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.cli.run_upload import upload as take_in  # noqa: PLC0415 - see the package

        came = await take_in(
            files, settings, source_name=source.strip(), timeout=timeout, console=progress_console()
        )
        if options.json:
            about = {"id": came.source.id, "name": came.source.name}
            items = _items_value(came.found, came.stories)
            print_json({"source": about, "items": items, "failedJobs": _failed_value(came.jobs)})
        else:
            _show(came.found, came.stories, came.spent)
            _show_tables(came.found, came.jobs, embedded=options.embedded)
            _show_left(came.jobs, timeout, embedded=options.embedded)
        return 0 if came.is_complete else 1

    on_database(context, command)


def _show(found: Sequence[Finding], stories: Sequence[StoryView], spent: Sequence[Spending]) -> None:
    """Print stories, and what analysed them."""
    from zeke_tasks.cli.output import print_models_and_cost, print_stories  # noqa: PLC0415
    from zeke_tasks.cli.report import carriers, wide_console  # noqa: PLC0415 - see the package

    if stories:
        out = wide_console()
        print_stories(out, stories, carriers(found))
        out.print()
        print_models_and_cost(out, stories, spent)
        out.print()


def _show_tables(
    found: Sequence[Finding], lost: Sequence[Job], outcomes: Sequence[Outcome] = (), *, embedded: bool
) -> None:
    """Print the unread items, the failed jobs, and the outcomes of URLs."""
    from zeke_tasks.cli.report import (  # noqa: PLC0415 - see the package
        failed_jobs_table,
        failures_table,
        urls_table,
        wide_console,
    )

    failed = failed_jobs_table(lost, embedded=embedded)
    for table in (failures_table(found), failed, urls_table(outcomes) if outcomes else None):
        if table is not None:
            wide_console().print(table)


def _show_left(jobs: Sequence[Job], timeout: float, *, embedded: bool) -> None:
    """Print how many jobs did not end in time, if any, and how to continue them."""
    left = sum(job.status not in ENDED for job in jobs)
    if left:
        which = "1 job" if left == 1 else f"{left} jobs"
        goes_on = worker_continues(embedded=embedded)
        echo(f"{which} did not end within {timeout:g} s. {goes_on}; or set a longer --timeout.")


def _failed_value(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return the jobs that failed or were cancelled for JSON output, each with its error."""
    from zeke_tasks.cli.report import why_it_failed  # noqa: PLC0415 - see the package

    failed = [job for job in jobs if job.status in ENDED - {JobStatus.COMPLETED}]
    return [{"id": job.id, "task": job.name, "error": why_it_failed(job)} for job in failed]


def _items_value(found: Sequence[Finding], stories: Sequence[StoryView]) -> list[dict[str, Any]]:
    """Return items for JSON output, each with the brief of its story."""
    from zeke_tasks.stories.view import brief_value  # noqa: PLC0415 - see the package

    briefs = {seen.story.id: brief_value(seen) for seen in stories}

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

    return [item(finding) for finding in found]
