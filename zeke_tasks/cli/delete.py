"""``zeke delete source | story | team``: deletions by request, with all rows that belong to them.

Without ``--yes`` the rows are counted, without a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from zeke_queue.cli.render import echo, print_json
from zeke_queue.cli.session import options_of
from zeke_queue.errors import ZekeError
from zeke_queue.system.install_hints import on_same
from zeke_tasks.cli.ids import Abbreviation
from zeke_tasks.cli.session import on_database, open_all
from zeke_tasks.cli.teams import jobs_of, keys_of, schedules_of, team_id_of
from zeke_tasks.store.conflicts import repeated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from uuid import UUID

    from zeke_queue.cli.session import Options
    from zeke_queue.client.queue import Queue
    from zeke_queue.system.settings import Settings
    from zeke_tasks.store.deletion import Deleted
    from zeke_tasks.store.repository import Repository, Rows

    Deletion = Callable[[Rows], Awaitable[tuple[str, Deleted]]]

T = TypeVar("T")

ROUNDS_MAX: Final = 10
"""Rounds in which the jobs of a team are cancelled, since a running job may send others."""

JOBS_AT_ONCE: Final = 200
"""Maximum number of jobs that one statement deletes."""

LOOKED_AT: Final = 10_000
"""Number of newest stories that are searched for an abbreviated id."""

_WORDS: Final = {
    "keys": ("API key",),
    "schedules": ("schedule",),
    "jobs": ("job",),
    "source_connections": ("subscription",),
    "team_story_states": ("state of a story", "states of stories"),
    "team_highlight_states": ("state of a highlight", "states of highlights"),
    "highlights": ("highlight",),
    "playbook_runs": ("run of a playbook", "runs of playbooks"),
    "playbooks": ("playbook",),
    "ai_budgets": ("AI budget",),
    "ai_reservations": ("reservation for an AI call", "reservations for AI calls"),
    "ai_budget_days": ("sum of a day's AI calls", "sums of a day's AI calls"),
    "ai_spending": ("AI call",),
}
"""What a team has, by table, in singular and plural."""

delete_app = typer.Typer(
    help="Delete a source, a story or a team, with all that belongs to it.", no_args_is_help=True
)

YesOption = Annotated[
    bool, typer.Option("--yes", help="Delete; otherwise only count the rows.", show_default=False)
]


@delete_app.command("source")
def source(
    context: typer.Context,
    source_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, or the beginning; see `zeke sources list`.")
    ],
    *,
    yes: YesOption = False,
) -> None:
    """Delete a source with its items, texts, stories, health and subscriptions.

    A story whose text another source has too is kept, as that source's.
    """
    listing = on_same("zeke sources list", embedded=options_of(context).embedded)
    wanted = Abbreviation(source_id, "source", "sources", listing)

    async def delete(rows: Rows) -> tuple[str, Deleted]:
        known = [(one.id, one.name) for one in await rows.every_source()] if not wanted.whole else []
        found = await rows.source(wanted.among(known))
        act = rows.delete_source if yes else rows.count_source
        deleted = None if found is None else await act(found.id)
        if found is None or deleted is None:
            raise wanted.missing()
        return found.name, deleted

    _delete(context, "source", delete, yes=yes)


@delete_app.command("story")
def story(
    context: typer.Context,
    story_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, or the beginning; see `zeke stories`.")
    ],
    *,
    yes: YesOption = False,
) -> None:
    """Delete a story with its texts, analysis, briefs and highlights.

    Its items stay known, so the next checks of their sources do not read them again.
    """
    wanted = Abbreviation(
        story_id, "story", "stories", on_same("zeke stories", embedded=options_of(context).embedded)
    )

    async def delete(rows: Rows) -> tuple[str, Deleted]:
        known = [] if wanted.whole else [(one.id, one.title) for one in await rows.newest_stories(LOOKED_AT)]
        among = f"of the newest {LOOKED_AT:,}" if len(known) == LOOKED_AT else ""
        found = await rows.story(wanted.among(known, among))
        act = rows.delete_story if yes else rows.count_story
        deleted = None if found is None else await act(found.id)
        if found is None or deleted is None:
            raise wanted.missing()
        return found.title, deleted

    _delete(context, "story", delete, yes=yes)


def _delete(context: typer.Context, what: str, delete: Deletion, *, yes: bool) -> None:
    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.cli.formatting import printable_words  # noqa: PLC0415 - see the package

        async with open_all(settings) as (queue, repository):
            name, deleted = await _in_transaction(queue, repository, delete)
        if options.json:
            print_json({what: name, "deleted": yes, **deleted._asdict()})
            return 0
        told = [_number(deleted.items, "item"), _number(deleted.stories, "story", "stories")]
        moved = _number(deleted.moved, "story", "stories")
        told += [f"{moved} kept for other sources"] if deleted.moved else []
        _tell(f"{what} {printable_words(name)!r}", told, yes=yes)
        return 0

    on_database(context, command)


@delete_app.command("team")
def team(
    context: typer.Context,
    team_id: Annotated[str, typer.Argument(metavar="UUID", help="The team's id.")],
    *,
    yes: YesOption = False,
) -> None:
    """Delete a team's rows, schedules and jobs, and revoke its keys."""
    wanted = team_id_of(team_id, "UUID")

    async def command(options: Options, settings: Settings) -> int:
        async with open_all(settings) as (queue, repository):
            counts = await delete_team(queue, repository, wanted, keep=yes)
        if options.json:
            print_json({"teamId": wanted, "deleted": yes, "rows": counts})
            return 0
        _tell(f"team {wanted}", told_counts(counts) or ["no rows"], yes=yes)
        echo("Its id can't be used again." if yes else "After that its id can't be used again.")
        return 0

    on_database(context, command)


