"""``zeke queues``, ``zeke queue pause | resume`` and ``zeke schedules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from zeke_queue.cli.render import NOTHING, Column, ago, cut, moment, plain, print_json, print_table
from zeke_queue.cli.session import execute, open_queue, options_of
from zeke_queue.model import CatchUp, JobState, QueueSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from zeke_queue.model import Schedule

queue_app = typer.Typer(help="Pause a queue, or resume it.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The queue's name.")]

_GROUPS: Final[Mapping[str, tuple[JobState, ...]]] = {
    "waiting": (JobState.CREATED, JobState.RETRY),
    "active": (JobState.ACTIVE,),
    "completed": (JobState.COMPLETED,),
    "failed": (JobState.FAILED, JobState.EXPIRED),
    "cancelled": (JobState.CANCELLED,),
}
"""The columns of the table; all states fit a terminal only where the queues' names are short."""


def list_queues(context: typer.Context) -> None:
    """List queues: how many jobs wait, run and ended (until they are archived), limits and pauses.

    Waiting are the states created and retry; failed includes expired.
    """
    options = options_of(context)

    async def command() -> int:
        async with open_queue(options) as queue:
            counts = {count.name: count.states for count in await queue.count()}
            settings = {one.name: one for one in await queue.storage.queues()}
            now = await queue.storage.now()
        shown = [settings.get(name, QueueSettings(name)) for name in sorted(counts.keys() | settings.keys())]
        if options.json:
            print_json([{**plain(one), "states": counts.get(one.name, {})} for one in shown])
        elif not shown:
            typer.echo("No queues yet: a queue appears with its first job, or when a worker declares it.")
        else:
            _print_queues(shown, counts, now)
        return 0

    execute(command())


def _print_queues(
    queues: Sequence[QueueSettings], counts: Mapping[str, Mapping[JobState, int]], now: datetime
) -> None:
    columns = (
        Column("queue", least=12),
        *(Column(group, right=True) for group in _GROUPS),
        Column("limit", right=True),
        Column(""),
    )
    rows = [
        (
            one.name,
            *(sum(counts.get(one.name, {}).get(state, 0) for state in states) for states in _GROUPS.values()),
            NOTHING if one.concurrency_limit is None else one.concurrency_limit,
            Text(f"paused {ago(one.paused_on, now)}", style="yellow") if one.paused_on else "",
        )
        for one in queues
    ]
    print_table(columns, rows)


def _pause(context: typer.Context, name: str, *, paused: bool) -> None:
    from zeke_queue.core.names import queue_name

    options = options_of(context)
    checked = queue_name(name)

    async def command() -> int:
        async with open_queue(options) as queue:
            await queue.storage.pause_queue(checked, paused=paused)
        if options.json:
            print_json({"name": checked, "paused": paused})
        elif paused:
            typer.echo(f"{checked} is paused: no job of it starts until `zeke queue resume {checked}`.")
        else:
            typer.echo(f"{checked} goes on.")
        return 0

    execute(command())


@queue_app.command("pause")
def pause(context: typer.Context, name: NameArgument) -> None:
    """Let no job of a queue start; those that run go on."""
    _pause(context, name, paused=True)


@queue_app.command("resume")
def resume(context: typer.Context, name: NameArgument) -> None:
    """Let the jobs of a paused queue start again."""
    _pause(context, name, paused=False)


def list_schedules(context: typer.Context) -> None:
    """List cron schedules with their next and last ticks; times are UTC."""
    options = options_of(context)

    async def command() -> int:
        async with open_queue(options) as queue:
            schedules = await queue.storage.schedules()
            now = await queue.storage.now()
        if options.json:
            print_json(schedules)
        elif not schedules:
            typer.echo("No schedules yet: a worker declares those of its catalog when it starts.")
        else:
            _print_schedules(schedules, now)
        return 0

    execute(command())


def _print_schedules(schedules: Sequence[Schedule], now: datetime) -> None:
    def next_tick(one: Schedule) -> object:
        return Text("paused", style="yellow") if one.paused else moment(one.next_tick)

    columns = [
        Column("schedule", least=12),
        Column("cron"),
        Column("zone", least=3),
        Column("next tick (UTC)"),
        Column("last", right=True),
    ]
    rows = [[one.name, one.cron, one.zone, next_tick(one), ago(one.last_tick, now)] for one in schedules]
    # Most schedules send the task of their own name, and catch up once: then there is nothing to tell.
    for title, values, usual in (
        ("task", [one.task for one in schedules], [one.name for one in schedules]),
        ("catch up", [one.catch_up for one in schedules], [CatchUp.ONCE for _ in schedules]),
    ):
        if values != usual:
            columns.append(Column(title, least=0))
            for row, value in zip(rows, values, strict=True):
                row.append(value)
    columns.append(Column("description", least=0))
    for row, one in zip(rows, schedules, strict=True):
        row.append(cut(one.description, 80))
    print_table(columns, rows)
