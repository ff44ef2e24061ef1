"""``zeke sources add | list | health | pause | resume``: the sources, their intervals and their health.

``subscriptions`` has the commands on the teams that subscribe to a source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, get_args
from urllib.parse import urlsplit
from uuid import uuid5

import typer
from rich.table import Column
from rich.text import Text

from zeke_queue.cli.render import NOTHING, console, echo, length, moment, print_json, print_table
from zeke_queue.cli.session import options_of
from zeke_queue.errors import InvalidOptionError
from zeke_queue.system.install_hints import on_same
from zeke_tasks.cli.hints import WORKER
from zeke_tasks.cli.ids import Abbreviation, SourceArgument
from zeke_tasks.cli.session import on_database, open_rows_read_only, rows_to_change
from zeke_tasks.cli.subscriptions import subscribe, unsubscribe
from zeke_tasks.cli.teams import team_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from zeke_queue.cli.session import Options
    from zeke_queue.system.settings import Settings
    from zeke_tasks.store.model import Health, NewSource, Source

sources_app = typer.Typer(help="List, add, check, pause and resume sources.", no_args_is_help=True)
sources_app.command("subscribe")(subscribe)
sources_app.command("unsubscribe")(unsubscribe)

READ: Final = ("rss", "youtube_channel", "youtube_search")
"""The types that can be added here: those that are checked regularly."""

_MINUTES: Final = len("2026-01-01 00:00")
"""Length of a timestamp's prefix up to the minute."""

_COLOURS: Final = {"ok": "green", "warn": "yellow", "error": "red"}


@sources_app.command("add")
def add(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="A feed, a YouTube channel, or search terms for YouTube."),
    ],
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help=f"{', '.join(READ[:2])} or {READ[2]}; by default the type of the URL.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name; by default the URL's host.")
    ] = None,
    every: Annotated[
        int, typer.Option("--every", metavar="HOURS", help="Hours between two checks, 1 to 8760 (a year).")
    ] = 1,
    authority: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Its weight in scores, 0 to 1; by default 0.7."),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(metavar="ORDER", help="Order of a search: relevance, date, …"),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Length of a search's videos: any, short, medium, long."),
    ] = None,
) -> None:
    """Add a source; workers check it regularly from then on."""

    async def command(options: Options, settings: Settings) -> int:
        asked = {"order": order, "duration": duration}
        new_id, wanted = _wanted(url, kind, name, every, authority, asked=asked)
        async with rows_to_change(settings) as rows:
            known = await rows.source(new_id) is not None
            source = await rows.ensure_source(new_id, wanted)
        added = source.id == new_id and not known
        if options.json:
            print_json({**_value(source), "added": added})
        elif added:
            echo(f"{source.id}")
            started = f" (`{on_same(WORKER, embedded=True)}` starts one)" if options.embedded else ""
            health_of = on_same("zeke sources health", embedded=options.embedded)
            echo(f"Workers check it within five minutes{started}; `{health_of}` shows the result.", err=True)
        else:
            echo(f"{source.id}")
            echo("The source exists already; nothing changed.", err=True)
        return 0

    on_database(context, command)


def _wanted(
    url: str,
    kind: str | None,
    name: str | None,
    every: int,
    authority: float | None,
    *,
    asked: Mapping[str, str | None],
) -> tuple[UUID, NewSource]:
    """Return the source to add, and its id in case it is new.

    Raises:
        InvalidOptionError: an argument or an option is out of range.
    """
    from zeke_tasks.store.model import HOURS_MAX, NewSource, SourceType  # noqa: PLC0415 - see the package

    if kind is not None and kind not in READ:
        raise InvalidOptionError(f"--type: must be {', '.join(READ[:-1])} or {READ[-1]}, got {kind!r}.")
    if not 1 <= every <= HOURS_MAX:
        raise InvalidOptionError(f"--every: must be 1 to {HOURS_MAX} hours, got {every}.")
    if authority is not None and not 0 <= authority <= 1:
        raise InvalidOptionError(f"--authority: must be from 0 to 1, got {authority:g}.")
    if name is not None and not name.strip():
        raise InvalidOptionError("--name: must not be empty; pass a name, or omit the option")
    about = _search_options(kind, asked)
    new_id, read_as, place, called = _search(url, about) if kind == "youtube_search" else _place(url, kind)
    metadata = {} if place else {"query": called, **about}
    new = NewSource(
        SourceType(read_as),
        (name or called).strip(),
        place,
        authority_score=authority,
        check_frequency_hours=every,
        metadata=metadata,
    )
    return new_id, new


