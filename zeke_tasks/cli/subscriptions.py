"""``zeke sources subscribe | unsubscribe``: the teams that subscribe to a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zeke_queue.cli.render import echo, print_json
from zeke_queue.cli.session import options_of
from zeke_queue.system.install_hints import on_same
from zeke_tasks.cli.ids import Abbreviation, SourceArgument
from zeke_tasks.cli.session import on_database, rows_to_change
from zeke_tasks.cli.teams import team_id_of

if TYPE_CHECKING:
    from zeke_queue.cli.session import Options
    from zeke_queue.system.settings import Settings

TeamOption = Annotated[str, typer.Option("--team", metavar="UUID", help="The team's id.")]


def subscribe(context: typer.Context, source_id: SourceArgument, *, team: TeamOption) -> None:
    """Subscribe a team to a source; `update-story-status` then reaches it."""
    _change(context, source_id, team, subscribe=True)


def unsubscribe(context: typer.Context, source_id: SourceArgument, *, team: TeamOption) -> None:
    """End a team's subscription to a source."""
    _change(context, source_id, team, subscribe=False)


def _change(context: typer.Context, text: str, team: str, *, subscribe: bool) -> None:
    listing = on_same("zeke sources list", embedded=options_of(context).embedded)
    wanted, team_id = Abbreviation(text, "source", "sources", listing), team_id_of(team)

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.cli.formatting import printable_words  # noqa: PLC0415 - see the package

        async with rows_to_change(settings) as rows:
            known = [(one.id, one.name) for one in await rows.every_source()] if not wanted.whole else []
            source = await rows.source(wanted.among(known))
            if source is None:
                raise wanted.missing()
            changed = await (rows.connect if subscribe else rows.disconnect)(team_id, source.id)
        if options.json:
            print_json(
                {"teamId": team_id, "sourceId": source.id, "subscribed": subscribe, "changed": changed}
            )
            return 0
        how = "subscribes to" if subscribe else "does not subscribe to"
        already = "" if changed else "; nothing changed"
        echo(f"Team {team_id} {how} {printable_words(source.name)}{already}.")
        return 0

    on_database(context, command)