def told_counts(counts: Mapping[str, int]) -> list[str]:
    """Return how many rows of each table were deleted, in words."""
    return [_number(count, *_WORDS[name]) for name, count in counts.items() if count]


async def delete_team(
    queue: Queue, repository: Repository, team_id: UUID, *, keep: bool
) -> Mapping[str, int]:
    """Delete the data of a team.

    Its keys are revoked first, so that its callers send no more jobs. Then its jobs are cancelled, since a
    cancelled job commits no more transactions, and deleted. A job that is sent later finds the team deleted.

    Args:
        queue: the queue, whose jobs name a team as ``teamId`` in their payloads.
        repository: the store of the rows.
        team_id: the team.
        keep: whether to keep the changes; False only counts.

    Raises:
        ZekeError: it was deleted only in part; the message has the numbers. A repeated call continues.
    """

    async def rows_of_team(rows: Rows) -> Mapping[str, int]:
        return await (rows.delete_team if keep else rows.count_team)(team_id)

    counts: dict[str, int] = {}
    try:
        for name, act in {"keys": _revoke_keys, "schedules": _delete_schedules, "jobs": _delete_jobs}.items():
            counts[name] = await act(queue, team_id, keep=keep)
        return {**counts, **await _in_transaction(queue, repository, rows_of_team)}
    except ZekeError as error:
        if not keep:
            raise
        done = ", ".join(told_counts(counts)) or "nothing"
        raise ZekeError(
            f"The team is not deleted, or only in part (so far {done}): {error}. Repeat the command, which"
            " deletes the rest"
        ) from error


async def _revoke_keys(queue: Queue, team_id: UUID, *, keep: bool) -> int:
    from zeke_queue.client.parts import parts_of  # noqa: PLC0415 - see the package

    valid = [key for key in await keys_of(queue, team_id) if key.revoked_on is None]
    if keep:
        for key in valid:
            await parts_of(queue).storage.access.revoke_key(key.id)
    return len(valid)


async def _delete_schedules(queue: Queue, team_id: UUID, *, keep: bool) -> int:
    schedules = await schedules_of(queue, team_id)
    if keep:
        for schedule in schedules:
            await queue.schedules.delete(schedule.name)
    return len(schedules)


async def _delete_jobs(queue: Queue, team_id: UUID, *, keep: bool) -> int:
    """Cancel the jobs of a team, and those that they send meanwhile, and delete all; return their number."""
    if not keep:
        return len(await jobs_of(queue, team_id, living=False))
    await _cancel_jobs(queue, team_id)
    ids = [job.id for job in await jobs_of(queue, team_id, living=False)]
    from zeke_queue.client.parts import parts_of  # noqa: PLC0415 - see the package

    deleted = 0
    for start in range(0, len(ids), JOBS_AT_ONCE):
        deleted += len(await parts_of(queue).storage.delete_jobs(ids[start : start + JOBS_AT_ONCE]))
    return deleted


async def _cancel_jobs(queue: Queue, team_id: UUID) -> None:
    """Cancel the live jobs of a team, and those that they send meanwhile."""
    cancelled = 0
    for _ in range(ROUNDS_MAX):
        living = await jobs_of(queue, team_id, living=True)
        if not living:
            return
        for job in living:
            cancelled += await queue.cancel(job.id)
    raise ZekeError(
        f"jobs are still being sent after {ROUNDS_MAX} rounds, in which {cancelled:,} were cancelled, so no"
        " rows were deleted: stop what sends them"
    )


async def _in_transaction(queue: Queue, repository: Repository, act: Callable[[Rows], Awaitable[T]]) -> T:
    """Run a function of the rows in a transaction, again after a conflict."""

    async def once() -> T:
        async with queue.transaction() as transaction:
            return await act(repository.within(transaction))

    return await repeated(once)


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _tell(what: str, told: list[str], *, yes: bool) -> None:
    if yes:
        echo(f"Deleted {what}: {', '.join(told)}.")
    else:
        echo(f"Would delete {what}: {', '.join(told)}.")
        echo("Nothing was deleted; --yes deletes.", err=True)
