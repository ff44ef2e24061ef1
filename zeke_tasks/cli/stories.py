"""``zeke stories``, ``zeke story ID``, ``zeke brief ID``: the stories, and their briefs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Column

from zeke_queue.cli.render import NOTHING, console, echo, print_json, print_table
from zeke_queue.cli.session import options_of
from zeke_queue.errors import ZekeError
from zeke_queue.system.install_hints import on_same
from zeke_tasks.cli.ids import Abbreviation
from zeke_tasks.cli.session import on_database, open_rows_read_only, progress_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.cli.session import Options
    from zeke_queue.system.settings import Settings
    from zeke_tasks.store.repository import Rows
    from zeke_tasks.stories.view import StoryView

LOOKED_AT: Final = 10_000
"""Number of newest stories that are searched for an abbreviated id."""

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The story's id, or its beginning; see `zeke stories`.")
]
TimeoutOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=1.0, help="Wait at most this long for the result.")
]


def list_stories(
    context: typer.Context,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="NUMBER", min=1, max=1000, help="Maximum number.")
    ] = 20,
) -> None:
    """List stories, the latest first."""

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.stories.view import story_value, views  # noqa: PLC0415 - see the package

        async with open_rows_read_only(settings) as rows:
            found = await views(rows, await rows.newest_stories(limit))
        if options.json:
            print_json([story_value(seen) for seen in found])
        elif not found:
            page, file = (
                on_same(each, embedded=options.embedded) for each in ("zeke ingest URL", "zeke upload FILE")
            )
            echo(f"No stories yet: `{page}` or `{file}` ingests some.")
        else:
            _print_list(found)
        return 0

    on_database(context, command)


def _print_list(found: Sequence[StoryView]) -> None:
    """Print a list; in a pipe, one line per story."""
    from zeke_tasks.cli.formatting import Entry, abbreviated, listed, printable_words  # noqa: PLC0415 - see the package

    short = abbreviated(seen.story.id for seen in found)
    told = [
        (
            (
                short[seen.story.id],
                f"{seen.story.published_at:%Y-%m-%d}" if seen.story.published_at else NOTHING,
                _chili(seen),
            ),
            printable_words(seen.story.title),
            printable_words((seen.overlay and seen.overlay.brief_one_liner) or NOTHING),
            printable_words(seen.source.name) if seen.source else NOTHING,
        )
        for seen in found
    ]
    out = console()
    if out.is_terminal:
        entries = [Entry(cells, title, f"{line} ({source})") for cells, title, line, source in told]
        listed(out, ("id", "published", "chili", "title, and in one line"), entries)
        return
    columns = [Column(name) for name in ("id", "published", "chili", "title", "in one line", "source")]
    print_table(columns, [(*cells, *words) for cells, *words in told])


def _chili(seen: StoryView) -> str:
    return f"{seen.overlay.chili}/5" if seen.overlay and seen.overlay.chili is not None else NOTHING


def story(context: typer.Context, story_id: IdArgument) -> None:
    """Show a story: why it matters, its briefs, its highlights, and the stories nearest to it."""
    wanted = _story(story_id, embedded=options_of(context).embedded)

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.cli.output import print_story  # noqa: PLC0415
        from zeke_tasks.stories.view import neighbours, story_value  # noqa: PLC0415 - see the package

        async with open_rows_read_only(settings) as rows:
            seen = await _find(rows, wanted)
            near = await neighbours(rows, seen.story.id)
        if options.json:
            print_json(story_value(seen, near))
        else:
            print_story(console(), seen, near)
        return 0

    on_database(context, command)


def brief(
    context: typer.Context,
    story_id: IdArgument,
    *,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Write the brief again first, and wait for it.")
    ] = False,
    timeout: TimeoutOption = 120.0,
) -> None:
    """Show a story's brief: in one line, in two sentences, in a short paragraph, and the time it saves."""
    wanted = _story(story_id, embedded=options_of(context).embedded)

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.cli.output import print_brief, who  # noqa: PLC0415
        from zeke_tasks.stories.view import brief_value  # noqa: PLC0415 - see the package

        async with open_rows_read_only(settings) as rows:
            seen = await _find(rows, wanted)
        if regenerate:
            seen = await _regenerated(settings, seen, timeout, embedded=options.embedded)
        value = brief_value(seen)
        if value is None:
            anew = on_same(f"zeke brief {seen.story.id} --regenerate", embedded=options.embedded)
            raise ZekeError(
                f"Story {seen.story.id} has no brief yet: a worker writes it after the story's analysis; or"
                f" write it now with `{anew}`."
            )
        if options.json:
            state = seen.overlay and seen.overlay.analysis_state
            told = {"storyId": seen.story.id, "title": seen.story.title, "analysisState": state}
            print_json({**told, **value})
        else:
            from zeke_tasks.cli.formatting import wrapped  # noqa: PLC0415 - see the package

            out = console()
            wrapped(out, seen.story.title, style="bold")
            wrapped(out, f"analysed {who(seen.overlay) or 'not yet'}", "  ")
            print_brief(out, seen)
        return 0

    on_database(context, command)


def _story(text: str, *, embedded: bool) -> Abbreviation:
    return Abbreviation(text, "story", "stories", on_same("zeke stories", embedded=embedded))


async def _find(rows: Rows, wanted: Abbreviation) -> StoryView:
    """Return the requested story.

    Raises:
        ZekeError: there is no such story, or the id is ambiguous.
    """
    from zeke_tasks.stories.view import view  # noqa: PLC0415 - see the package

    known = [] if wanted.whole else [(one.id, one.title) for one in await rows.newest_stories(LOOKED_AT)]
    found = await rows.story(
        wanted.among(known, f"of the newest {LOOKED_AT:,}" if len(known) == LOOKED_AT else "")
    )
    if found is None:
        raise wanted.missing()
    return await view(rows, found)


async def _regenerated(settings: Settings, seen: StoryView, timeout: float, *, embedded: bool) -> StoryView:
    """Write a story's brief again, or analyse the story if it is not analysed; returns its new view.

    Raises:
        ZekeError: a job failed or was not done in time.
    """
    from zeke_tasks.cli.run_jobs import open_job_runner, require_done  # noqa: PLC0415 - see the package
    from zeke_tasks.stories.view import view  # noqa: PLC0415

    async with open_job_runner(settings) as runner:
        job_id = await runner.send_missing_job(seen.story.id, anew=True)
        jobs = await runner.run([job_id] if job_id else [], timeout=timeout, console=progress_console())
        require_done(jobs, timeout, embedded=embedded)
        async with runner.rows() as rows:
            return await view(rows, seen.story)
