"""``zeke queues``, ``zeke queue pause | resume`` and ``zeke schedules``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from zeke_queue.cli.render import console, cut, moment, plain, print_json, table
from zeke_queue.cli.session import execute, open_queue, options_of
from zeke_queue.core.names import queue_name
from zeke_queue.model import JobState, QueueSettings

queue_app = typer.Typer(help="Pause a queue, or resume it.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The queue's name.")]


def list_queues(context: typer.Context) -> None:
    """List queues with their live jobs by state, limits and pauses."""
    options = options_of(context)

    async def command() -> int:
        async with open_queue(options) as queue:
            counts = {count.name: count.states for count in await queue.count()}
            settings = {one.name: one for one in await queue.storage.queues()}
        names = sorted(counts.keys() | settings.keys())
        if options.json:
            print_json(
                [
                    {**plain(settings.get(name, QueueSettings(name))), "states": counts.get(name, {})}
                    for name in names
                ]
            )
            return 0
        if not names:
            typer.echo("No queues yet: a queue appears with its first job, or when a worker declares it.")
            return 0
        rows: list[tuple[object, ...]] = []
        for name in names:
            one = settings.get(name, QueueSettings(name))
            limit = "–" if one.concurrency_limit is None else one.concurrency_limit
            paused = Text("paused", style="yellow") if one.paused_on else ""
            rows.append((name, *(counts.get(name, {}).get(state, 0) for state in JobState), limit, paused))
        console().print(table(("queue", *(f"#{state.value}" for state in JobState), "#limit", ""), rows))
        return 0

    execute(command())


def _pause(context: typer.Context, name: str, *, paused: bool) -> None:
    options = options_of(context)
    checked = queue_name(name)

    async def command() -> int:
        async with open_queue(options) as queue:
            await queue.storage.pause_queue(checked, paused=paused)
        if options.json:
            print_json({"name": checked, "paused": paused})
        else:
            typer.echo(f"{checked} is paused: running jobs go on." if paused else f"{checked} goes on.")
        return 0

    execute(command())


@queue_app.command("pause")
def pause(context: typer.Context, name: NameArgument) -> None:
    """Stop claiming a queue's jobs; running ones go on."""
    _pause(context, name, paused=True)


@queue_app.command("resume")
def resume(context: typer.Context, name: NameArgument) -> None:
    """Claim a paused queue's jobs again."""
    _pause(context, name, paused=False)


def list_schedules(context: typer.Context) -> None:
    """List cron schedules with their last and next ticks (UTC)."""
    options = options_of(context)

    async def command() -> int:
        async with open_queue(options) as queue:
            schedules = await queue.storage.schedules()
        if options.json:
            print_json(schedules)
        elif not schedules:
            typer.echo("No schedules yet: a worker declares those of its catalog when it starts.")
        else:
            rows = [
                (
                    one.name,
                    one.cron,
                    one.zone,
                    one.task,
                    one.catch_up.value,
                    moment(one.last_tick),
                    Text("paused", style="yellow") if one.paused else moment(one.next_tick),
                    cut(one.description, 40),
                )
                for one in schedules
            ]
            columns = (
                "schedule",
                "cron",
                "zone",
                "task",
                "catch up",
                "last tick",
                "next tick",
                "description",
            )
            console().print(table(columns, rows))
        return 0

    execute(command())