def _place(url: str, kind: str | None) -> tuple[UUID, str, str | None, str]:
    """Return a new id, the type of the source at a url, the canonical url, and a name."""
    from zeke_queue.system.clock import SystemClock  # noqa: PLC0415 - see the package
    from zeke_queue.system.entropy import Ids, SystemEntropy  # noqa: PLC0415
    from zeke_tasks.fetch import UrlRefused  # noqa: PLC0415
    from zeke_tasks.ingest.oneoff import place_of  # noqa: PLC0415

    try:
        place = place_of(url)
    except UrlRefused as refused:
        raise InvalidOptionError(f"URL: {refused}") from refused
    host = urlsplit(place).hostname or place
    if kind is None:
        kind = "youtube_channel" if host.removeprefix("www.").removeprefix("m.") == "youtube.com" else "rss"
    return Ids(SystemClock(), SystemEntropy())(), kind, place, host


def _search_options(kind: str | None, asked: Mapping[str, str | None]) -> dict[str, str]:
    """Return the options of a search that differ from the defaults."""
    from zeke_tasks.ingest.youtube import Search  # noqa: PLC0415 - see the package
    from zeke_tasks.youtube import Duration, Order  # noqa: PLC0415

    about: dict[str, str] = {}
    for name, known in (("order", get_args(Order)), ("duration", get_args(Duration))):
        value = asked[name]
        if value is not None and kind != "youtube_search":
            raise InvalidOptionError(f"--{name}: must be used with --type youtube_search.")
        if value is not None and value not in known:
            raise InvalidOptionError(
                f"--{name}: must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}."
            )
        if value is not None and value != Search.model_fields[name].default:
            about[name] = value
    return about


def _search(query: str, about: Mapping[str, str]) -> tuple[UUID, str, None, str]:
    """Return a search's id, which follows from its words and options, its type, no url, and the words."""
    from zeke_tasks.store.model import IDS, storable  # noqa: PLC0415 - see the package

    words = " ".join(storable(query).split())
    if not words or "://" in words:
        raise InvalidOptionError(f"URL: must be words to search with --type youtube_search, got {query!r}.")
    more = "".join(f"/{name}={value}" for name, value in sorted(about.items()))
    return uuid5(IDS, f"source/youtube_search/{words}{more}"), "youtube_search", None, words


@sources_app.command("list")
def list_sources(
    context: typer.Context,
    *,
    team: Annotated[
        str | None,
        typer.Option(metavar="UUID", help="Only those to which this team subscribes.", show_default=False),
    ] = None,
) -> None:
    """List the sources."""
    team_id = None if team is None else team_id_of(team)

    async def command(options: Options, settings: Settings) -> int:
        async with open_rows_read_only(settings) as rows:
            every = await rows.every_source()
            found = every if team_id is None else await rows.subscribed_sources(team_id)
        if options.json:
            print_json([_value(source) for source in found])
        elif not found:
            echo(_none_yet(options) if team_id is None else _no_subscription(options, team_id))
        else:
            # A source may have been added or deleted between the two reads.
            _print_sources(found, _short({one.id: one for one in (*every, *found)}.values()))
        return 0

    on_database(context, command)


def _print_sources(found: list[Source], short: Mapping[UUID, str]) -> None:
    """Print a list; in a pipe, one line per source."""
    from zeke_tasks.cli.formatting import Entry, listed  # noqa: PLC0415 - see the package

    told = [
        ((short[source.id], source.type, *_pace_cells(source)), _words(source.name), source.url)
        for source in found
    ]
    titles = ("id", "type", "every", "authority", "name")
    out = console()
    if out.is_terminal:
        listed(out, titles, [Entry(cells, name, url=url) for cells, name, url in told])
        return
    columns = [Column(title) for title in (*titles, "url")]
    print_table(columns, [(*cells, name, _words(url or NOTHING)) for cells, name, url in told])


def _pace_cells(source: Source) -> tuple[str | Text, str]:
    """Return a source's interval, if it is checked regularly, and its authority."""
    every = f"{source.check_frequency_hours} h" if source.type in READ else NOTHING
    authority = NOTHING if source.authority_score is None else f"{source.authority_score:.2f}"
    return every if source.is_active else Text("paused", style="yellow"), authority


@sources_app.command("health")
def health(context: typer.Context) -> None:
    """Show the result of each source's last check, and the time of the next; times are UTC."""

    async def command(options: Options, settings: Settings) -> int:
        async with open_rows_read_only(settings) as rows:
            found = [(source, await rows.health(source.id)) for source in await rows.every_source()]
        if options.json:
            print_json([{**_value(source), "health": _health_value(known)} for source, known in found])
        elif not found:
            echo(_none_yet(options))
        else:
            _print_health(found)
        return 0

    on_database(context, command)


