"""Export of a team's rows: those of views and tables that have a team, and what they refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import IsolationLevel, sql

from zeke_tasks.store.postgres.statements import STATEMENTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from psycopg import AsyncConnection

ROWS_AT_ONCE: Final = 500
"""Rows that are fetched from the server at once."""

_TABLES: Final = ("ai_budgets", "ai_budget_days", "ai_reservations", "ai_spending")
"""Tables with a ``team_id`` whose rows are in no view, or only as sums."""

_OF_TEAM: Final = sql.SQL("select to_jsonb(one) from zeke.{} as one where one.team_id = %(team_id)s")
_REFERRED: Final = {
    "v1_sources": "export_sources_of_team",
    "v1_stories": "export_stories_of_team",
    "playbooks": "export_playbooks_of_team",
    "playbook_run_events": "export_playbook_run_events_of_team",
}


async def export_team(
    connection: AsyncConnection[Any], team_id: UUID
) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a team with the names of their views or tables, all as of one instant.

    Those are the rows of each view with a ``team_id``, budgets and AI usage, the team's playbooks, the events
    of its runs, the sources to which it subscribes, and the stories of which it has states or highlights.

    Args:
        connection: a connection without an open transaction; its next ones will be read only.
        team_id: the team.
    """
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    async with connection.transaction():
        found = await connection.execute(STATEMENTS["views_of_teams"])
        queries: dict[str, Any] = {
            name: _OF_TEAM.format(sql.Identifier(name))
            for name in (*(view for (view,) in await found.fetchall()), *_TABLES)
        }
        queries |= {name: STATEMENTS[statement] for name, statement in _REFERRED.items()}
        for name, query in queries.items():
            async with connection.cursor(f"export_{name}") as cursor:
                cursor.itersize = ROWS_AT_ONCE
                await cursor.execute(query, {"team_id": team_id})
                async for (row,) in cursor:
                    yield name, row
