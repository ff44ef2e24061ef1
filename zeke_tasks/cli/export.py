"""``zeke export team``: all data of a team as JSON lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zeke_queue.cli.render import echo, json_text
from zeke_tasks.cli.session import on_database, open_all_read_only
from zeke_tasks.cli.teams import jobs_of, keys_of, schedules_of, team_id_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from zeke_queue.cli.session import Options
    from zeke_queue.client.queue import Queue
    from zeke_queue.system.settings import Settings

export_app = typer.Typer(help="Export all data of a team.", no_args_is_help=True)


@export_app.command("team")
def team(
    context: typer.Context,
    team_id: Annotated[str, typer.Argument(metavar="UUID", help="The team's id.")],
) -> None:
    """Print a team's rows, jobs, schedules and keys as JSON lines; the last line has their numbers.

    A file without that line is incomplete.
    """
    wanted = team_id_of(team_id, "UUID")

    async def command(_options: Options, settings: Settings) -> int:
        counts = Counter[str]()
        async for kind, row in _everything(settings, wanted):
            counts[kind] += 1
            echo(json_text({"kind": kind, "row": row}))
        echo(json_text({"kind": "end", "teamId": wanted, "rows": counts}))
        return 0

    on_database(context, command)


async def _everything(settings: Settings, team_id: UUID) -> AsyncGenerator[tuple[str, Any]]:
    """Yield all that a team has, with its kind: a view or table, or ``jobs``, ``schedules`` or ``keys``."""
    from psycopg import AsyncConnection  # noqa: PLC0415 - see the package

    from zeke_tasks.store.postgres.export import export_team  # noqa: PLC0415

    async with await AsyncConnection.connect(settings.require_database()) as connection:
        async for kind, row in export_team(connection, team_id):
            yield kind, row
    async with open_all_read_only(settings) as (queue, _):
        async for kind, row in _of_queue(queue, team_id):
            yield kind, row


async def _of_queue(queue: Queue, team_id: UUID) -> AsyncGenerator[tuple[str, Any]]:
    for key in await keys_of(queue, team_id):
        yield (
            "keys",
            {
                "name": key.name,
                "prefix": key.prefix,
                "scopes": sorted(key.scopes),
                "createdOn": key.created_on,
                "expiresOn": key.expires_on,
                "revokedOn": key.revoked_on,
            },
        )
    for schedule in await schedules_of(queue, team_id):
        about = (schedule.name, schedule.task, schedule.cron, schedule.zone, schedule.data)
        yield "schedules", dict(zip(("name", "task", "cron", "zone", "payload"), about, strict=True))
    for job in await jobs_of(queue, team_id, living=False):
        yield (
            "jobs",
            {
                "id": job.id,
                "task": job.name,
                "status": job.status,
                "payload": job.data,
                "meta": job.meta,
                "output": job.output,
                "createdOn": job.created_on,
            },
        )