def _print_health(found: list[tuple[Source, Health | None]]) -> None:
    """Print a list; in a pipe, one line per source."""
    from zeke_tasks.cli.formatting import Entry, listed  # noqa: PLC0415 - see the package

    short = _short(source for source, _ in found)
    titles = ("id", "type", "is", "next check", "name")
    out = console()
    if out.is_terminal:
        entries = [
            Entry((short[source.id], *_health_cells(source, known)), _words(source.name), _last_error(known))
            for source, known in found
        ]
        listed(out, titles, entries)
        return
    columns = [Column(title) for title in (*titles, "last success", "failing for", "says")]
    rows = [
        (short[source.id], *_health_cells(source, known), _words(source.name), *_last_cells(known))
        for source, known in found
    ]
    print_table(columns, rows)


def _health_cells(source: Source, known: Health | None) -> tuple[str | Text, ...]:
    """Return a source's type, its health, and the time of its next check, to the minute."""
    if source.type not in READ:
        return source.type, NOTHING, NOTHING
    if not source.is_active:
        return source.type, Text("paused", style="yellow"), NOTHING
    if known is None:
        return source.type, "unchecked", NOTHING
    colour = _COLOURS[known.status]
    return source.type, Text(known.status.value, style=colour), moment(known.next_check_at)[:_MINUTES]


def _last_cells(known: Health | None) -> tuple[str, ...]:
    """Return the time of the last successful check, how long checks have failed since, and the error."""
    if known is None:
        return NOTHING, NOTHING, NOTHING
    failing = NOTHING if known.failing_for is None else length(known.failing_for)
    return moment(known.last_success_at), failing, _words(known.message or NOTHING)


def _last_error(known: Health | None) -> str | None:
    """Return the error of a source's last check; None if it succeeded."""
    if known is None or not (known.message or known.failing_for is not None):
        return None
    said = known.message or "its last check failed"
    if known.failing_for is None:
        return said
    last = known.last_success_at
    since = f"last success {moment(last)[:_MINUTES]}" if last else "and no success before"
    return f"{said} (failing for {length(known.failing_for)}, {since})"


def _none_yet(options: Options) -> str:
    return f"No sources yet: `{on_same('zeke sources add URL', embedded=options.embedded)}` adds one."


def _no_subscription(options: Options, team_id: UUID) -> str:
    subscribe = on_same(f"zeke sources subscribe ID --team {team_id}", embedded=options.embedded)
    return f"The team subscribes to no source: `{subscribe}` adds a subscription."


def _pause(context: typer.Context, text: str, *, active: bool) -> None:
    listing = on_same("zeke sources list", embedded=options_of(context).embedded)
    wanted = Abbreviation(text, "source", "sources", listing)

    async def command(options: Options, settings: Settings) -> int:
        async with rows_to_change(settings) as rows:
            known = [(one.id, one.name) for one in await rows.every_source()] if not wanted.whole else []
            source = await rows.source(wanted.among(known))
            if source is None:
                raise wanted.missing()
            changed = await rows.set_active(source.id, active=active)
        if options.json:
            print_json({"id": source.id, "name": source.name, "active": active, "changed": changed})
            return 0
        already = "" if changed else " already"
        after = "is checked again" if active else "is paused"
        resume = on_same(f"zeke sources resume {source.id}", embedded=options.embedded)
        how = "" if active else f"; `{resume}` resumes its checks"
        echo(f"{_words(source.name)} {after}{already}{how}.")
        return 0

    on_database(context, command)


@sources_app.command("pause")
def pause(context: typer.Context, source_id: SourceArgument) -> None:
    """Pause the checks of a source; its stories are kept."""
    _pause(context, source_id, active=False)


@sources_app.command("resume")
def resume(context: typer.Context, source_id: SourceArgument) -> None:
    """Resume the checks of a source."""
    _pause(context, source_id, active=True)


def _short(sources: Iterable[Source]) -> dict[UUID, str]:
    from zeke_tasks.cli.formatting import abbreviated  # noqa: PLC0415 - see the package

    return abbreviated(source.id for source in sources)


def _words(text: str) -> str:
    from zeke_tasks.cli.formatting import printable_words  # noqa: PLC0415 - see the package

    return printable_words(text)


def _value(source: Source) -> dict[str, Any]:
    """Return a source for JSON output."""
    return {
        "id": source.id,
        "type": source.type,
        "name": source.name,
        "url": source.url,
        "authorityScore": source.authority_score,
        "active": source.is_active,
        "checkFrequencyHours": source.check_frequency_hours if source.type in READ else None,
        "metadata": dict(source.metadata),
    }


def _health_value(known: Health | None) -> dict[str, Any] | None:
    if known is None:
        return None
    return {
        "status": known.status,
        "message": known.message,
        "lastSuccessAt": known.last_success_at,
        "lastErrorAt": known.last_error_at,
        "failingForSeconds": known.failing_for,
        "nextCheckAt": known.next_check_at,
    }
