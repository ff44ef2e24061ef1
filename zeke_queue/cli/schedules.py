"""``zeke schedules`` and ``zeke schedule rm | pause | resume``.

A schedule removed from code stays stored, since another program may own it; this command removes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column
from rich.text import Text

from zeke_queue.cli.render import ago, cut, echo, moment, plain, print_json, print_table
from zeke_queue.cli.session import open_queue, open_read_only, options_of, runs_async
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import SerializationError
from zeke_queue.model import CatchUp
from zeke_queue.storage.inspect import require_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from zeke_queue.model import Schedule

schedule_app = typer.Typer(help="Remove, pause or resume a schedule.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


@schedule_app.command("rm")
@runs_async
async def remove(context: typer.Context, name: NameArgument) -> None:
    """Remove a schedule permanently; remove it from the code first.

    A schedule still declared in code is stored again when a worker or a scheduler starts.
    """
    options = options_of(context)
    async with open_queue(options) as queue:
        await require_schedule(parts_of(queue).storage, name)
        removed = await queue.schedules.delete(name)
    if options.json:
        print_json({"name": name, "removed": removed})
    else:
        echo(f"{name} is removed. A worker whose code still declares it stores it again at its start.")


@runs_async
async def _pause(context: typer.Context, name: str, *, paused: bool) -> None:
    options = options_of(context)
    async with open_queue(options) as queue:
        schedule = await require_schedule(parts_of(queue).storage, name)
        if schedule.paused != paused:
            # This is an edit, not a declaration, so it is kept when workers restart.
            await parts_of(queue).storage.put_schedule(replace(schedule, paused=paused))
    if options.json:
        print_json({"name": name, "paused": paused})
    elif paused:
        echo(f"{name} is paused: it sends no jobs until `zeke schedule resume {name}`.")
    else:
        echo(f"{name} is resumed from its next tick; ticks during the pause are skipped.")


@schedule_app.command("pause")
def pause(context: typer.Context, name: NameArgument) -> None:
    """Pause a schedule until it is resumed.

    Workers that start meanwhile leave it paused, unless its declaration in code has changed.
    """
    _pause(context, name, paused=True)


@schedule_app.command("resume")
def resume(context: typer.Context, name: NameArgument) -> None:
    """Resume a paused schedule from its next tick on."""
    _pause(context, name, paused=False)


@runs_async
async def list_schedules(context: typer.Context) -> None:
    """List cron schedules with their next and last ticks; times are UTC."""
    from zeke_queue.core.cron import last_occurrence

    options = options_of(context)
    async with open_read_only(options) as queue:
        schedules = [
            replace(one, last_tick=last_occurrence(one)) for one in await parts_of(queue).storage.schedules()
        ]
        now = await parts_of(queue).storage.now()
    if options.json:
        print_json([{**plain(one), "data": _payload(one.data)} for one in schedules])
    elif not schedules:
        echo("No schedules yet: a worker declares those of its catalog when it starts.")
    else:
        _print_schedules(schedules, now)


def _payload(text: str | None) -> Any:
    """Return a schedule's payload, or its text if Python can't read that: nesting too deep."""
    from zeke_queue.core import jsonb

    try:
        return None if text is None else jsonb.loads(text)
    except SerializationError:
        return text


def _print_schedules(schedules: Sequence[Schedule], now: datetime) -> None:
    def next_tick(one: Schedule) -> object:
        return Text("paused", style="yellow") if one.paused else moment(one.next_tick)

    columns = [
        Column("schedule", min_width=12),
        Column("cron"),
        Column("zone", min_width=3),
        Column("next tick (UTC)"),
        Column("last", justify="right"),
    ]
    rows = [[one.name, one.cron, one.zone, next_tick(one), ago(one.last_tick, now)] for one in schedules]
    # Most schedules send the task of their own name, and catch up once, which need not be printed.
    for title, values, usual in (
        ("task", [one.task for one in schedules], [one.name for one in schedules]),
        ("catch up", [one.catch_up for one in schedules], [CatchUp.ONCE for _ in schedules]),
    ):
        if values != usual:
            columns.append(Column(title, min_width=1))
            for row, value in zip(rows, values, strict=True):
                row.append(value)
    columns.append(Column("description", min_width=1))
    for row, one in zip(rows, schedules, strict=True):
        row.append(cut(one.description, 80))
    print_table(columns, rows)
