"""``zeke queues`` and ``zeke queue pause | resume``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column
from rich.text import Text

from zeke_queue.cli.render import NOTHING, ago, echo, length, plain, print_json, print_table
from zeke_queue.cli.session import open_queue, open_read_only, options_of, runs_async
from zeke_queue.client.parts import parts_of
from zeke_queue.core.names import did_you_mean
from zeke_queue.errors import ReadTimeoutError, ZekeError
from zeke_queue.model import JobQuery, JobStatus, QueueSettings, QueueStats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from zeke_queue.client.queue import Queue

queue_app = typer.Typer(help="Pause or resume a queue.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The queue's name.")]


@runs_async
async def list_queues(context: typer.Context) -> None:
    """List queues: counts of jobs by status (until archived), lags, limits and pauses.

    The lag is the time since the oldest waiting job became due.
    """
    options = options_of(context)
    async with open_read_only(options) as queue:
        stats, uncounted = await _counted(queue)
        settings = {one.name: one for one in await parts_of(queue).storage.queues()}
        now = await parts_of(queue).storage.now()
    shown = [
        (settings.get(name, QueueSettings(name)), stats.get(name, QueueStats(name, {})))
        for name in sorted(stats.keys() | settings.keys())
    ]
    if uncounted is not None:
        echo(f"Jobs are not counted: {uncounted}", err=True)
    if options.json:
        print_json(
            [
                {
                    **plain(one),
                    "counts": has.counts if uncounted is None else None,
                    "lag": has.oldest_due_age,
                }
                for one, has in shown
            ]
        )
    elif not shown:
        echo("No queues yet: a queue appears with its first job, or when a worker declares it.")
    else:
        _print_queues(shown, now, counted=uncounted is None)


async def _counted(queue: Queue) -> tuple[dict[str, QueueStats], str | None]:
    """Return the counts of jobs by queue, or none and the reason if counting takes too long."""
    try:
        return {one.name: one for one in await queue.stats()}, None
    except ReadTimeoutError as error:
        return {}, str(error)


def _print_queues(
    queues: Sequence[tuple[QueueSettings, QueueStats]], now: datetime, *, counted: bool
) -> None:
    columns = (
        Column("queue", min_width=12),
        *(Column(status.lower(), justify="right") for status in JobStatus),
        Column("lag", justify="right"),
        Column("limit", justify="right"),
        Column(""),
    )
    rows = [
        (
            one.name,
            *(has.counts.values() if counted else [NOTHING] * len(JobStatus)),
            NOTHING if has.oldest_due_age is None else length(has.oldest_due_age),
            NOTHING if one.concurrency_limit is None else one.concurrency_limit,
            Text(f"paused {ago(one.paused_on, now)}", style="yellow") if one.paused_on else "",
        )
        for one, has in queues
    ]
    print_table(columns, rows)


@runs_async
async def _pause(context: typer.Context, name: str, *, paused: bool, force: bool = False) -> None:
    from zeke_queue.core.names import queue_name

    options = options_of(context)
    checked = queue_name(name, "NAME")
    async with open_queue(options) as queue:
        if not force:
            await _require_known(queue, checked, paused=paused)
        await parts_of(queue).storage.pause_queue(checked, paused=paused)
    if options.json:
        print_json({"name": checked, "paused": paused})
    elif paused:
        echo(f"{checked} is paused: none of its jobs starts until `zeke queue resume {checked}`.")
    else:
        echo(f"{checked} is resumed.")


async def _require_known(queue: Queue, name: str, *, paused: bool) -> None:
    """Check that a queue has jobs, settings or a worker, since pausing a misspelt one has no effect."""
    storage = parts_of(queue).storage
    known = {one.name for one in await storage.queues()}
    known |= {served for worker in await storage.workers() for served in worker.queues}
    if name in known or (await storage.find(JobQuery(names=(name,), limit=1))).jobs:
        return
    known |= (await _counted(queue))[0].keys()
    hint = did_you_mean(name, sorted(known), "`zeke queues` lists the queues")
    force = "add --force to pause it before its first job; " if paused else ""
    done = "paused" if paused else "resumed"
    raise ZekeError(f"Queue {name!r} was not {done}: it has no jobs, settings or workers; {force}{hint}")


@queue_app.command("pause")
def pause(
    context: typer.Context,
    name: NameArgument,
    force: Annotated[
        bool, typer.Option("--force", "--yes", help="Allow a queue that does not exist yet.")
    ] = False,
) -> None:
    """Pause a queue; running jobs continue."""
    _pause(context, name, paused=True, force=force)


@queue_app.command("resume")
def resume(context: typer.Context, name: NameArgument) -> None:
    """Resume a paused queue."""
    _pause(context, name, paused=False)
