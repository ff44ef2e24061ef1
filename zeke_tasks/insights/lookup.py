"""Lookup of a story's highlights by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.repository import Rows


async def ids_by_key(rows: Rows, story_id: UUID, team_id: UUID | None) -> dict[str, UUID]:
    """Return the ids of the highlights that a team sees in a story, its own and the global ones, by key."""
    seen = [one for one in await rows.highlights(story_id) if one.team_id in (None, team_id)]
    return {highlight.key: highlight.id for highlight in seen}
