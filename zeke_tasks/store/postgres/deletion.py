"""Deletions on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_tasks.store.deletion import Deleted
from zeke_tasks.store.postgres.runner import StatementRunner

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

_SUBSCRIPTIONS: Final = ("source_connections",)
_OTHERS: Final = (
    "team_story_states",
    "team_highlight_states",
    "highlights",
    "playbook_runs",
    "playbooks",
    "ai_budgets",
    "ai_reservations",  # before the days: calls are settled in this order
    "ai_budget_days",
    "ai_spending",
)


class PostgresDeletions(StatementRunner):
    """The methods that delete rows."""

    async def delete_source(self, source_id: UUID) -> Deleted | None:
        """Delete a source; stories that another has too become that one's."""
        await self._run("lock_deletions_of_sources")
        if not await self._run("lock_source", id=source_id):
            return None
        # Each in a statement of its own: one that waited for a lock does not see what was written meanwhile.
        await self._run("lock_connections_of_source", id=source_id)
        stories = [row["id"] for row in await self._run("lock_stories_of_source", id=source_id)]
        await self._run("lock_items_of_source", id=source_id)
        moved = await self._run("move_stories", id=source_id, stories=stories)
        (gone,) = await self._run("delete_source", id=source_id)
        return Deleted(gone["items"], gone["stories"], len(moved))

    async def count_source(self, source_id: UUID) -> Deleted | None:
        """Return what ``delete_source`` would delete."""
        return await self._count("count_source", source_id)

    async def count_story(self, story_id: UUID) -> Deleted | None:
        """Return what ``delete_story`` would delete."""
        return await self._count("count_story", story_id)

    async def _count(self, statement: str, key: UUID) -> Deleted | None:
        rows = await self._run(statement, id=key)
        return Deleted(**rows[0]) if rows else None

    async def count_team(self, team_id: UUID) -> Mapping[str, int]:
        """Return what ``delete_team`` would delete."""
        (row,) = await self._run("count_team", id=team_id)
        return row

    async def delete_story(self, story_id: UUID) -> Deleted | None:
        """Delete a story."""
        if not await self._run("lock_stories_to_delete", ids=[story_id]):
            return None
        return await self._delete_stories([story_id])

    async def _delete_stories(self, ids: Collection[UUID]) -> Deleted:
        """Delete locked stories; those that were made of an earlier text of their items are deleted too."""
        items = [row["id"] for row in await self._run("empty_items", ids=list(ids))]
        stories = await self._run("delete_stories", ids=list(ids), items=items)
        return Deleted(len(items), len(stories))

    async def delete_team(self, team_id: UUID) -> Mapping[str, int]:
        """Delete the rows of a team."""
        # First, to wait for transactions that write rows for subscribers, which keep the team and lock the
        # stories afterwards.
        before = await self._counts_of_team(team_id, _SUBSCRIPTIONS)
        await self._run("lock_team", id=team_id)
        await self._run("note_deleted_team", id=team_id)
        # Transactions that kept the team may have written more rows before it was locked.
        counts = await self._counts_of_team(team_id, _SUBSCRIPTIONS)
        counts = {table: before[table] + count for table, count in counts.items()}
        await self._lock_stories([row["story_id"] for row in await self._run("stories_of_team", id=team_id)])
        return counts | await self._counts_of_team(team_id, _OTHERS)

    async def _counts_of_team(self, team_id: UUID, tables: Sequence[str]) -> dict[str, int]:
        """Delete a team's rows of some tables; returns their numbers."""
        return {
            table: (await self._run(f"delete_{table}_of_team", id=team_id))[0]["count"] for table in tables
        }

    async def expire_stories(self, after: float, limit: int) -> Deleted:
        """Delete old stories."""
        rows = await self._run("lock_expired_stories", after=after, limit=limit)
        return await self._delete_stories([row["id"] for row in rows]) if rows else Deleted(0, 0)

    async def expire_items(self, after: float, limit: int) -> int:
        """Empty old items without a text."""
        return len(await self._run("expire_items", after=after, limit=limit))

    async def expire_runs(self, after: float, limit: int) -> int:
        """Delete old runs of playbooks."""
        return len(await self._run("expire_runs", after=after, limit=limit))

    async def open_runs(self, after: float, limit: int, behind: UUID | None) -> list[UUID]:
        """Return runs that did not end, by id."""
        return [row["id"] for row in await self._run("open_runs", after=after, limit=limit, behind=behind)]

    async def delete_open_runs(self, ids: Collection[UUID]) -> int:
        """Delete runs unless they have ended."""
        return len(await self._run("delete_open_runs", ids=list(ids)))

    async def expire_spending(self, after: float, limit: int) -> int:
        """Delete old records of AI usage."""
        (row,) = await self._run("expire_spending", after=after, limit=limit)
        return row["deleted"]
